"""Selection of the best checkpoint, patience, and the value returned to a sweep."""

import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from torch.testing import assert_close

from gan_runner.distributed.ranks import Ranks
from gan_runner.errors import ConfigError, Diverged
from gan_runner.main import is_finished
from gan_runner.metric.inputs import View
from gan_runner.records import checkpoint
from gan_runner.records.checkpoint import keep_as_best
from gan_runner.records.folder import RunFolder
from gan_runner.records.scores import Scores
from gan_runner.training import judging
from gan_runner.training.reporting import Reporter
from gan_runner.training.run import Run
from tests.conftest import SMALL, Command, configure, make_run, metrics, train_in
from tests.distributed.pairs import Pair, trained, two_ranks
from tests.training.test_session import final_state

EVERY = ("train.log_every=2", "train.evaluate_every=2", "train.checkpoint_every=2", "train.sample_every=100")
SCRIPT = [5.0, 3.0, 4.0, 2.0, 6.0, 7.0, 8.0, 9.0]  # at steps 2, 4, 6, ...


class Scripted:
    """A user-defined metric that returns the scripted value of the step."""

    steps: ClassVar[dict[str, int]] = {"now": 0}  # of the run under test
    better: ClassVar[dict[str, str]] = {"scripted": "low"}

    def __init__(self, values: list[float], seconds: float = 0.0):
        self.values, self.seconds = values, seconds

    def __call__(self, view: View) -> dict[str, float]:
        time.sleep(self.seconds)
        value = self.values[self.steps["now"] // 2 - 1]
        return {"scripted": value if view.split == "validation" else -value}


@pytest.fixture(autouse=True)
def _step_is_known() -> Iterator[None]:
    original = judging.evaluate

    def noted(run: Any, split: str | None = None) -> Any:
        Scripted.steps["now"] = run.clock.steps
        return original(run, split)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "evaluate", noted)
        yield


def scripted(values: list[float], *overrides: str) -> tuple[str, ...]:
    node = f"{{_target_: tests.training.test_selection.Scripted, values: {values}}}".replace(" ", "")
    return (*SMALL, *EVERY, f"+metric.own={node}", "train.select_by=scripted", *overrides)


def best_step(folder: RunFolder) -> int | None:
    return checkpoint.best_step(folder.checkpoints)


def objective(folder: RunFolder, config: dict[str, Any]) -> float:
    return Scores(folder.read_summary()["metrics"]).objective(config["train"]["select_by"], folder.path)


def told(folder: RunFolder) -> dict[str, Any]:
    return folder.read_summary()["metrics"]


def test_the_best_checkpoint_is_that_of_the_best_validation_value_and_is_reported_on_test(tmp_path: Path):
    folder = train_in(tmp_path / "run", *scripted(SCRIPT, "train.total_steps=12", "train.keep_checkpoints=1"))
    assert best_step(folder) == 8
    assert [path.name for path in checkpoint.checkpoints(folder.checkpoints)] == ["step-00000012.pt"]
    assert told(folder)["best"] == {
        "select_by": "scripted",
        "step": 8,
        "validation": {"scripted": 2.0},
        "test": {"scripted": -2.0},
    }
    assert told(folder)["last"] == {"step": 12, "validation": {"scripted": 7.0}, "test": {"scripted": -7.0}}
    assert folder.read_summary()["steps"] == 12
    lines = [(line["step"], line["metric/scripted"]) for line in metrics(folder) if "metric/scripted" in line]
    assert lines == list(zip(range(2, 14, 2), SCRIPT, strict=False))
    assert objective(folder, configure(*scripted(SCRIPT))) == 2.0


def test_the_best_networks_are_those_of_the_best_step(tmp_path: Path):
    folder = train_in(tmp_path / "run", *scripted(SCRIPT, "train.total_steps=12", "train.keep_checkpoints=9"))
    states = [checkpoint.load(folder.checkpoints / name).state for name in ("best.pt", "step-00000008.pt")]
    for part in ("generator", "discriminator", "ema", "counters"):
        assert_close(states[0][part], states[1][part], rtol=0, atol=0)


