"""Several averages of one run: each as if it were alone, in samples, metrics, selection and comparison."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from gan_runner import compare, sample
from gan_runner.comparison.records import read
from gan_runner.errors import ConfigError
from gan_runner.evaluation.selection import Evaluation, Selection
from gan_runner.interface.loading import load
from gan_runner.main import train
from gan_runner.records import checkpoint
from gan_runner.records.folder import RunFolder
from gan_runner.records.scores import Scores, value_of
from tests.conftest import SMALL, Command, configure, make_run, metrics, train_in

HALF_LIVES = ("4", "0", "1")  # images; of 96 in all, so that the ramp-up does not limit them to less
COMMON = (
    *(*SMALL, "train.total_steps=6", "train.checkpoint_every=2", "train.keep_checkpoints=9", "train.sample_every=3"),
    *("train.evaluate_every=2", "metric=[pixel_fid]", "metric.n_fake=40", "optimizer.lr=0.01", "train.grid=16"),
)
SEVERAL = (*COMMON, f"train.ema_half_life_images=[{','.join(HALF_LIVES)}]", "train.select_by=pixel_fid")
TAG = "metric/pixel_fid"


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train_in(tmp_path_factory.mktemp("outputs") / "several", *SEVERAL)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    """Runs that differ in the half-life alone, by half-life."""
    path = tmp_path_factory.mktemp("alone")
    return {life: train_in(path / life, *COMMON, f"train.ema_half_life_images={life}") for life in HALF_LIVES}


def last(folder: RunFolder) -> dict:
    return checkpoint.load(folder.checkpoints / "step-00000006.pt").state


def names() -> dict[str, str]:
    """Half-life -> the ending of its entries: the first has none."""
    return {life: f"/{life}" if number else "" for number, life in enumerate(HALF_LIVES)}


def test_each_average_is_that_of_a_run_with_this_half_life_alone_and_the_players_are_the_same(several, alone):
    state = last(several)
    for life, ending in names().items():
        own = last(alone[life])
        assert_close(state[f"ema{ending}"], own["ema"], rtol=0, atol=0)
        for player in ("generator", "discriminator"):
            assert_close(state[player]["network"], own[player]["network"], rtol=0, atol=0)
    assert not torch.equal(*(state[name]["layers.0.weight"] for name in ("ema", "ema/0")))


def test_metrics_are_taken_of_every_average(several, alone):
    for life, ending in names().items():
        expected = [line[TAG] for line in metrics(alone[life]) if TAG in line]
        assert [line[TAG + ending] for line in metrics(several) if TAG in line] == expected
        ours, own = (Scores(folder.read_summary()["metrics"]) for folder in (several, alone[life]))
        name = f"pixel_fid{ending}"
        for split in ("validation", "test"):
            assert ours.value("last", split, name) == own.value("last", split, "pixel_fid")
            assert ours.protocol(split, name) == own.protocol(split, "pixel_fid")
    assert ours.protocol("test", "pixel_fid/0")["weights"] == "live"


def test_a_grid_of_samples_is_made_of_every_average(several, alone):
    for life in HALF_LIVES:
        name = "step-00000006.png" if life == HALF_LIVES[0] else f"average-{life}-00000006.png"
        own = alone[life].path / "samples" / "step-00000006.png"
        assert (several.path / "samples" / name).read_bytes() == own.read_bytes()


def test_a_resume_continues_every_average_bit_for_bit(several, tmp_path: Path):
    train_in(tmp_path / "run", *SEVERAL, "train.total_steps=3")
    resumed = train_in(tmp_path / "run", *SEVERAL)
    for name in ("ema", "ema/0", "ema/1"):
        assert_close(last(resumed)[name], last(several)[name], rtol=0, atol=0)
    assert last(resumed)["selection"] == last(several)["selection"]


def test_a_folder_that_lacks_an_average_is_not_continued_with_it(several, tmp_path: Path):
    folder = train_in(tmp_path / "run", *SMALL, "train.total_steps=1", "train.ema_half_life_images=[4,1]")
    with pytest.raises(ConfigError, match=r"ema_half_life_images was \[4,1\], now \[4,1,100\]"):
        train(folder, configure(*SMALL, "train.total_steps=2", "train.ema_half_life_images=[4,1,100]"), "a test")


@pytest.mark.parametrize("life", HALF_LIVES)
def test_samples_of_an_average_are_those_of_a_run_with_it_alone(several, alone, entry_point: Command, life, tmp_path):
    make: Callable[..., int] = lambda *arguments: entry_point(sample.main, *arguments).code  # noqa: E731
    assert make(several.path, "--average", life, "--out", tmp_path / "one.png") == 0
    assert make(alone[life].path, "--out", tmp_path / "two.png") == 0
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert torch.equal(
        load(several.path, average=float(life)).sample(4).tensor, load(alone[life].path).sample(4).tensor
    )


def test_an_average_that_a_run_lacks_is_refused_and_those_it_has_are_named(several, alone, entry_point: Command):
    refused = entry_point(sample.main, several.path, "--average", "7")
    assert (refused.code, "--average=7" in refused.err, "4, 0, 1" in refused.err) == (2, True, True)
    assert entry_point(sample.main, alone["4"].path, "--average", "1").code == 2
    assert entry_point(sample.main, alone["4"].path, "--average", "4").code == 0


def test_the_best_networks_are_the_best_step_and_average(several, entry_point: Command, tmp_path: Path):
    lines = [line for line in metrics(several) if TAG in line]
    values = {(line["step"], life): line[TAG + ending] for line in lines for life, ending in names().items()}
    step, life = min(values, key=values.__getitem__)
    best = several.read_summary()["metrics"]["best"]
    assert (best["step"], best["half_life_images"]) == (step, life)
    selection = checkpoint.load(several.checkpoints / checkpoint.BEST).state["selection"]["best"]
    assert (selection["step"], selection["half_life_images"]) == (step, life)
    scores = Scores(several.read_summary()["metrics"])
    assert scores.objective("pixel_fid", several.path) == values[step, life]
    assert metrics(several)[-1]["best/pixel_fid"] == values[step, life]
    sampled = partial(entry_point, sample.main, several.path, "--checkpoint", "best")
    assert sampled("--out", tmp_path / "best.png").code == 0
    assert sampled("--average", life, "--out", tmp_path / "named.png").code == 0
    assert (tmp_path / "best.png").read_bytes() == (tmp_path / "named.png").read_bytes()


def test_a_later_average_can_be_the_best_and_a_value_that_is_no_number_never_is():
    selection = Selection()

    def improves(step: int, **values: float) -> bool:
        named = {name.replace("_", "/"): value for name, value in values.items()}
        return selection.improves(step, Evaluation("validation", named, {"m": {}}, {}, ("9", "5")), "m", "high", True)

    assert improves(1, m=1.0, m_5=2.0)
    assert selection.state_dict()["best"]["half_life_images"] == "5"
    assert not improves(2, m=1.9, m_5=1.0)
    assert improves(3, m=2.5, m_5=float("nan"))
    assert value_of(selection.state_dict()["best"], "validation", "m") == 2.5
    assert not improves(4, m=float("nan"), m_5=float("nan"))


def test_a_value_of_the_live_networks_is_computed_once(tmp_path: Path):
    settings = ("metric=[pixel_fid,discriminator_gap]", "train.ema_half_life_images=[4,1]", *COMMON[:6])
    folder = train_in(tmp_path / "run", *settings, "metric.n_fake=40", "train.total_steps=2")
    values = Scores(folder.read_summary()["metrics"]).splits("last")["validation"]
    assert [name for name in values if name.endswith("/1")] == ["pixel_fid/1"]
    assert len(values) > 2


def test_the_error_of_each_averaged_classifier_has_its_own_split(tmp_path: Path):
    settings = ("loss=semi_supervised", "dataset.labels_per_class=5", "metric=[test_error]", *SMALL)
    folder = train_in(tmp_path / "run", *settings, "train.total_steps=2", "train.ema_half_life_images=[4,1]")
    tags = {tag for line in metrics(folder) for tag in line if tag.startswith("metric/")}
    assert {f"metric/{split}_error{ending}" for split in ("test", "validation") for ending in ("", "/1")} <= tags


def test_the_comparison_shows_the_best_average_beside_the_main_one(several, alone, entry_point: Command, monkeypatch):
    monkeypatch.chdir(several.path.parent)
    shown = entry_point(compare.main, several.path, alone["4"].path)
    assert shown.code == 0
    record = read(several.path, lambda sentence: None)
    assert record is not None
    ends = {life: record.scores.value("last", "test", f"pixel_fid{ending}") for life, ending in names().items()}
    life = min(ends, key=ends.__getitem__)
    assert "best average" in shown.out
    assert f"{life}: {ends[life]:.4g}" in shown.out
    assert f"4: {ends['4']:.4g}" in shown.out  # of the run with one average
    assert "best average" not in entry_point(compare.main, alone["4"].path, alone["1"].path).out
    by_one = entry_point(compare.main, several.path, alone["4"].path, "--select", "pixel_fid/1")
    assert (by_one.code, f"{ends['1']:.4g}" in by_one.out) == (0, True)


@pytest.mark.parametrize(("typed", "word"), [("[]", "0 turns"), ("[5,5.0]", "twice"), ("[5,-1]", "0 or more")])
def test_a_list_that_is_none_is_refused(typed: str, word: str):
    with pytest.raises(ConfigError, match=word):
        make_run(*SMALL, f"train.ema_half_life_images={typed}")
