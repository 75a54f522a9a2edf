"""The networks command: every parameter is in a row, operations are counted by hand, and no files are left."""

import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gan_runner import networks
from gan_runner.networks import operations, view
from gan_runner.records.console import Terminal
from tests.conftest import SMALL, Answer, Command, make_run, some

ROOT = Path(__file__).parents[1]
SYNTHETIC = ("dataset=synthetic", "dataset.count=64", "device=cpu")
NARROW = ("model.generator.width=8", "model.discriminator.width=8")


@pytest.fixture
def show(in_tmp: Path, monkeypatch: pytest.MonkeyPatch, entry_point: Command) -> Command:
    """The command, in an empty working directory."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    return partial(entry_point, networks.main)


def players(answer: Answer) -> list[list[str]]:
    """The lines of the generator and of the discriminator."""
    assert answer.code == 0, answer.err
    return [block.splitlines() for block in answer.out.strip().split("\n\n")]


def rows(lines: list[str]) -> list[list[str]]:
    return [line.split() for line in lines[2:-2]]


def numbers(line: str) -> list[int]:
    return [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", line)]


CONFIGURATIONS = {
    "the default": ("device=cpu",),
    "weights with a norm": ("model.discriminator.norm=weight", "device=cpu"),
    "a spectral norm": ("loss=sngan", "model=dcgan", *SYNTHETIC, *NARROW),
    "one number a player": ("experiment=dirac", "device=cpu"),
    "points": ("model=toy", "dataset=ring8", "device=cpu"),
    "a layer that is used out of its order": ("model=mlp_2014", "device=cpu"),
    "maps and projection": (
        *("model=dcgan", *SYNTHETIC, *NARROW),
        *("model.generator.conditioning=norm", "model.discriminator.conditioning=projection"),
    ),
    "blocks in blocks": ("model=r3gan_small", *SYNTHETIC),
    "an autoencoder": ("loss=ebgan", "device=cpu"),
    "two branches": ("model=mlp_mirza", *SYNTHETIC),
}


@pytest.mark.parametrize("overrides", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_every_parameter_is_in_a_row(show: Command, overrides: tuple[str, ...]):
    """A run's own networks, prepared by its loss, have the same sums."""
    shown = players(show(*overrides))
    run = make_run(*overrides)
    for lines, player in zip(shown, (run.generator, run.discriminator), strict=True):
        count = sum(p.numel() for p in player.network.parameters())
        buffers = sum(b.numel() for b in player.network.buffers())
        assert lines[0] == f"{player.name}: {type(player.network).__name__}"
        assert numbers(lines[-2]) == [count, count, *[buffers] * (buffers > 0)]
        assert sum(numbers(row[-1])[0] for row in rows(lines)) == count
        assert {row[1] for row in rows(lines) if row[2] == "-"} <= {"ToUnit"}
        assert all(path == "." or player.network.get_submodule(path) is not None for path, *_ in rows(lines))


def test_layers_shapes_and_parameters_are_those_of_the_table(show: Command):
    generator, discriminator = players(show("model=dcgan", *SYNTHETIC, "model.generator.width=8"))
    assert rows(generator)[:4] == [
        ["join", "JoinVector", "100", "0"],
        ["layers.0", "ConvTranspose2d", "32x4x4", f"{100 * 32 * 16:,}"],
        ["layers.1", "BatchNorm2d", "32x4x4", "64"],
        ["layers.2", "ReLU", "32x4x4", "0"],
    ]
    assert rows(generator)[-1][1:3] == ["ToRange", "3x32x32"]
    assert rows(discriminator)[-1] == ["head.score", "Linear", "1", "4,096"]


