"""A search that was stopped goes on: what `hydra/sweeper=search` does before Optuna's sweeper begins."""

import contextlib
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from gan_runner.errors import ConfigError
from gan_runner.files import storing
from gan_runner.folder import chosen_name
from gan_runner.lock import InUse, hold
from gan_runner.main import OUTPUTS, direction_of


class Resume(Callback):
    """Hydra's callback at the start of a sweep.

    Trials that were cut off are taken up again, with the settings they had, so that their runs go on from their
    checkpoints; and `n_trials` counts those of all calls.
    """

    def __init__(self) -> None:
        self.held = contextlib.ExitStack()

    def __reduce__(self) -> tuple[type["Resume"], tuple[()]]:
        """A launcher sends it to the processes of its jobs; the folder is held here."""
        return Resume, ()

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        refuse(ConfigError("hydra/sweeper=search is for sweeps; type -m as well."))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        sweeper = config.hydra.sweeper
        try:
            self.claim(sweeper.study_name)
            sweeper.n_trials = max(0, sweeper.n_trials - trials_ended(**sweeper))
        except ConfigError as error:
            refuse(error)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        self.held.close()

    def claim(self, study: str | None) -> None:
        """For this process alone: trials that another is at would look as if they were cut off."""
        if study is None:
            raise ConfigError("hydra/sweeper=search keeps its trials in a study; name it with study=NAME.")
        folder = OUTPUTS / chosen_name("study", study)
        with storing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            self.held.enter_context(hold(folder))
        except InUse as error:
            raise ConfigError(f"study={study} is searched by {error} now; wait for it.") from error


def refuse(error: ConfigError) -> None:
    """Hydra passes over what a callback raises, but not over this."""
    raise SystemExit(error.exit_code) from error


def trials_ended(study_name: str, storage: str, direction: Any, **others: Any) -> int:
    """How many trials a study has had; those of them that were cut off are asked for again."""
    import optuna  # of the extra `sweep`

    known = optuna.storages.get_storage(storage)
    if study_name not in [summary.study_name for summary in optuna.get_all_study_summaries(known)]:
        return 0
    study = optuna.load_study(study_name=study_name, storage=known)
    ended = sum(trial.state.is_finished() for trial in study.trials)
    if direction_of(study.direction) != direction_of(direction):
        if ended:
            raise ConfigError(
                f"study={study_name} was begun with hydra.sweeper.direction={direction_of(study.direction)}; "
                "go on with that, or name another study."
            )
        optuna.delete_study(study_name=study_name, storage=known)
        return 0
    for trial in study.trials:
        if trial.state == optuna.trial.TrialState.RUNNING:
            known.set_trial_state(trial._trial_id, optuna.trial.TrialState.WAITING)
    return ended