@pytest.mark.parametrize("cut", [3, 8, *(pytest.param(step, marks=pytest.mark.long) for step in (4, 9))])
def test_a_run_that_was_cut_selects_as_the_uncut_one(tmp_path: Path, cut: int):
    """Between evaluations a run that ends is judged once more, here with what changes nothing."""
    straight = train_in(tmp_path / "straight", *scripted(SCRIPT, "train.total_steps=12"))
    train_in(tmp_path / "cut", *scripted([9.0, *SCRIPT[1:]] if cut == 3 else SCRIPT, f"train.total_steps={cut}"))
    resumed = train_in(tmp_path / "cut", *scripted(SCRIPT, "train.total_steps=12"))
    assert best_step(resumed) == best_step(straight) == 8
    assert told(resumed) == told(straight)
    states = [final_state(folder) for folder in (resumed, straight)]
    chosen = [state.pop("selection") for state in states]
    assert_close(*states, rtol=0, atol=0)
    assert chosen[0]["best"] == chosen[1]["best"]


# ---- ends


def test_patience_ends_the_run_and_a_longer_one_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    overrides = scripted([*SCRIPT[:6], 1.0, 9.0], "train.total_steps=16")
    folder = train_in(tmp_path / "run", *overrides, "train.patience=2")
    assert folder.read_summary()["steps"] == 12  # 2.0 at step 8, then twice nothing better
    assert "stopped early: no better scripted in 2 evaluations" in caplog.text
    assert is_finished(folder, configure(*overrides, "train.patience=2"))
    assert not is_finished(folder, configure(*overrides, "train.patience=3"))
    assert not is_finished(folder, configure(*overrides))
    train_in(folder.path, *overrides, "train.patience=3")
    assert folder.read_summary()["steps"] == 16
    assert best_step(folder) == 14


def test_after_an_early_end_the_same_command_says_that_it_is_finished(command: Command):
    typed = scripted(SCRIPT, "train.total_steps=40", "train.patience=2", "name=run")
    assert command(*typed).code == 0
    logged = set(Path("outputs/run").glob("events*"))
    again = command(*typed)
    assert (again.code, "is finished" in again.out + again.err) == (0, True)
    assert set(Path("outputs/run").glob("events*")) == logged


# ---- endings at odd moments


class Killed(BaseException):
    pass


MOMENTS = (
    "before best.pt is linked",
    "before the summary is written",
    "before it is saved",
    "before it is saved again",
)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_process_that_ends_between_evaluation_and_best_checkpoint_leaves_one_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
):
    overrides = scripted(SCRIPT, "train.total_steps=12")
    straight = train_in(tmp_path / "straight", *overrides)
    original = {"link": keep_as_best, "summary": RunFolder.write_summary, "save": checkpoint.save}

    def dies(*arguments: Any, **named: Any) -> None:
        raise Killed

    def linked(folder: Path, step: int) -> None:
        original["link"](folder, step) if step != 8 else dies()

    def summarized(folder: RunFolder, summary: dict[str, Any]) -> None:
        original["summary"](folder, summary) if summary["steps"] != 8 else dies()

    saves = itertools.count(1 if "again" in moment else 2)

    def saved(folder: Path, step: int, *rest: Any) -> Path:
        return original["save"](folder, step, *rest) if step != 8 or next(saves) < 2 else dies()

    place = {"before best.pt is linked": (checkpoint, "keep_as_best", linked)}
    place["before the summary is written"] = (RunFolder, "write_summary", summarized)
    place["before it is saved"] = place["before it is saved again"] = (checkpoint, "save", saved)
    monkeypatch.setattr(*place[moment])
    monkeypatch.setattr(Reporter, "conclude", lambda self, status: None)  # what a killed process cannot
    with pytest.raises(Killed):
        train_in(tmp_path / "cut", *overrides)
    monkeypatch.undo()
    resumed = train_in(tmp_path / "cut", *overrides)
    assert best_step(resumed) == 8
    assert told(resumed) == told(straight)
    assert metrics(resumed) == metrics(straight)
    assert objective(resumed, configure(*overrides)) == 2.0


