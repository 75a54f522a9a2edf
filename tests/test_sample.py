"""Images from a run folder: the same bytes for the same seed, and nothing executed that the folder names."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from gan_runner.assembly.build import build
from gan_runner.assembly.trust import check_trust
from gan_runner.errors import ConfigError
from gan_runner.noise import Noise
from gan_runner.records import checkpoint
from gan_runner.records.folder import RunFolder
from gan_runner.sample import main
from gan_runner.training.run import Run
from gan_runner.training.showcase import sampler_of
from tests.conftest import SMALL, Command, configure, train_in
from tests.sampling.test_formats import content

OVERRIDES = (*SMALL, "train.total_steps=4", "train.checkpoint_every=2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train_in(tmp_path_factory.mktemp("outputs") / "run", *OVERRIDES)


@pytest.fixture
def sample(entry_point: Command) -> Command:
    return partial(entry_point, main)


@pytest.mark.parametrize("format_", ["grid", "png", "npz"])
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(sample, folder, tmp_path: Path, format_: str):
    outs = {name: tmp_path / name for name in ("one", "again", "other")}
    for name, out in outs.items():
        assert sample(folder.path, "--format", format_, "--out", out, "--seed", int(name[:2] == "ot")).code == 0
    read = [
        b"".join(path.read_bytes() for path in (sorted(out.iterdir()) if format_ == "png" else [out]))
        for out in outs.values()
    ]
    assert read[0] == read[1]
    assert read[0] != read[2]


def test_the_images_are_those_of_the_averaged_generator(sample, folder, tmp_path: Path):
    check_images(sample, folder, tmp_path, *OVERRIDES)


@pytest.mark.parametrize("kind", ["spectral", "weight"])
def test_the_images_are_those_of_normalised_weights(sample, tmp_path: Path, kind: str):
    overrides = (*OVERRIDES, f"model.weights.generator={kind}", "optimizer.lr=0.05")
    check_images(sample, train_in(tmp_path / "run", *overrides), tmp_path, *overrides)


def check_images(sample: Command, folder: RunFolder, tmp_path: Path, *overrides: str) -> None:
    assert sample(folder.path, "--format", "npz", "--count", 5, "--out", tmp_path / "x.npz").code == 0
    images = np.load(tmp_path / "x.npz")["images"]
    run = build(configure(*overrides))
    assert checkpoint.load_latest(folder.checkpoints, lambda found: run.load_state(found.state))
    noise = Noise((0, "sample", 0), 256, run.device.torch)
    expected = sampler_of(run, run.ema.network)(noise, sampler_of(run, run.ema.network).random_labels(noise))[:5]
    assert images.shape == (5, 8, 8, 1)
    assert images.dtype == np.uint8
    assert np.abs(images[..., 0] - (expected[:, 0].numpy() + 1) * 127.5).max() <= 0.51


def test_the_first_images_do_not_depend_on_how_many_follow(sample, folder, tmp_path: Path):
    for count in (3, 300):
        assert sample(folder.path, "--format", "npz", "--count", count, "--out", tmp_path / f"{count}.npz").code == 0
    few, many = (np.load(tmp_path / f"{count}.npz")["images"] for count in (3, 300))
    assert len(many) == 300
    assert np.array_equal(few, many[:3])
    assert len(np.unique(many.reshape(300, -1), axis=0)) == 300


def test_by_default_a_grid_in_the_run_folder(sample, folder):
    answer = sample(folder.path)
    path = folder.path / "samples" / "seed-0-step-00000004.png"
    assert answer.out.strip() == str(path)
    assert Image.open(path).size == (8 * 33 - 1, 8 * 33 - 1)


@pytest.mark.parametrize(
    ("out", "format_", "named"), [("a.npz", "grid", "npz"), ("a.png", "zip", "grid"), ("a.zip", "png", "zip")]
)
def test_a_file_is_not_named_as_another_format(sample, folder, tmp_path: Path, out: str, format_: str, named: str):
    answer = sample(folder.path, "--format", format_, "--out", tmp_path / out)
    assert answer.code == 2
    assert f"{out} names --format {named}, but the images are written as --format {format_}; change" in answer.err
    assert not (tmp_path / out).exists()


def test_an_empty_path_is_refused(sample, folder, in_tmp: Path):
    answer = sample(folder.path, "--out", "")
    assert answer.code == 2
    assert "argument --out: it is empty; name a file or a folder" in answer.err
    assert list(in_tmp.iterdir()) == []


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Forbids the user, who may be root, to read a path."""

    def forbid(path: Path) -> None:
        allowed, load = os.access, torch.load
        monkeypatch.setattr(os, "access", lambda each, mode: each != path and allowed(each, mode))

        def refuse(each: Path, **options: object) -> object:
            if each == path:
                raise PermissionError(13, "Permission denied", str(each))
            return load(each, **options)

        monkeypatch.setattr(torch, "load", refuse)

    return forbid


