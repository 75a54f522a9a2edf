"""The script that makes the figures of docs/losses.md, made short."""

import math
import re
import shlex
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.conftest import LOSSES, NEED_CLASSES, Command, of_docs

DOCS = Path(__file__).parents[1] / "docs"
figures = of_docs("figures")


@pytest.fixture(autouse=True)
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    figures.plt.switch_backend("Agg")
    monkeypatch.setattr(figures, "IMAGES", tmp_path)
    return tmp_path


ANGLES = torch.arange(801) * 0.1
ENDINGS = {
    "converges": torch.exp(-ANGLES),
    "orbits": torch.ones(801),
    "comes nearer": 1 / (1 + 0.1 * ANGLES),
    "diverges": 1 + 0.01 * ANGLES,
}


@pytest.mark.parametrize(("verdict", "radius"), ENDINGS.items(), ids=ENDINGS)
def test_a_path_is_judged_by_where_the_generator_ends(verdict: str, radius: torch.Tensor):
    assert figures.verdict(torch.stack([radius * ANGLES.cos(), radius * ANGLES.sin()], dim=1)) == verdict


def test_a_generator_that_rests_away_from_the_data_is_told():
    assert figures.verdict(torch.stack([-2 + torch.exp(-ANGLES), torch.exp(-ANGLES)], dim=1)) == "stops elsewhere"


def test_the_paths_show_every_loss_that_a_slope_can_play():
    shown = {
        part.removeprefix("loss=") for overrides in figures.DIRAC.values() for part in overrides if "loss=" in part
    }
    assert set(LOSSES) - shown == {"sngan", "ebgan", "began", *NEED_CLASSES}  # a slope of norm 1, autoencoders, classes
    begin = figures.path(2, *figures.DIRAC["minimax"])
    assert begin.shape == (3, 2)
    assert begin[0].tolist() == [1.0, -1.0]
    # -dL/dpsi = -theta sigma(psi theta), and the generator answers along psi sigma(psi theta): steps of 0.05
    psi = -1 - 0.05 / (1 + math.e)
    assert begin[1].tolist() == pytest.approx([1 + 0.05 * psi / (1 + math.exp(-psi)), psi])


@pytest.mark.long
def test_two_losses_are_drawn(images: Path, command: Command, capfd: pytest.CaptureFixture[str]):
    sweep = ("-m", "experiment=ring8", "loss=gan,r3gan", "study=ring8", "train.total_steps=1", "device=cpu")
    assert command(*sweep).code == 0
    figures.ring8()
    rows = [line for line in capfd.readouterr().out.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == ["gan", "r3gan"]
    assert [path.name for path in images.glob("*.png")] == ["ring8.png"]


def test_starved_gradients_are_drawn(images: Path):
    figures.gradients(steps=1, most=1)
    assert (images / "starved.png").stat().st_size > 1000


@pytest.mark.long
def test_the_figures_are_drawn(images: Path, command: Command, capfd: pytest.CaptureFixture[str]):
    sweep = re.search(
        r"^python -m gan_runner (-m experiment=ring8 .*)$", (DOCS / "losses.md").read_text(), re.MULTILINE
    )
    assert command(*shlex.split(sweep[1]), "train.total_steps=2", "device=cpu").code == 0
    figures.ring8()
    table = capfd.readouterr().out
    assert "| `gan` |" in table
    assert "| `r3gan` |" in table
    figures.dirac(steps=8)
    figures.gradients(steps=1, most=4)
    assert sorted(path.name for path in images.glob("*.png")) == ["dirac.png", "ring8.png", "starved.png"]


@pytest.mark.long
def test_the_test_error_of_a_study_is_drawn(images: Path, command: Command):
    few = ("model=ssl_mlp", "loss=semi_supervised", "dataset.labels_per_class=2", "device=cpu", "study=ssl")
    assert command(*few, "train.total_steps=2", "train.evaluate_every=1").code == 0
    figures.errors()
    assert (images / "ssl_errors.png").stat().st_size > 1000


def test_augmented_images_are_drawn(images: Path):
    figures.augment()
    assert (images / "augment.png").stat().st_size > 10_000


@pytest.mark.long
def test_the_pictures_of_a_toy_run_become_a_film(images: Path, command: Command):
    assert command("experiment=gaussian_1d", "train.total_steps=1", "device=cpu").code == 0
    last = Path("outputs/experiment=gaussian_1d/samples/step-00000001.png")
    for step in range(2, 37):
        with Image.open(last) as picture:
            other = picture.convert("RGB")
        other.paste("black", (0, 0, 10 * step, 10))
        other.save(last.with_name(f"step-{step:08d}.png"))
    figures.film()
    with Image.open(images / "gaussian_1d.gif") as film, Image.open(images / "gaussian_1d.png") as strip:
        assert film.n_frames == 25 + 2 + 1  # of 37 pictures the first 25, every sixth, and the last
        assert (film.size, strip.size) == ((560, 400), (1680, 800))


@pytest.mark.long
def test_the_toy_runs_of_the_docs_are_shown(images: Path, command: Command):
    lines = re.findall(r"^python -m gan_runner (.* study=toys .*)$", (DOCS / "datasets.md").read_text(), re.MULTILINE)
    for line in lines:
        assert command(*shlex.split(line), "train.total_steps=2", "device=cpu").code == 0
    figures.toys()
    names = ("grid25", "ring8", "swiss_roll", "two_moons")
    assert sorted(path.name for path in images.glob("*.png")) == [f"toy_{name}.png" for name in names]


def test_pictures_that_are_not_there_are_told(in_tmp: Path):
    for draw in (figures.film, figures.toys):
        with pytest.raises(SystemExit, match=r"has no pictures; docs/datasets.md has the command"):
            draw()


def test_runs_that_are_not_there_are_told(in_tmp: Path):
    with pytest.raises(SystemExit, match=r"outputs/ssl has no runs; docs/results.md has the commands"):
        figures.errors()


def test_a_sweep_that_is_not_there_is_told(in_tmp: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match=r"has no runs; make them with python -m gan_runner -m experiment=ring8"):
        figures.ring8()
