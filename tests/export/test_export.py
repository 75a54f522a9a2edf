"""Exported files give the images of the run, in programs that have none of this package."""

import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

import gan_runner as gr
from gan_runner.errors import ConfigError, NotExported
from gan_runner.export.__main__ import main
from gan_runner.export.exporting import Request, export, verified
from gan_runner.export.functions import fix_norms
from gan_runner.model.latent import Latent
from gan_runner.records.folder import RunFolder
from gan_runner.records.weights import read_weights
from gan_runner.sample import main as sample
from gan_runner.spec import ImageSpec
from tests.conftest import SMALL, Command, some, train_in

pytest.importorskip("safetensors")

SHORT = ("train.total_steps=3", "train.checkpoint_every=3", "train.batch_size=8", "device=cpu", "train.grid=4")
LABELS = ("model.generator.conditioning=one_hot", "model.discriminator.conditioning=one_hot")
NARROW = ("model.generator.width=4", "model.discriminator.width=4")
COLOUR = ("dataset=synthetic",)
FAMILIES = {  # name -> overrides
    "mlp": SMALL,
    "mlp with labels": (*SMALL, *LABELS),
    "mlp with spectral norm": (*SMALL, "model.weights.generator=spectral", "model.weights.discriminator=spectral"),
    "mlp with weight norm": (*SMALL, "model.weights.generator=weight"),
    "dcgan": ("model=dcgan", *NARROW),
    "dcgan with labels": (
        *("model=dcgan", *NARROW, "model.generator.conditioning=norm", "model.discriminator.conditioning=projection"),
    ),
    "dcgan of an ACGAN": ("model=dcgan", *NARROW, "loss=acgan"),
    "resnet": ("model=resnet", *NARROW, *COLOUR, "loss=wgan_gp"),
    "resnet with labels": (
        *("model=resnet", *NARROW, *COLOUR, "loss=wgan_gp"),
        *("model.generator.conditioning=norm", "model.discriminator.conditioning=projection"),
    ),
    "r3gan_small": (
        *("model=r3gan_small", *COLOUR, "loss=r3gan", "model.generator.width=8", "model.discriminator.width=8"),
        *("model.generator.groups=1", "model.discriminator.groups=1"),
    ),
    "ssl_mlp": ("model=ssl_mlp", "loss=semi_supervised"),
    "toy": ("model=toy", "dataset=ring8", "model.generator.widths=[8]", "model.discriminator.widths=[8]"),
    "dirac": ("experiment=dirac",),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with labels, batch norm and spectral norm."""
    norms = ("model.weights.generator=spectral", "model.generator.norm=batch")
    return train_in(tmp_path_factory.mktemp("outputs") / "run", *SMALL, *SHORT, *LABELS, *norms)


@pytest.fixture
def command(entry_point: Command) -> Command:
    return partial(entry_point, main)


def test_a_readme_of_the_user_is_not_replaced(command: Command, run: RunFolder, tmp_path: Path):
    (tmp_path / "README.md").write_text("# My project\n")
    answer = command(run.path, "--format", "safetensors", "--out", tmp_path)
    assert answer.code == 2
    assert answer.err.endswith("README.md that is no model card of gan_runner; name another folder.\n")
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    (tmp_path / "README.md").unlink()
    assert command(run.path, "--card", "--out", tmp_path).code == 0
    assert command(run.path, "--card", "--out", tmp_path).code == 0  # a card of its own is replaced


def test_files_that_a_new_card_does_not_list_are_named(command: Command, run: RunFolder, tmp_path: Path):
    assert command(run.path, "--format", "safetensors", "--out", tmp_path / "x").code == 0
    answer = command(run.path, "--card", "--licence", "mit", "--out", tmp_path / "x")
    assert answer.code == 0
    assert "has model.safetensors of an earlier export, which the new card does not list" in answer.err


def test_an_out_that_is_no_folder_is_named(command: Command, run: RunFolder, tmp_path: Path):
    (tmp_path / "file").write_text("")
    answer = command(run.path, "--format", "safetensors", "--out", tmp_path / "file")
    assert answer.code == 2
    assert answer.err == f"--out={tmp_path / 'file'} cannot be written (File exists); name another folder.\n"


def test_files_are_checked_reported_and_have_a_card(command: Command, run: RunFolder, tmp_path: Path):
    answer = command(run.path, "--format", "pt2", "safetensors", "--discriminator", "--out", tmp_path / "x")
    assert answer.code == 0, answer.err
    names = ["README.md", "discriminator.pt2", "generator.pt2", "model.safetensors", "samples.png"]
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == names
    assert answer.out.splitlines()[-1] == str(tmp_path / "x" / "README.md")
    assert re.search(r"input +labels +\(batch\) int64 +classes 0 to 9, required", answer.out)
    assert re.search(r"output +images +\(batch, 1, 8, 8\) float32 +in \[-1, 1\]", answer.out)
    assert [float(found) for found in re.findall(r"difference is (\S+)\)", answer.out)] == [0, 0, 0]


@pytest.mark.parametrize("count", [1, 2, 50])
def test_a_program_takes_batches_of_any_size(run: RunFolder, tmp_path_factory: pytest.TempPathFactory, count: int):
    out = tmp_path_factory.getbasetemp() / "program"
    if not (out / "generator.pt2").exists():
        export(Request(run.path, ["pt2"], out=out))
    program = torch.export.load(out / "generator.pt2").module()
    z, labels = torch.randn(count, 8), torch.arange(count) % 10
    sampler = gr.load(run.path).sampler
    sampler.estimate_statistics()
    with torch.no_grad():
        expected = sampler.network(z, labels)
    torch.testing.assert_close(program(z, labels), expected, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="number"):
        program(z)  # labels are required


def test_a_safetensors_file_is_a_model(run: RunFolder, entry_point: Command, tmp_path: Path):
    made = gr.load(run.path).export(["safetensors"], out=tmp_path)
    (path,) = (each.path for each in made)
    images = gr.load(path).sample(10, seed=3, labels=[4, 2])
    assert torch.equal(images.tensor, gr.load(run.path).sample(10, seed=3, labels=[4, 2]).tensor)
    assert entry_point(sample, path, "--seed", 3, "--out", tmp_path / "grid.png").code == 0
    assert entry_point(sample, run.path, "--seed", 3, "--out", tmp_path / "same.png").code == 0
    assert (tmp_path / "grid.png").read_bytes() == (tmp_path / "same.png").read_bytes()
    assert entry_point(sample, path).out.strip() == str(tmp_path / "samples" / "seed-0-step-00000003.png")
    answer = entry_point(sample, path, "--checkpoint", "best")
    assert (answer.code, "holds step 3 alone" in answer.err) == (2, True)
    with pytest.raises(gr.ConfigError, match="is no run folder"):
        gr.load(path).evaluate(["parzen"])


def test_a_safetensors_file_holds_the_discriminator_and_no_path_of_this_machine(run: RunFolder, tmp_path: Path):
    gr.load(run.path).export(["safetensors"], discriminator=True, out=tmp_path)
    weights = read_weights(tmp_path / "model.safetensors")
    assert set(weights.networks) == {"generator", "discriminator"}
    assert weights.step == 3
    assert str(Path.home()) not in json.dumps(weights.config)
    assert weights.config["model"] == run.read_config()["model"]


def test_a_file_that_names_a_foreign_class_builds_nothing(run: RunFolder, tmp_path: Path):
    gr.load(run.path).export(["safetensors"], out=tmp_path)
    path, own = tmp_path / "model.safetensors", "tests.export.test_export.Own"
    ours = b'gan_runner.model.latent.Latent"'
    content = path.read_bytes().replace(ours.replace(b'"', b'\\"'), (own + '\\"').encode())
    size = int.from_bytes(content[:8], "little") + len(own) - len(ours) + 1
    path.write_bytes(size.to_bytes(8, "little") + content[8:])
    with pytest.raises(gr.ConfigError, match=f"--trust {own}"):
        gr.load(path)
    assert isinstance(gr.load(path, trust=[own]).sampler.latent, Own)


class Own(Latent):
    """A class of the user."""


def test_weights_that_do_not_fit_their_configuration_are_one_sentence(run: RunFolder, tmp_path: Path):
    from gan_runner.records.weights import write_weights

    gr.load(run.path).export(["safetensors"], out=tmp_path)
    weights = read_weights(tmp_path / "model.safetensors")
    for name, networks in {
        "without": {"discriminator": weights.networks["generator"]},
        "other": {"generator": {"a": torch.zeros(1)}},
    }.items():
        write_weights(tmp_path / f"{name}.safetensors", weights._replace(networks=networks))
        with pytest.raises(gr.ConfigError, match="cannot be used"):
            gr.load(tmp_path / f"{name}.safetensors")


# ---- refusals


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("model.discriminator.minibatch=discrimination",), "minibatch=none"),
        (("model.discriminator.minibatch=stddev",), "minibatch=none"),
        (("model.pack=2",), "model.pack=1"),
    ],
    ids=["minibatch discrimination", "deviation", "packing"],
)
def test_a_discriminator_that_compares_its_batch_is_refused(tmp_path: Path, overrides: tuple[str, ...], words: str):
    made = train_in(tmp_path / "run", *SMALL, *SHORT, *overrides)
    with pytest.raises(ConfigError, match=f"compares the images of a batch.*{words}"):
        export(Request(made.path, ["pt2"], discriminator=True))
    assert not (made.path / "export").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--format", "pt3"), "--format pt3 is none of pt2, onnx, safetensors"),
        (("--card", "--discriminator"), "--card writes the model card alone"),
        (("--licence", "my\nlicence"), "--licence="),
        (("--checkpoint", "7"), "there are steps 3"),
        (("--out", "/dev/null/x"), "/dev/null/x cannot be written"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_is_one_sentence(command: Command, run: RunFolder, arguments: tuple[str, ...], words: str):
    answer = command(run.path, *arguments)
    assert (answer.code, words in answer.err, answer.err.count("\n")) == (2, True, 1)


def test_a_package_that_is_not_installed_is_named(run: RunFolder, monkeypatch: pytest.MonkeyPatch):
    from gan_runner.storage import packages

    monkeypatch.setattr(packages, "find_spec", lambda name: None if name == "onnxruntime" else name)
    with pytest.raises(ConfigError, match=r"--format onnx needs the package onnxruntime, .*pip install onnxruntime"):
        export(Request(run.path))


@pytest.mark.parametrize("difference", [2e-4, float("nan")])
def test_a_file_that_gives_other_images_is_removed(tmp_path: Path, difference: float):
    def write(path: Path) -> float:
        path.write_text("wrong")
        return difference

    with pytest.raises(NotExported, match="it differs by"):
        verified(tmp_path / "generator.pt2", write)
    assert list(tmp_path.iterdir()) == []
    assert NotExported.exit_code == 4


class Specialised(nn.Module):
    """A generator whose code fixes the size of the batch."""

    def __init__(self, spec: ImageSpec, latent: Latent):
        super().__init__()
        self.spec, self.linear = spec, nn.Linear(latent.dim, spec.size)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.linear(z).tanh().view(len(z), *self.spec.shape)


class Random(Specialised):
    """A generator that draws random numbers in evaluation mode."""

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        images = self.linear(z).tanh().view(-1, *self.spec.shape)
        return images + 0.01 * torch.randn_like(images)


@pytest.mark.parametrize(("kind", "words"), [(Specialised, "len\\(x\\)"), (Random, "random numbers")])
def test_a_network_that_cannot_be_exported_is_one_sentence(tmp_path: Path, kind: type[nn.Module], words: str):
    target = f"tests.export.test_export.{kind.__name__}"
    config = (*SHORT, "~model.generator", f"+model.generator._target_={target}")
    made = train_in(tmp_path / "run", *config)
    with pytest.raises(NotExported, match=words) as refusal:
        export(Request(made.path, ["pt2"], trust=[target]))
    assert "\n" not in str(refusal.value)
    assert not list(made.path.glob("export/*"))


def test_nothing_is_written_behind_a_link_in_the_folder(run: RunFolder, tmp_path: Path):
    (run.path / "export").symlink_to(tmp_path)
    try:
        export(Request(run.path, ["safetensors"]))
        assert list(tmp_path.iterdir()) == []
        assert (run.path / "export" / "model.safetensors").is_file()
    finally:
        for path in (run.path / "export").iterdir():
            path.unlink()
        (run.path / "export").rmdir()


def test_fixed_norms_are_plain_weights():
    layer = nn.utils.parametrizations.spectral_norm(nn.Linear(3, 2)).eval()
    expected = layer(torch.eye(3))
    assert set(fix_norms(layer).state_dict()) == {"weight", "bias"}
    torch.testing.assert_close(layer(torch.eye(3)), expected)


# ---- every family and format, and programs that serve the files


@pytest.mark.parametrize("overrides", some(FAMILIES, ()))
def test_a_family_is_exported_in_every_format_with_its_discriminator(tmp_path: Path, overrides: tuple[str, ...]):
    pytest.importorskip("onnxruntime")
    made = train_in(tmp_path / "run", *overrides, *SHORT)
    _, files = export(Request(made.path, discriminator=True))
    names = ["generator.pt2", "discriminator.pt2", "generator.onnx", "discriminator.onnx", "model.safetensors"]
    assert [each.path.name for each in files] == names
    assert max(each.difference for each in files) < 1e-5
    for each in files[:4]:
        served(each.path.parent, each.example, "torch" if each.path.suffix == ".pt2" else "onnxruntime")


@pytest.mark.long
def test_examples_serve_the_files_of_a_generator(run: RunFolder, tmp_path: Path):
    pytest.importorskip("onnxruntime")
    _, files = export(Request(run.path, ["pt2", "onnx"], out=tmp_path))
    for each, library in zip(files, ("torch", "onnxruntime"), strict=True):
        served(tmp_path, each.example, library)
        header, pixels = (tmp_path / "images.pgm").read_bytes().split(b"255\n", 1)
        assert header == b"P5 128 8 "
        assert len(np.unique(np.frombuffer(pixels, np.uint8))) > 50
        (tmp_path / "images.pgm").unlink()


FORBIDDEN = {"torch": ("gan_runner.spec",), "onnxruntime": ("gan_runner.spec", "torch", "onnx")}


def served(folder: Path, example: str, library: str) -> None:
    """Runs an example in a process without this package; that of ONNX has onnxruntime and NumPy alone."""
    libraries = folder / f"for {library}"
    libraries.mkdir(exist_ok=True)
    for name in ("numpy", "onnxruntime") if library == "onnxruntime" else ():
        package = Path(__import__(name).__file__).parent
        for part in package.parent.glob(f"{name}*"):  # numpy.libs has its shared libraries
            if not (libraries / part.name).exists() and part.suffix != ".dist-info":
                (libraries / part.name).symlink_to(part)
    places = [str(libraries)] if library == "onnxruntime" else [str(Path(torch.__file__).parents[1])]
    program = f"""
import sys
sys.path += {places}
for name in {FORBIDDEN[library]}:
    try:
        __import__(name)
    except ImportError:
        continue
    raise SystemExit(name + " is there")
"""
    (folder / "example.py").write_text(program + example)
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    done = subprocess.run(  # -I -S: neither PYTHONPATH nor site-packages
        [sys.executable, "-I", "-S", "example.py"], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_header_of_the_card_is_what_hubs_read(run: RunFolder, tmp_path: Path):
    card = gr.load(run.path).card(tmp_path, licence="mit")
    _, header, text = card.read_text().split("---\n", 2)
    content = yaml.safe_load(header)
    assert content["library_name"] == "gan_runner"
    assert content["license"] == "mit"
    assert content["tags"][0] == "gan"
    assert text.startswith("\n# run\n")
