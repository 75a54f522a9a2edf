"""Start from weights, through the command: what is taken, what identifies the run, and sources that are none."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import yaml
from torch.testing import assert_close

from gan_runner.records import checkpoint
from gan_runner.records.identity import config_hash
from gan_runner.records.source import read_source
from gan_runner.records.weights import Weights, write_weights
from gan_runner.spec import ImageSpec
from tests.conftest import SMALL, Command, train_in

TRAIN = (*SMALL, "train.log_every=1", "train.keep_checkpoints=9", "metric=[]", "train.grid=4")
OUTPUTS = Path("outputs")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_in(tmp_path_factory.mktemp("trained") / "run", *TRAIN, "train.total_steps=3", "optimizer.lr=0.01").path


@pytest.fixture
def source(trained: Path, in_tmp: Path) -> Path:
    shutil.copytree(trained, in_tmp / "outputs" / "source")
    return OUTPUTS / "source"


def state(path: Path, step: int) -> dict:
    return checkpoint.load(path / "checkpoints" / f"step-{step:08d}.pt").state


def test_a_run_starts_with_the_networks_and_the_average_of_its_source(command: Command, source: Path):
    begun = command(*TRAIN, f"train.from_weights={source}", "train.total_steps=1", "name=begun")
    assert begun.code == 0, begun.err
    assert "5 of 5 layers taken" in begun.out + begun.err
    first, last = state(OUTPUTS / "begun", 0), state(source, 3)
    for player in ("generator", "discriminator"):
        assert_close(first[player]["network"], last[player]["network"], rtol=0, atol=0)
        assert first[player]["optimizer"]["state"] == {}
    assert_close(first["ema"], last["ema"], rtol=0, atol=0)
    assert first["counters"]["steps"] == 0
    assert "layers taken" in (OUTPUTS / "begun" / "train.log").read_text()


def test_the_name_has_the_path_as_typed_and_the_identity_the_content(command: Command, source: Path):
    typed = (*TRAIN, f"train.from_weights={source}")
    assert command(*typed, "train.total_steps=1").code == 0
    (folder,) = (path for path in OUTPUTS.iterdir() if "from_weights" in path.name)
    assert f"train.from_weights={str(source).replace('/', '%2F')}" in folder.name
    stored = yaml.safe_load((folder / "config.yaml").read_text())
    assert stored["train"]["from_weights_hash"] == read_source(str(source)).hash
    moved = {**stored, "train": {**stored["train"], "from_weights": "elsewhere"}}
    other = {**stored, "train": {**stored["train"], "from_weights_hash": "0" * 64}}
    assert config_hash(moved) == config_hash(stored) != config_hash(other)


def test_a_run_goes_on_from_its_own_checkpoint_when_the_source_is_gone_or_has_moved(command: Command, source: Path):
    begin = (*TRAIN, f"train.from_weights={source}", "name=begun")
    assert command(*begin, "train.total_steps=1").code == 0
    moved = source.rename(OUTPUTS / "moved")
    gone = command(*begin, "train.total_steps=2")
    assert gone.code == 0
    assert "is not there" in gone.out + gone.err
    assert "goes on from its own checkpoint" in gone.out + gone.err
    assert command(*TRAIN, f"train.from_weights={moved}", "name=begun", "train.total_steps=3").code == 0
    lines = [json.loads(line) for line in (OUTPUTS / "begun" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss/generator" in line] == [1, 2, 3]


def test_a_source_with_other_weights_is_refused_and_nothing_is_lost(command: Command, source: Path):
    begin = (*TRAIN, f"train.from_weights={source}", "name=begun")
    assert command(*begin, "train.total_steps=1").code == 0
    newest = source / "checkpoints" / "step-00000003.pt"
    content = torch.load(newest, weights_only=True)
    content["state"]["ema"]["layers.0.bias"] += 1
    torch.save(content, newest)
    refused = command(*begin, "train.total_steps=2")
    assert (refused.code, "other weights than those" in refused.err) == (2, True)
    assert sorted(path.name for path in (OUTPUTS / "begun" / "checkpoints").iterdir()) == [
        "step-00000000.pt",
        "step-00000001.pt",
    ]
    assert command(*begin, "train.total_steps=2", "train.fresh=true").code == 0


def test_a_typed_hash_must_be_that_of_the_source(command: Command, source: Path):
    begin = (*TRAIN, f"train.from_weights={source}", "train.total_steps=1", "name=begun")
    refused = command(*begin, "train.from_weights_hash=abc")
    assert (refused.code, "train.from_weights_hash=abc" in refused.err) == (2, True)
    assert command(*begin, f"train.from_weights_hash={read_source(str(source)).hash}").code == 0


def test_networks_of_another_kind_are_refused_before_a_folder_is_made(command: Command, source: Path):
    other = ("model.generator.widths=[5]", "model.discriminator.widths=[5]")
    refused = command(*TRAIN, *other, f"train.from_weights={source}", "name=begun", "dataset=synthetic")
    assert refused.code == 2
    assert "no layer fits" in refused.err
    assert "use those, as model.generator.widths=[16,16]" in refused.err
    assert not (OUTPUTS / "begun").exists()


def test_a_hub_that_cannot_be_reached_is_one_sentence(command: Command, monkeypatch: pytest.MonkeyPatch):
    hub = pytest.importorskip("huggingface_hub")

    class ConnectError(Exception):
        """Derives from nothing of the standard library, as that of the hub's HTTP client."""

    def fail(repository: str, revision: str | None) -> list[str]:
        raise ConnectError("Name or service not known")

    monkeypatch.setattr(hub, "list_repo_files", fail)
    refused = command(*TRAIN, "train.from_weights=hf://owner/name", "name=begun")
    assert refused.code == 2
    assert "cannot be downloaded (Name or service not known); check the name and the network" in refused.err
    assert "Traceback" not in refused.err


