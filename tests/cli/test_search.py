"""A search over settings: its objective, and how it resumes."""

import gc
import os
import signal
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from gan_runner.records.folder import RunFolder
from gan_runner.storage.lock import hold
from gan_runner.training.run import Run
from tests.conftest import SMALL, Answer, Command

LONG = pytest.mark.long
JUDGED = ("metric=pixel_fid", "metric.n_fake=100", "train.select_by=pixel_fid")
SETTINGS = ("-m", *SMALL, *JUDGED, "train.total_steps=3", "optimizer.lr=tag(log, interval(1e-4, 1e-2))")
SEARCH = (*SETTINGS, "hydra/sweeper=search", "study=lr")
OPTUNA = (*SETTINGS, "hydra/sweeper=optuna", "hydra.sweeper.n_jobs=1", "hydra.sweeper.n_trials=2")


@pytest.fixture
def command(command: Command) -> Command:
    """Releases the resources of a sweep that ended with an exception, as the end of a process would."""

    def call(*arguments: object) -> Answer:
        answer = command(*arguments)
        gc.collect()
        return answer

    return call


def trials() -> list[FrozenTrial]:
    return list(optuna.load_study(study_name="lr", storage="sqlite:///outputs/lr/search.db").trials)


def best_of_runs() -> dict[float, float]:
    """Returns lr -> the value by which a run was selected."""
    folders = [RunFolder(path) for path in Path("outputs/lr").iterdir() if path.is_dir()]
    return {
        (folder.read_config() or {})["optimizer"]["lr"]: folder.read_summary()["metrics"]["best"]["validation"][
            "pixel_fid"
        ]
        for folder in folders
    }


@pytest.mark.long
def test_a_search_is_told_what_its_runs_are_selected_by_and_counts_the_trials_of_all_calls(command: Command):
    assert command(*SEARCH, "hydra.sweeper.n_trials=1").code == 0
    first = trials()
    assert {trial.params["optimizer.lr"]: trial.value for trial in first} == best_of_runs()
    assert command(*SEARCH, "hydra.sweeper.n_trials=2").code == 0
    assert trials()[:1] == first
    assert len(trials()) == 2
    again = command(*SEARCH, "hydra.sweeper.n_trials=2")
    assert again.code == 0
    assert len(trials()) == 2
    assert f"Best value: {min(best_of_runs().values())}" in again.out


@pytest.mark.long
def test_a_trial_that_was_cut_off_goes_on_with_its_settings(command: Command, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patched:
        patched.setattr(Run, "step", stopped_in(Run.step))
        assert command(*SEARCH, "hydra.sweeper.n_trials=2").code == 128 + signal.SIGTERM
    cut = trials()
    assert [trial.state for trial in cut] == [TrialState.RUNNING]
    answer = command(*SEARCH, "hydra.sweeper.n_trials=2")
    assert answer.code == 0
    assert "going on from step 1" in answer.out
    assert [trial.state for trial in trials()] == [TrialState.COMPLETE] * 2
    assert trials()[0].params == cut[0].params
    assert len(best_of_runs()) == 2


def stopped_in(step: Callable[[Run], dict]) -> Callable[[Run], dict]:
    def signalled(run: Run) -> dict:
        os.kill(os.getpid(), signal.SIGTERM)
        return step(run)

    return signalled


@pytest.mark.long
def test_a_trial_that_diverges_does_not_end_the_search(command: Command):
    lr = "optimizer.lr=choice(1e30,1e-3)"
    grid = ("hydra/sweeper/sampler=grid", "hydra.sweeper.n_trials=2")
    answer = command(*SEARCH, lr, *grid, "train.log_every=1")
    assert sorted(trial.state.name for trial in trials()) == ["COMPLETE", "FAIL"]
    assert "1 diverged" in answer.out
    assert "1 completed" in answer.out


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        pytest.param(["hydra/sweeper=search_learning_rates", "study=lr", *SMALL], "type -m as well", id="without -m"),
        pytest.param([*SEARCH, "study=null"], "name it with study=NAME", id="a search without a name", marks=LONG),
        pytest.param(
            [*SEARCH, "hydra.sweeper.n_trials=-1"],
            "n_trials=-1 must be at least 1",
            id="no trials",
            marks=pytest.mark.long,
        ),
        pytest.param([*SEARCH, "optimizer.lr=1e-3"], "a setting to search over", id="nothing to search over"),
        pytest.param([*SEARCH, "seed=range(0,3)"], "finds the luckiest", id="seeds to search over", marks=LONG),
        pytest.param(
            [*SEARCH, "hydra.sweeper.storage=x"],
            "storage=x cannot be used",
            id="a storage that is none",
            marks=pytest.mark.long,
        ),
        pytest.param(
            [*SEARCH, "study=../elsewhere"], "is no folder name", id="a name that is a path", marks=pytest.mark.long
        ),
        pytest.param(
            *([*OPTUNA, "train.select_by=null"], "set metric=[...] and train.select_by"),
            id="nothing to search by",
            marks=LONG,
        ),
        pytest.param(
            [*OPTUNA, "metric=parzen", "train.select_by=parzen"],
            "hydra.sweeper.direction=minimize, and of parzen high is better; use maximize.",
            id="the wrong way",
        ),
    ],
)
def test_a_search_that_makes_no_sense_is_refused_once(typed: list[str], sentence: str, command: Command):
    answer = command(*typed)
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert sentence in answer.err
    assert answer.out.count("#1") == 0
    assert not list(Path().glob("outputs/**/config.yaml"))


@pytest.mark.long
def test_a_direction_that_was_refused_does_not_stay_with_the_study(command: Command):
    judged = (*SEARCH, "metric=parzen", "train.select_by=parzen", "hydra.sweeper.n_trials=1")
    assert command(*judged).code == 2
    assert command(*judged, "hydra.sweeper.direction=maximize").code == 0
    answer = command(*judged, "hydra.sweeper.direction=minimize")
    assert answer.code == 2
    assert "study=lr was searched with hydra.sweeper.direction=maximize" in answer.err


@pytest.mark.long
def test_a_study_is_of_one_question(command: Command):
    assert command(*SEARCH, "loss=nothing_of_the_kind", "hydra.sweeper.n_trials=1").code == 2
    assert command(*SEARCH, "model.latent.dim=-1", "hydra.sweeper.n_trials=1").code == 2
    assert command(*SEARCH, "hydra.sweeper.n_trials=1").code == 0  # what came to nothing does not count
    answer = command(*SEARCH, "loss=wgan", "hydra.sweeper.n_trials=2")
    assert answer.code == 2
    assert "study=lr was searched with less, and this is loss=wgan; name another study." in answer.err
    assert len(trials()) == 1


def test_a_study_is_searched_by_one_process(command: Command):
    Path("outputs/lr").mkdir(parents=True)
    with hold(Path("outputs/lr")):
        answer = command(*SEARCH)
    assert answer.code == 2
    assert f"study=lr is searched by process {os.getpid()}" in answer.err


@pytest.mark.long
def test_the_ready_search_over_learning_rates_runs_two_trials_at_once(command: Command):
    typed = ("-m", "hydra/sweeper=search_learning_rates", "study=lr", *SMALL, *JUDGED, "train.total_steps=1")
    typed = (*typed, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert command(*typed, "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=2").code == 0
    assert {name for trial in trials() for name in trial.params} == {
        "optimizer.generator.lr",
        "optimizer.discriminator.lr",
        "optimizer.betas",
    }
    assert len(trials()) == 2
