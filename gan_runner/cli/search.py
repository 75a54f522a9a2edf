"""Resuming of searches: the checks and preparations of `hydra/sweeper=search` before Optuna's sweeper begins."""

import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from gan_runner.cli.places import OUTPUTS
from gan_runner.cli.typed import parse_overrides
from gan_runner.errors import ConfigError, SweepError
from gan_runner.records.identity import chosen_name
from gan_runner.storage.files import storing
from gan_runner.storage.lock import InUse, hold

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage

log = logging.getLogger(__name__)


class Resume(Callback):
    """Hydra's callback at the start of a sweep.

    Interrupted trials are run again with the same settings, so that their runs resume from their checkpoints.
    `n_trials` counts the trials of all calls.
    """

    def __init__(self) -> None:
        self.held = contextlib.ExitStack()

    def __reduce__(self) -> tuple[type["Resume"], tuple[()]]:
        """Pickles the object without the lock: a launcher sends it to its jobs, and this process keeps the lock."""
        return Resume, ()

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        refuse(ConfigError("hydra/sweeper=search is for sweeps; type -m as well."))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        sweeper = config.hydra.sweeper
        try:
            check(sweeper, config.hydra.overrides.task)
            self.claim(sweeper.study_name)
            ended = trials_ended(sweeper, [*config.hydra.overrides.task, *(sweeper.params or {}).items()])
        except ConfigError as error:
            refuse(error)
        if ended >= sweeper.n_trials:
            log.info("study=%s has its %d trials; a larger hydra.sweeper.n_trials goes on", sweeper.study_name, ended)
        sweeper.n_trials = max(0, sweeper.n_trials - ended)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        self.held.close()

    def claim(self, study: str) -> None:
        """Locks the study for this process: running trials of another process would look interrupted."""
        folder = OUTPUTS / chosen_name("study", study)
        with storing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            self.held.enter_context(hold(folder))
        except InUse as error:
            raise ConfigError(f"study={study} is searched by {error} now; wait for it.") from error


def check_search(by: str | None, better: Mapping[str, str]) -> None:
    """SweepError if a search lacks `train.select_by` or has a wrong direction. better: name -> low or high."""
    if not HydraConfig.initialized() or "direction" not in HydraConfig.get().sweeper:
        return
    if by is None:
        raise SweepError("a search needs a value to search by: set metric=[...] and train.select_by=VALUE of it.")
    direction = direction_of(HydraConfig.get().sweeper.direction)
    required = {"low": "minimize", "high": "maximize"}[better[by]]
    if direction != required:
        raise SweepError(f"hydra.sweeper.direction={direction}, and of {by} {better[by]} is better; use {required}.")


def direction_of(setting: Any) -> str:
    """Returns the direction of a sweeper in lower case, from text or from Optuna's enumeration."""
    return str(getattr(setting, "name", setting)).lower()


def refuse(error: ConfigError) -> NoReturn:
    """Raises SystemExit, since Hydra ignores other exceptions of a callback."""
    raise SystemExit(error.exit_code) from error


def check(sweeper: DictConfig, typed: Sequence[str]) -> None:
    given = dict.fromkeys(sweeper.params or {}, True) | {
        e.key_or_group: e.is_sweep_override() for e in parse_overrides(typed)
    }
    searched = [key for key, several in given.items() if several]
    if sweeper.study_name is None:
        raise ConfigError("hydra/sweeper=search keeps its trials in a study; name it with study=NAME.")
    if sweeper.n_trials < 1:
        raise ConfigError(f"hydra.sweeper.n_trials={sweeper.n_trials} must be at least 1.")
    if not searched:
        raise ConfigError(
            "a search needs a setting to search over, for example 'optimizer.lr=tag(log,interval(1e-5,1e-2))'."
        )
    if "seed" in searched:
        raise ConfigError("a search over seed finds the luckiest; leave it fixed, and train the best with new seeds.")


def trials_ended(sweeper: DictConfig, settings: Sequence[Any]) -> int:
    """Returns the number of finished trials of a study, 0 if none has a value. Interrupted trials are queued again."""
    import optuna  # installed with the extra `sweep`
    from sqlalchemy.exc import SQLAlchemyError

    try:
        storage = optuna.storages.get_storage(sweeper.storage)
        study = opened(sweeper, storage, sorted(map(str, settings)))
    except (SQLAlchemyError, optuna.exceptions.OptunaError) as error:
        reason = str(error).split("\n")[0]
        raise ConfigError(f"hydra.sweeper.storage={sweeper.storage} cannot be used: {reason}") from error
    for trial in study.trials:
        if trial.state == optuna.trial.TrialState.RUNNING:
            storage.set_trial_state(trial._trial_id, optuna.trial.TrialState.WAITING)
    return sum(trial.state.is_finished() for trial in study.trials) if completed(study) else 0


def opened(sweeper: DictConfig, storage: "BaseStorage", settings: list[str]) -> "Study":
    """Returns the study of that name, a new one if it has no value yet. ConfigError if its settings were different."""
    import optuna

    name, direction = sweeper.study_name, direction_of(sweeper.direction)
    settings = [*settings, f"hydra.sweeper.direction={direction}"]
    if name in [summary.study_name for summary in optuna.get_all_study_summaries(storage)]:
        study = optuna.load_study(study_name=name, storage=storage)
        before = study.user_attrs.get("settings", [])
        if before == settings:
            return study
        if completed(study):
            there = " ".join(word for word in before if word not in settings) or "less"
            here = " ".join(word for word in settings if word not in before) or "less"
            raise ConfigError(f"study={name} was searched with {there}, and this is {here}; name another study.")
        optuna.delete_study(study_name=name, storage=storage)
    study = optuna.create_study(study_name=name, storage=storage, direction=direction)
    study.set_user_attr("settings", settings)
    return study


def completed(study: "Study") -> bool:
    """Whether any trial has a value. If none has, the typed settings were wrong."""
    return any(trial.value is not None for trial in study.trials)