def test_an_exported_average_is_generator_and_average(command: Command, source: Path):
    pytest.importorskip("safetensors")
    spec, last = ImageSpec(**state(source, 3)["spec"]), state(source, 3)
    config = yaml.safe_load((source / "config.yaml").read_text())
    write_weights(Path("a.safetensors"), Weights({"generator": last["ema"]}, config, spec, 3, "source"))
    begun = command(*TRAIN, "train.from_weights=a.safetensors", "train.total_steps=1", "name=begun")
    assert begun.code == 0, begun.err
    assert "discriminator all layers new: not in the source" in begun.out + begun.err
    first = state(OUTPUTS / "begun", 0)
    assert_close(first["generator"]["network"], last["ema"], rtol=0, atol=0)
    assert_close(first["ema"], last["ema"], rtol=0, atol=0)


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def hostile() -> Path:
    Path("hostile.pt").write_bytes(pickle.dumps({"format": 8, "state": Hostile()}))
    return Path("hostile.pt")


def written(name: str, content: bytes) -> Path:
    Path(name).write_bytes(content)
    return Path(name)


def foreign() -> Path:
    torch.save({"weight": torch.zeros(3)}, "foreign.pt")
    return Path("foreign.pt")


def empty() -> Path:
    Path("empty").mkdir()
    return Path("empty")


WRONG = {
    "nothing there": (lambda: Path("nowhere"), "is not there"),
    "a folder that is no run": (empty, "no run folder with a checkpoint"),
    "a hostile pickle": (hostile, "more than tensors and plain values"),
    "a text": (lambda: written("text.pt", b"weights"), "no checkpoint of gan_runner"),
    "weights of another program": (foreign, "no checkpoint of gan_runner"),
    "an exported program": (lambda: written("a.pt2", b"PK"), "a.pt2 is for other programs, without layers; it should"),
    "half a file": (lambda: written("half.safetensors", b"\x10\x00\x00"), "half.safetensors"),
}


@pytest.mark.parametrize(("make", "sentence"), WRONG.values(), ids=WRONG)
def test_a_wrong_source_is_one_sentence_and_nothing_is_executed(command: Command, in_tmp: Path, make, sentence: str):
    refused = command(*TRAIN, f"train.from_weights={make()}", "name=begun")
    assert refused.code == 2
    assert sentence in refused.err
    assert "Traceback" not in refused.err
    assert not Path("executed").exists()
    assert not OUTPUTS.exists()


def test_frozen_layers_without_weights_of_the_source_are_reported(command: Command, source: Path):
    colour = ("dataset=synthetic", "dataset.count=64", "train.freeze.discriminator=1", "train.total_steps=1")
    begun = command(*TRAIN, *colour, f"train.from_weights={source}", "name=begun")
    assert begun.code == 0, begun.err
    assert "frozen with new weights: layers.0" in begun.out + begun.err


class Hub(BaseHTTPRequestHandler):
    """The addresses of the Hugging Face hub for the one repository owner/name with one file."""

    content = b""

    def do_HEAD(self) -> None:
        self.answer(b"")

    def do_GET(self) -> None:
        names = ("model.safetensors", "README.md")
        listing = [{"type": "file", "path": name, "oid": "1", "size": len(self.content)} for name in names]
        self.answer(json.dumps(listing).encode() if "/tree/" in self.path else self.content)

    def answer(self, body: bytes) -> None:
        known = self.path.startswith(("/api/models/owner/name", "/owner/name/resolve/main/model.safetensors"))
        body = body if known else b'{"error": "Repository not found"}'
        self.send_response(200 if known else 404)
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(len(body or self.content)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.mark.long
def test_a_file_of_a_hub_is_downloaded_by_the_hubs_own_client(source: Path, tmp_path: Path):
    """In a process of its own, since the client reads the address of the hub when it is imported."""
    pytest.importorskip("huggingface_hub")
    spec, last = ImageSpec(**state(source, 3)["spec"]), state(source, 3)
    config = yaml.safe_load((source / "config.yaml").read_text())
    write_weights(Path("a.safetensors"), Weights({"generator": last["ema"]}, config, spec, 3, "source"))
    Hub.content = Path("a.safetensors").read_bytes()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    root = str(Path(__file__).parents[1])
    address = f"http://127.0.0.1:{server.server_port}"
    env = os.environ | {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hf"), "PYTHONPATH": root, "NO_PROXY": "*"}
    env["HYDRA_FULL_ERROR"] = "0"

    def train(place: str) -> subprocess.CompletedProcess[str]:
        words = (*TRAIN, f"train.from_weights={place}", "train.total_steps=1", "name=begun")
        command = (sys.executable, "-m", "gan_runner", *words)
        return subprocess.run(command, capture_output=True, text=True, env=env, timeout=300, check=False)

    try:
        unknown = train("hf://owner/other")
        assert (unknown.returncode, "cannot be downloaded" in unknown.stderr) == (2, True), unknown.stderr
        begun = train("hf://owner/name")
        assert begun.returncode == 0, begun.stderr
    finally:
        server.shutdown()
    assert_close(state(OUTPUTS / "begun", 0)["ema"], last["ema"], rtol=0, atol=0)