@pytest.mark.parametrize("part", [".", "config.yaml", "checkpoints", "checkpoints/step-00000004.pt"])
def test_what_may_not_be_read_is_named_and_no_older_checkpoint_takes_its_place(
    sample, stranger: Path, forbidden, part: str
):
    forbidden(stranger / part)
    answer = sample(stranger)
    assert answer.code == 2
    assert answer.err == f"{stranger / part} cannot be read (permission denied); allow it, or copy the run folder.\n"


def test_a_step_can_be_chosen(sample, folder, tmp_path: Path):
    for which in ("2", "4", "last"):
        assert sample(folder.path, "--checkpoint", which, "--out", tmp_path / which).code == 0
    read = [(tmp_path / which).read_bytes() for which in ("2", "4", "last")]
    assert read[0] != read[1] == read[2]


def test_it_works_while_the_run_is_training(sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    step, answers = Run.step, []

    def between(run: Run) -> dict:
        if run.clock.steps == 3:
            while not RunFolder(tmp_path / "run").has_checkpoint:
                time.sleep(0.01)
            answers.append(sample(tmp_path / "run"))
        return step(run)

    monkeypatch.setattr(Run, "step", between)
    train_in(tmp_path / "run", *OVERRIDES)
    assert answers[0].code == 0
    assert "seed-0-step-00000002.png" in answers[0].out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--count", "0"], ["--count=0"]),
        (["--checkpoint", "3"], ["--checkpoint=3", "steps 2, 4"]),
        (["--checkpoint", "best"], ["--checkpoint=best", "steps 2, 4"]),
        (["--checkpoint", "../../x"], ["--checkpoint=../../x"]),
        (["--out", "/dev/null/x"], ["--out=/dev/null/x"]),
        (["--device", "gpu"], ["--device=gpu", "cuda:N"]),
        (["--device", "cuda:x"], ["--device=cuda:x"]),
        (["--device", "cuda:99"], ["--device=cuda:99", "use --device auto or cpu"]),
        (["--precision", "fp16"], ["--precision=fp16 needs a CUDA GPU"]),
        (["--shard", "10"], ["--shard=10", "--format npz"]),
        (["--shard", "0", "--format", "npz"], ["--shard=0"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_mistake_is_one_sentence(sample, folder, arguments: list[str], words: list[str]):
    answer = sample(folder.path, *arguments)
    assert answer.code == 2
    assert len(answer.err.strip().splitlines()) == 1
    for word in words:
        assert word in answer.err


def test_a_folder_that_is_no_run_is_said_to_be_none(sample, tmp_path: Path):
    answer = sample(tmp_path / "nothing")
    assert (answer.code, "is no run folder" in answer.err) == (2, True)


def test_points_in_the_plane_are_samples_but_no_pictures(sample, tmp_path: Path):
    points = train_in(tmp_path / "run", *OVERRIDES, "dataset=point_masses")
    assert "use --format npz" in sample(points.path).err
    assert sample(points.path, "--format", "npz", "--out", tmp_path / "p.npz").code == 0
    assert np.load(tmp_path / "p.npz")["images"].shape == (64, 1, 1, 2)


EVIL = [
    *("os.system", "torch.hub.load", "torch.load", "torch.save", "torch.utils.cpp_extension.load"),
    *("builtins.eval", "subprocess.Popen", "torch.nn.functional.relu", "torch.nn.modules.module.torch.load"),
    *(
        "torch.nn.Module.apply",
        "gan_runner.distributed.ranks.os.system",
        "gan_runner.nowhere.Network",
        "gan_runner.main.Path",
        "torch.nn.Parameter",
        "mine.Mine",
    ),
]


@pytest.mark.parametrize("target", EVIL)
@pytest.mark.parametrize("place", ["model.generator", "loss", "dataset"])
def test_nothing_that_a_strangers_folder_names_is_executed(sample, folder, tmp_path: Path, target: str, place: str):
    config = yaml.safe_load(folder.config.read_text())
    node = config
    for key in place.split("."):
        node = node[key]
    node.clear()
    touched = tmp_path / "touched"
    node |= {"_target_": target, "command": f"touch {touched}", "f": str(touched)}
    stranger = tmp_path / "run"
    (stranger / "checkpoints").mkdir(parents=True)
    (stranger / "config.yaml").write_text(yaml.safe_dump(config))
    for path in folder.checkpoints.iterdir():
        (stranger / "checkpoints" / path.name).write_bytes(path.read_bytes())
    answer = sample(stranger, "--out", tmp_path / "x.png")
    assert answer.code == 2
    assert f"{place}._target_={target}" in answer.err
    assert "--trust" in answer.err
    assert not touched.exists()
    assert not (tmp_path / "x.png").exists()


class Touch:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("which", ["last", "7"])
def test_code_in_a_checkpoint_is_not_run(sample, folder, tmp_path: Path, which: str):
    stranger, touched = tmp_path / "run", tmp_path / "touched"
    (stranger / "checkpoints").mkdir(parents=True)
    (stranger / "config.yaml").write_text(folder.config.read_text())
    torch.save(
        {"format": checkpoint.FORMAT, "config": {}, "state": Touch(touched)},
        stranger / "checkpoints" / "step-00000007.pt",
    )
    answer = sample(stranger, "--checkpoint", which)
    assert answer.code == 2
    assert "checkpoint" in answer.err
    assert not touched.exists()


@pytest.fixture
def stranger(folder, tmp_path: Path) -> Path:
    """A copy of a run, to be made malicious."""
    shutil.copytree(folder.path, tmp_path / "stranger", ignore=shutil.ignore_patterns("seed-*"))
    return tmp_path / "stranger"


@pytest.mark.parametrize("part", ["config.yaml", "checkpoints", "samples", "checkpoints/step-00000004.pt"])
def test_a_link_that_leads_out_is_not_followed(sample, stranger: Path, tmp_path: Path, part: str):
    (stranger / part).rename(tmp_path / "elsewhere")
    (stranger / part).symlink_to(tmp_path / "elsewhere")
    answer = sample(stranger)
    assert answer.code == 2
    assert f"{stranger / part} leads out of the run folder" in answer.err
    assert not list((tmp_path / "elsewhere").glob("seed-*"))


def test_a_link_in_the_place_of_the_picture_is_replaced(sample, stranger: Path, tmp_path: Path):
    (tmp_path / "precious").write_text("mine")
    (stranger / "samples" / "seed-0-step-00000004.png").symlink_to(tmp_path / "precious")
    assert sample(stranger).code == 0
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.parametrize(
    ("keys", "value", "words"),
    [
        ("model.generator.widths", [10**6, 10**6], "model.generator takes 20,001."),
        ("model.latent.dim", 10**13, "takes"),
        ("train.generator_batch_size", 10**13, "train.generator_batch_size=10000000000000 takes"),
        ("train.generator_batch_size", "many", "train.generator_batch_size='many' should be of type int"),
        ("model", {}, "model.latent is missing"),
        ("model.generator._target_", 7, "model.generator._target_=7"),
        ("seed", None, "seed=None should be a whole number"),
    ],
    ids=str,
)
def test_a_configuration_of_absurd_content_is_told(sample, stranger: Path, keys: str, value: object, words: str):
    config = yaml.safe_load((stranger / "config.yaml").read_text())
    *path, last = keys.split(".")
    node = config
    for key in path:
        node = node[key]
    node[last] = value
    (stranger / "config.yaml").write_text(yaml.safe_dump(config))
    answer = sample(stranger)
    assert answer.code == 2
    assert words in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("content", ["a: [", "[]", "", "7", "name: null"])
def test_a_configuration_that_is_none_is_told(sample, stranger: Path, content: str):
    (stranger / "config.yaml").write_text(content)
    answer = sample(stranger)
    assert (answer.code, answer.err.count("\n") >= 1, "Traceback" in answer.err) == (2, True, False)


EMPTY = {"format": checkpoint.FORMAT}


@pytest.mark.parametrize("content", [7, [], EMPTY, EMPTY | {"config": {}, "state": {}}], ids=str)
def test_a_checkpoint_of_absurd_content_counts_as_damaged(sample, stranger: Path, content: object):
    torch.save(content, stranger / "checkpoints" / "step-00000004.pt")
    answer = sample(stranger)
    assert answer.code == 0
    assert answer.out.splitlines()[-1] == str(stranger / "samples" / "seed-0-step-00000002.png")


def test_more_images_than_there_is_memory_for_are_refused(sample, folder):
    answer = sample(folder.path, "--count", 10**13)
    assert answer.code == 2
    assert "--count=10000000000000 takes" in answer.err


def test_a_class_of_the_users_own_is_built_when_he_trusts_it():
    config = {"model": {"_target_": "tests.test_sample.Touch"}}
    with pytest.raises(ConfigError, match=r"--trust tests\.test_sample\.Touch"):
        check_trust(config, [], locate=None)
    check_trust(config, ["tests.test_sample.Touch"], locate=None)


def test_the_spec_of_the_data_is_in_the_checkpoint(folder):
    state = checkpoint.load(checkpoint.checkpoints(folder.checkpoints)[-1]).state
    assert json.loads(json.dumps(state["spec"])) == {
        "channels": 1,
        "height": 8,
        "width": 8,
        "num_classes": 10,
        "value_range": [-1.0, 1.0],
        "class_names": list("0123456789"),
    }


@pytest.mark.parametrize("labels", ["10", "-1", "1,x", "0,10", ""])
def test_a_label_that_is_no_class_is_refused(entry_point: Command, in_tmp: Path, labels: str):
    shutil.copytree(Path(__file__).parent / "fixtures" / "format5" / "acgan", "run")
    answer = entry_point(main, "run", f"--labels={labels}")
    if labels:
        assert answer.code == 2, answer
        assert f"--labels={labels} should be classes from 0 to 9" in answer.err
    else:  # as if it was not given
        assert answer.code == 0, answer


def test_labels_are_taken_in_turn(entry_point: Command, in_tmp: Path):
    shutil.copytree(Path(__file__).parent / "fixtures" / "format5" / "acgan", "run")
    typed = ("--labels=9,0", "--count", "5", "--format", "npz", "--out", "five.npz")
    assert entry_point(main, "run", *typed).code == 0
    with np.load("five.npz") as made:
        assert made["labels"].tolist() == [9, 0, 9, 0, 9]


@pytest.mark.parametrize("format_", ["png", "npz", "zip", "shards"])
def test_many_images_are_those_of_one_file(sample, folder, tmp_path: Path, format_: str):
    typed = ("--shard", 100, "--format", "npz") if format_ == "shards" else ("--format", format_)
    assert sample(folder.path, "--count", 300, "--out", tmp_path / "all.npz", "--format", "npz").code == 0
    assert sample(folder.path, "--count", 300, "--out", tmp_path / "out", *typed).code == 0
    assert np.array_equal(pixels_of(tmp_path / "out", format_), np.load(tmp_path / "all.npz")["images"][..., 0])


def pixels_of(out: Path, format_: str) -> np.ndarray:
    if format_ == "zip":
        with zipfile.ZipFile(out) as packed:
            return np.stack([np.asarray(Image.open(packed.open(name))) for name in packed.namelist()[:-1]])
    if format_ == "png":
        return np.stack([np.asarray(Image.open(path)) for path in sorted(out.glob("*.png"))])
    paths = [out] if out.is_file() else sorted(out.glob("*.npz"))
    return np.concatenate([np.load(path)["images"][..., 0] for path in paths])


def test_lower_precision_gives_nearly_the_same_images(sample, folder, tmp_path: Path):
    for precision in ("fp32", "bf16"):
        out = tmp_path / f"{precision}.npz"
        assert sample(folder.path, "--precision", precision, "--format", "npz", "--out", out).code == 0
    exact, rounded = (np.load(tmp_path / f"{precision}.npz")["images"].astype(int) for precision in ("fp32", "bf16"))
    assert 0 < np.abs(exact - rounded).mean() < 2


@pytest.mark.gpu
def test_a_seed_means_the_same_images_on_a_gpu(sample, folder, tmp_path: Path):
    for device in ("cpu", "cuda:0"):
        out = tmp_path / f"{device}.npz"
        assert sample(folder.path, "--device", device, "--format", "npz", "--out", out).code == 0
    here, there = (np.load(tmp_path / f"{device}.npz")["images"].astype(int) for device in ("cpu", "cuda:0"))
    assert np.abs(here - there).max() <= 1


@pytest.mark.long
@pytest.mark.parametrize("format_", ["png", "npz", "zip", "shards"])
def test_a_killed_command_goes_on_to_the_same_bytes(folder, tmp_path: Path, format_: str):
    typed = ("--format", "npz", "--shard", "1000") if format_ == "shards" else ("--format", format_)
    program = [sys.executable, "-m", "gan_runner.sample", str(folder.path), "--count", "20000", *typed, "--out"]
    subprocess.run([*program, str(tmp_path / "whole")], check=True)
    hidden = tmp_path / ".cut.partial"
    process = subprocess.Popen([*program, str(tmp_path / "cut")])
    first = {"zip": hidden / "zip", "npz": hidden / "images", "png": tmp_path / "cut" / "001000.png"}
    path = first.get(format_, tmp_path / "cut" / "images-00001000.npz")
    while not path.exists() or not path.stat().st_size:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "cut" / "019999.png").exists()
    assert not (tmp_path / "cut").is_file()
    subprocess.run([*program, str(tmp_path / "cut")], check=True)
    assert content(tmp_path / "cut") == content(tmp_path / "whole")
    assert not hidden.exists()
