"""Fixtures and helpers for a composed configuration, a run, and a finished run folder."""

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Container, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch

from gan_runner.assembly.build import build
from gan_runner.cli.compose import compose
from gan_runner.cli.places import CONF
from gan_runner.device import Device
from gan_runner.main import main, train
from gan_runner.records.folder import RunFolder
from gan_runner.training.run import Run

SHARED = Path(__file__).parents[2] / "shared" / "data"
SMALL = (
    "model.generator.widths=[16,16]",
    "model.discriminator.widths=[16,16]",
    "model.latent.dim=8",
    "train.batch_size=16",
    "device=cpu",
)
LOSSES = sorted(path.stem for path in (CONF / "loss").glob("*.yaml"))
NEED_CLASSES = ("acgan", "acgan_wgan_gp", "semi_supervised", "semi_supervised_odena")
CORE = ("gan", "minimax", "wgan", "wgan_gp")  # where all would take too long


class HalfOnCPU(Device):
    """fp16 with its scaler on a CPU: too slow for users, but with the same arithmetic for tests."""

    gpu_only = ("tf32",)


# Where and in which precision a test computes, as overrides.
CPUS = {
    "fp32": ("device=cpu", "device.precision=fp32"),
    "bf16": ("device=cpu", "device.precision=bf16"),
    "fp16": ("device=cpu", "device.precision=fp16", "device._target_=tests.conftest.HalfOnCPU"),
}
GPUS = {
    f"{precision} on a GPU": ("device=cuda", f"device.precision={precision}", "device.deterministic=true")
    for precision in ("fp32", "tf32", "bf16", "fp16")
}


def on(devices: dict[str, tuple[str, ...]]) -> list[Any]:
    """Returns parameters of a test; those on a GPU are marked."""
    return [pytest.param(o, id=n, marks=[pytest.mark.gpu] * (n in GPUS)) for n, o in devices.items()]


def some(table: Mapping[str, Any], fast: Container[str]) -> list[Any]:
    """Returns parameters of a test: named rows are in the fast set, the others in the long set."""
    return [pytest.param(row, id=name, marks=[] if name in fast else [pytest.mark.long]) for name, row in table.items()]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture, those of modules included: sums over two threads have other last digits.

    Small networks; threads that wait for one another on a busy machine cost minutes.
    """
    torch.set_num_threads(1)
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("no CUDA GPU on this machine")


def of_docs(name: str) -> ModuleType:
    """The module docs/NAME.py, which may import its neighbours."""
    path = Path(__file__).parents[1] / "docs" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look there
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(path.parent)
        spec.loader.exec_module(module)
    return module


def configure(*overrides: str) -> dict[str, Any]:
    return compose(overrides)


def make_run(*overrides: str) -> Run:
    return build(configure(*overrides))


def train_in(path: Path, *overrides: str) -> RunFolder:
    """Trains like the command, in the folder `path`."""
    folder = RunFolder(path)
    train(folder, configure(*overrides), "a test")
    return folder


def untrained_inception(folder: Path) -> Path:
    """A file with the weights of an untrained Inception network."""
    from torch_fidelity import feature_extractor_inceptionv3 as module

    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        patch.setattr(module, "load_state_dict_from_url", lambda *arguments, **named: {})
        network = module.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    torch.save(network.state_dict(), folder / "inception.pth")
    return folder / "inception.pth"


def metrics(folder: RunFolder) -> list[dict[str, float]]:
    """Returns the logged values, without those that depend on the clock or the process."""
    lines = [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith(("speed/", "memory/"))} for line in lines]


def weights(run: Run) -> dict[str, torch.Tensor]:
    networks = {
        "generator": run.generator.network,
        "discriminator": run.discriminator.network,
        "ema": run.ema.carry_buffers(),
    }
    return {f"{n}.{k}": v.clone() for n, network in networks.items() for k, v in network.state_dict().items()}


def real_data() -> Path | None:
    """Returns the folder with MNIST/raw, if it exists: GAN_RUNNER_DATA, or the folder next to the repository."""
    places = [Path(os.environ.get("GAN_RUNNER_DATA", SHARED)), SHARED]
    return next((place for place in places if (place / "MNIST" / "raw" / "train-images-idx3-ubyte").exists()), None)


@pytest.fixture(scope="session", autouse=True)
def _one_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One cache for all workers, so that a classifier is trained once."""
    base = tmp_path_factory.getbasetemp()
    os.environ["GAN_RUNNER_CACHE"] = str((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache")


@pytest.fixture(scope="session", autouse=True)
def _own_code() -> None:
    """Processes that tests start import this checkout, the tests included, whatever their working directory."""
    root = str(Path(__file__).parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])


@pytest.fixture(autouse=True)
def _steady_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr("gan_runner.model.ssl.SHOWN", 50)  # of 500, through whole convolutional networks


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def real_mnist() -> Path:
    path = real_data()
    if path is None:
        pytest.skip("the real MNIST files are not on this machine (../shared/data or GAN_RUNNER_DATA)")
    return path


class Answer(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Answer]


@pytest.fixture
def entry_point(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Calls the main function of a command in this process, as if its arguments had been typed."""

    def call(enter: Callable[[], None], *arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["gan_runner", *map(str, arguments)])
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        try:
            enter()
            code = 0
        except SystemExit as ending:
            code = int(ending.code or 0)
        return Answer(code, *capfd.readouterr())

    return call


@pytest.fixture
def command(in_tmp: Path, monkeypatch: pytest.MonkeyPatch, entry_point: Command) -> Command:
    """The command that trains, in an empty working directory."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mymodule", raising=False)  # of the pages, in the directory of another test
    return partial(entry_point, main)