def test_layers_come_in_the_order_in_which_they_are_used(show: Command):
    """mlp_2014 names its last layer before it makes the others, and has one for its beginning alone."""
    generator, _ = players(show("model=mlp_2014", "device=cpu"))
    classes = ["JoinVector", "Linear", "ReLU", "Linear", "ReLU", "Linear", "ToRange", "ToUnit"]
    assert [row[1] for row in rows(generator)] == classes
    assert rows(generator)[-1] == ["to_unit", "ToUnit", "-", "0"]


def test_the_operations_of_an_mlp_by_hand(show: Command):
    """8 -> 16 -> 16 -> 64 and 64 -> 16 -> 16 -> 1. Backward: as much for the weights, and past all but the first."""
    generator, discriminator = players(show(*SMALL))
    assert numbers(generator[-1]) == [2 * (8 * 16 + 16 * 16 + 16 * 64)]
    forward, past = 2 * (64 * 16 + 16 * 16 + 16), 2 * (16 * 16 + 16)
    assert numbers(discriminator[-1]) == [forward, 2 * forward + past]


class Convolutions(nn.Module):
    """(4, 6, 6) -> 8 channels in 2 groups, 6x6 -> 8 channels up to 12x12 -> one number."""

    def __init__(self) -> None:
        super().__init__()
        self.grouped = nn.Conv2d(4, 8, 3, padding=1, groups=2)
        self.up = nn.ConvTranspose2d(8, 8, 2, stride=2, groups=4)
        self.score = nn.Linear(8 * 12 * 12, 1)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.score(self.up(self.grouped(images)).flatten(1)).squeeze(1)


def test_the_operations_of_convolutions_by_hand():
    """Every output of `grouped` sums 2 channels of 3x3; every input of `up` goes to 2 channels of 2x2."""
    grouped = 2 * (8 * 6 * 6) * (2 * 9)
    up = 2 * (8 * 6 * 6) * (2 * 4)
    score = 2 * 8 * 12 * 12
    images = torch.zeros(networks.BATCH, 4, 6, 6)
    assert operations(Convolutions(), images, None) == grouped + up + score
    assert operations(Convolutions(), images, None, backward=True) == 2 * grouped + 3 * up + 3 * score


def test_labels_are_given_to_networks_that_take_them(show: Command):
    told = ("model.generator.conditioning=embedding", "model.discriminator.conditioning=classifier")
    generator, discriminator = players(show(*SMALL, *told))
    assert rows(generator)[0] == ["join.embedding", "Embedding", "64", "640"]
    assert numbers(generator[-1]) == [2 * ((8 + 64) * 16 + 16 * 16 + 16 * 64)]
    assert rows(discriminator)[-1] == ["head.classifier", "Linear", "10", "170"]