def test_scores_outlast_a_session_that_ends_before_it_evaluates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = scripted(SCRIPT, "train.total_steps=4")
    before = told(train_in(tmp_path / "run", *run))
    original = Run.step

    def interrupted(run: Run) -> Any:
        if run.clock.steps == 5:
            raise KeyboardInterrupt
        return original(run)

    monkeypatch.setattr(Run, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_in(tmp_path / "run", *run[:-1], "train.total_steps=8")
    summary = RunFolder(tmp_path / "run").read_summary()
    assert (summary["status"], summary["steps"]) == ("interrupted", 5)
    assert summary["metrics"] == before


def test_a_best_checkpoint_that_is_lost_is_chosen_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    train_in(tmp_path / "run", *scripted(SCRIPT, "train.total_steps=12"))
    (tmp_path / "run" / "checkpoints" / "best.pt").write_bytes(b"damaged")
    folder = train_in(tmp_path / "run", *scripted(SCRIPT, "train.total_steps=16"))
    assert "best.pt is not that of step 8; the best is chosen anew" in caplog.text
    assert best_step(folder) == told(folder)["best"]["step"] == 12
    assert objective(folder, configure(*scripted(SCRIPT))) == 7.0


class Other(Scripted):
    better: ClassVar[dict[str, str]] = {"other": "high"}

    def __call__(self, view: View) -> dict[str, float]:
        return {"other": super().__call__(view)["scripted"]}


def test_another_value_to_select_by_begins_the_selection_anew(tmp_path: Path):
    train_in(tmp_path / "run", *scripted(SCRIPT, "train.total_steps=8"))
    own = [word.replace("Scripted", "Other") for word in scripted(SCRIPT, "train.total_steps=16")]
    folder = train_in(tmp_path / "run", *own, "train.select_by=other")
    assert told(folder)["best"]["select_by"] == "other"
    assert told(folder)["best"]["validation"] == {"other": 9.0}
    assert best_step(folder) == 16
    with pytest.raises(ConfigError, match=r"train\.select_by=scripted chose nothing"):
        objective(folder, configure(*scripted(SCRIPT)))


def test_a_value_that_never_was_a_number_chooses_nothing(tmp_path: Path):
    folder = train_in(tmp_path / "run", *never(), "train.total_steps=4")
    assert best_step(folder) is None
    assert "best" not in told(folder)
    assert told(folder)["last"]["validation"] == {"never": None}
    json.loads(folder.summary.read_text(), parse_constant=pytest.fail)
    with pytest.raises(ConfigError, match="was never a number"):
        objective(folder, configure(*never()))


class Never:
    better: ClassVar[dict[str, str]] = {"never": "high"}

    def __call__(self, view: View) -> dict[str, float]:
        return {"never": float("nan")}


def never() -> tuple[str, ...]:
    own = "+metric.own={_target_:tests.training.test_selection.Never}"
    return (*SMALL, *EVERY, own, "train.select_by=never")


def test_weights_that_are_no_numbers_are_a_divergence_and_not_a_mistake_in_a_metric(tmp_path: Path, monkeypatch):
    original = Run.step

    def poisoned(run: Any) -> Any:
        stats = original(run)
        if run.clock.steps == 4:
            next(run.generator.network.parameters()).data.fill_(float("nan"))
        return stats

    monkeypatch.setattr(Run, "step", poisoned)
    overrides = (*SMALL, "metric=[memorization]", "metric.n_fake=50", "train.evaluate_every=4", "train.total_steps=8")
    with pytest.raises(Diverged, match="weights is nan at step 4"):
        train_in(tmp_path / "run", *overrides)
    monkeypatch.undo()


def test_another_number_of_samples_begins_the_selection_anew(tmp_path: Path):
    """With few samples the Frechet distance is larger, so that earlier values could not be improved."""
    overrides = (*SMALL, *EVERY, "metric=[pixel_fid]", "train.select_by=pixel_fid")
    train_in(tmp_path / "run", *overrides, "metric.n_fake=500", "train.total_steps=4")
    folder = train_in(tmp_path / "run", *overrides, "metric.n_fake=30", "train.total_steps=6")
    assert told(folder)["best"]["step"] == best_step(folder) == 6
    assert told(folder)["protocol"]["validation"]["pixel_fid"]["n_fake"] == 30


# ---- time, sweeps, ranks


def test_evaluation_is_not_counted_as_time_of_training(tmp_path: Path):
    slow = [word.replace("}", ",seconds:0.2}") for word in scripted(SCRIPT, "train.total_steps=6")]
    began = time.perf_counter()
    folder = train_in(tmp_path / "run", *slow)
    spent = time.perf_counter() - began
    assert spent > 1.0  # three evaluations, and two on the test split
    assert folder.read_summary()["seconds"] < spent - 0.8
    assert folder.read_summary()["last"]["speed/images_per_second"] > 16 * 2 / 0.16


@pytest.mark.long
def test_a_sweep_is_told_the_best_value(command: Command, monkeypatch: pytest.MonkeyPatch):
    returned: list[Any] = []
    monkeypatch.setattr("gan_runner.main.carry_out", noting(returned))
    typed = ("-m", *scripted(SCRIPT, "train.total_steps=4", "study=s"))
    assert command(*typed, "seed=0,1").code == 0
    assert returned == [3.0, 3.0]
    assert command(*typed, "seed=1").code == 0  # finished before
    assert returned == [3.0, 3.0, 3.0]


def noting(returned: list[Any]) -> Any:
    from gan_runner.main import carry_out

    def noted(cfg: Any) -> Any:
        returned.append(carry_out(cfg))
        return returned[-1]

    return noted


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with two_ranks() as both:
        yield both


def test_two_ranks_select_and_stop_as_one(pair: Pair, tmp_path: Path):
    overrides = (*SMALL, *EVERY, "model.generator.norm=none", "model.discriminator.norm=layer")
    chosen = ("metric=[pixel_fid,discriminator_gap]", "metric.n_fake=100", "train.select_by=pixel_fid")
    typed = (*overrides, *chosen, "train.total_steps=12", "train.patience=3", "optimizer.lr=0.001")
    assert pair(trained, tmp_path / "two", typed) == [None, None]
    two, one = RunFolder(tmp_path / "two"), train_in(tmp_path / "one", *typed)
    assert two.read_summary()["steps"] == one.read_summary()["steps"]
    assert best_step(two) == best_step(one) == told(two)["best"]["step"]
    assert told(two)["best"]["validation"]["pixel_fid"] == pytest.approx(
        told(one)["best"]["validation"]["pixel_fid"], rel=1e-3
    )
    assert told(two)["last"].keys() == told(one)["last"].keys()


def test_two_ranks_are_refused_as_one(pair: Pair, tmp_path: Path):
    typed = (*SMALL, "metric=[pixel_fid]", "train.select_by=fid", "train.total_steps=2")
    for name, sentence, code in pair(refused, tmp_path / "run", typed):
        assert (name, code) == ("ConfigError", 2)
        assert "train.select_by=fid" in sentence


def refused(ranks: Ranks, path: Path, overrides: tuple[str, ...]) -> None:
    trained(ranks, path, overrides)


# ---- refusals


class Boastful:
    """Declares a value for selection that it does not return."""

    better: ClassVar[dict[str, str]] = {"fame": "high"}

    def __call__(self, view: View) -> dict[str, float]:
        return {"fortune": 1.0}


REFUSED = {
    "a value that is not measured": (
        ("metric=[pixel_fid]", "train.select_by=pixel_fd"),
        ["train.select_by=pixel_fd", "did you mean 'pixel_fid'"],
    ),
    "a value and no metric": (("train.select_by=fid",), ["train.select_by=fid", "choose metric=[...]"]),
    "a value that the dataset does not have": (
        ("metric=[modes]", "train.select_by=high_quality"),
        ["train.select_by=high_quality", "modes, reverse_kl, total_variation"],
    ),
    "no validation split": (
        ("dataset=synthetic", "dataset.count=8", "metric=[pixel_fid]", "train.select_by=pixel_fid"),
        ["validation split"],
    ),
    "patience without evaluations": (
        ("metric=[pixel_fid]", "train.select_by=pixel_fid", "train.patience=3"),
        ["train.patience", "train.evaluate_every"],
    ),
    "patience with nothing to wait for": (
        ("metric=[pixel_fid]", "train.evaluate_every=2", "train.patience=3"),
        ["train.patience", "train.select_by"],
    ),
    "patience of nothing": (("train.patience=0",), ["patience=0 must be above 0"]),
}


@pytest.mark.parametrize(("overrides", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_select_is_refused_before_the_training(overrides: tuple[str, ...], words: list[str]):
    with pytest.raises(ConfigError) as caught:
        make_run(*SMALL, *overrides)
    for word in words:
        assert word in str(caught.value)


def test_a_users_metric_that_does_not_give_what_it_says_is_told(tmp_path: Path):
    own = "+metric.own={_target_:tests.training.test_selection.Boastful}"
    with pytest.raises(ConfigError, match=r"train\.select_by=fame was not among the values found: fortune"):
        train_in(tmp_path / "run", *SMALL, *EVERY, own, "train.select_by=fame", "train.total_steps=2")


def test_what_is_no_metric_is_told():
    with pytest.raises(ConfigError, match=r"metric.own: Hinge is no metric"):
        make_run(*SMALL, "+metric.own={_target_:gan_runner.loss.adversarial.Hinge}")
    with pytest.raises(ConfigError, match=r"metric.n_fke=3 is neither a metric nor one of"):
        make_run(*SMALL, "+metric.n_fke=3")


@pytest.mark.parametrize("every", [0, 2], ids=["at the end", "on the cadence"])
def test_an_evaluation_that_is_cut_short_costs_no_step_and_is_taken_again(tmp_path: Path, monkeypatch, every: int):
    asked = scripted(SCRIPT[:2], "train.total_steps=4", f"train.evaluate_every={every}")
    whole = train_in(tmp_path / "whole", *asked)
    with monkeypatch.context() as patched:
        original = judging.evaluate

        def cut(run: Any, split: str | None = None) -> Any:
            if run.clock.steps == 4:
                raise RuntimeError("killed")
            return original(run, split)

        patched.setattr(judging, "evaluate", cut)
        with pytest.raises(RuntimeError, match="killed"):
            train_in(tmp_path / "cut", *asked)
    assert checkpoint.checkpoints(RunFolder(tmp_path / "cut").checkpoints)[-1].name == "step-00000004.pt"
    folder = train_in(tmp_path / "cut", *asked)
    assert metrics(folder) == metrics(whole)
    states = [final_state(each) for each in (folder, whole)]
    selections = [state.pop("selection") for state in states]
    assert selections[0] == selections[1]
    assert_close(*states, rtol=0, atol=0)


@pytest.mark.parametrize(("metric", "need"), [("pixel_fid", 2), ("pixel_precision_recall", 4)])
def test_too_few_real_images_are_told_before_training(metric: str, need: int):
    few = (
        "dataset=synthetic",
        "dataset.count=10",
        f"metric={metric}",
        "train.batch_size=4",
    )  # 1 in each held-out split
    with pytest.raises(ConfigError, match=f"metric.{metric} needs {need} images in the validation split, .* has 1"):
        make_run(*SMALL[:-2], *few, "device=cpu")


def test_an_evaluation_off_the_cadence_does_not_count_towards_patience(tmp_path: Path):
    folder = train_in(tmp_path / "run", *scripted(SCRIPT, "train.evaluate_every=4", "train.total_steps=5"))
    assert [line["step"] for line in metrics(folder) if "metric/scripted" in line] == [4, 5]
    assert folder.read_summary()["evaluations_without_gain"] == 0
    folder = train_in(tmp_path / "all", *scripted(SCRIPT, "train.evaluate_every=1", "train.total_steps=5"))
    assert folder.read_summary()["evaluations_without_gain"] == 1