class Strange(nn.Module):
    """A tied weight, a frozen layer, one that is never called, parameters in a list and on their own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.first, self.tied = nn.Linear(4, 4), nn.Linear(4, 4)
        self.tied.weight = self.first.weight
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.unused = nn.Linear(4, 2)
        self.list = nn.ParameterList([torch.ones(3), torch.ones(2)])

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.scale * self.tied(self.frozen(self.first(images.flatten(1)))).sum(1)


def test_a_users_network_may_hold_its_parameters_as_it_likes():
    shown = view("discriminator", Strange(), torch.zeros(networks.BATCH, 4, 1, 1), None)
    texts = [each if isinstance(each, str) else Terminal().lines_of(each) for each in shown]
    lines = "\n".join(texts).splitlines()
    assert rows(lines) == [
        ["first", "Linear", "4", "20"],
        ["frozen", "Linear", "4", "0"],
        ["tied", "Linear", "4", "4"],
        [".", "Strange", "1", "1"],
        ["unused", "Linear", "-", "10"],
        ["list", "ParameterList", "-", "5"],
    ]
    assert numbers(lines[-2]) == [60, 40]


@pytest.mark.long
def test_the_largest_network_is_shown_with_its_published_counts(show: Command):
    generator, discriminator = players(show("model=r3gan", *SYNTHETIC))
    assert (numbers(generator[-2])[0], numbers(discriminator[-2])[0]) == (20_732_160, 20_683_776)


MISTAKES = {
    " ".join(arguments): (arguments, words)
    for arguments, words in (
        (["model=dcgna"], ["model/dcgna", "dcgan"]),
        (["model.generator.wdths=[8]"], ["model.generator.wdths is no setting", "did you mean"]),
        (["+model.generator.depth=3"], ["model.generator", "'depth'"]),
        (["train.grid=abc"], ["train.grid"]),
        (["seed=${nowhere}"], ["nowhere"]),
        (["model.latent.dim=0"], ["model.latent.dim=0"]),
        (["model=resnet"], ["the dataset has 8x8"]),
        (["model=mlp_mirza", "dataset=ring8"], ["mlp_mirza needs labels"]),
        (
            ["~dataset", "+dataset._target_=gan_runner.spec.Batch", "+dataset.images=1"],
            ["no ImageDataset"],
        ),
        (["loss.adversarial.real_target=2"], ["real_target"]),
        (["model.generator._target_=gan_runner.model.mlp.MLPDiscriminator"], ["model.generator=MLPDiscriminator cann"]),
        (["-m", "model=mlp,dcgan"], ["-m is for sweeps"]),
        (["--config-name", "nothing"], ["nothing"]),
    )
}


@pytest.mark.parametrize("row", some(MISTAKES, ["model=dcgna", "train.grid=abc", "model=resnet", "-m model=mlp,dcgan"]))
def test_a_mistake_is_one_sentence_and_exit_code_2(show: Command, in_tmp: Path, row: tuple[list[str], list[str]]):
    arguments, words = row
    answer = show(*arguments, *["device=cpu"] * ("--config-name" not in arguments))
    assert answer.code == 2, answer
    assert len(answer.err.strip().splitlines()) == 1
    assert "Traceback" not in answer.out + answer.err
    for word in words:
        assert word in answer.err
    assert not list(in_tmp.iterdir())


def test_a_bug_shows_its_traceback(show: Command, monkeypatch: pytest.MonkeyPatch):
    def broken(*arguments: object) -> str:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("gan_runner.networks.view", broken)
    with pytest.raises(ZeroDivisionError):
        show("device=cpu")


def test_a_reader_that_leaves_ends_the_command(show: Command, monkeypatch: pytest.MonkeyPatch):
    def left(*arguments: object) -> str:
        raise BrokenPipeError

    monkeypatch.setattr("gan_runner.networks.view", left)
    monkeypatch.setattr("gan_runner.cli.plain.silence", lambda: None)
    answer = show("device=cpu")
    assert (answer.code, answer.err) == (128 + signal.SIGPIPE, "")


TYPED = {"model=mlp_mirza": (0, "discriminator"), "model=dcgna": (2, ""), "--cfg job": (0, "lr: 0.0002")}


@pytest.mark.parametrize("typed", some({line: line for line in TYPED}, []))
def test_real_commands_write_nothing(in_tmp: Path, typed: str):
    """Neither after a misspelling, nor where the composition alone is requested."""
    code, shown = TYPED[typed]
    command = [sys.executable, "-m", "gan_runner.networks", *typed.split()]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HYDRA_FULL_ERROR": "0"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=120, check=False)
    assert done.returncode == code, done.stderr
    assert shown in done.stdout
    assert not list(in_tmp.iterdir())


def test_the_excerpt_of_the_readme_is_what_is_shown(show: Command):
    readme = (ROOT / "docs" / "use.md").read_text()
    (shown,) = re.findall(r"python -m gan_runner\.networks (.*)\n```\n\n```text\n(.*?)```", readme, re.DOTALL)
    overrides, excerpt = shown
    said = excerpt.splitlines()
    assert len(said) > 8
    assert [line for line in show(*overrides.split()).out.splitlines() if line in said] == [
        s for s in said if s != "..."
    ]
