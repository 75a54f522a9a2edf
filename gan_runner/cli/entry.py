"""What begins and ends every command: classes of the user's own, one sentence for a mistake, and exit codes."""

import contextlib
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

import gan_runner.cli.help  # noqa: F401 (registers what conf/config.yaml refers to)
from gan_runner.cli.compose import explained, resolve, use_loader
from gan_runner.cli.sweep import is_elsewhere, of_a_launcher
from gan_runner.cli.typed import check_typed
from gan_runner.distributed.joining import standing
from gan_runner.distributed.ranks import started
from gan_runner.errors import ConfigError, Diverged, EndedElsewhere, NotWritten, RankLost, Stopped, SweepError
from gan_runner.records.console import keep_files_off_closed_streams, show_error, silence

ENDINGS = (ConfigError, Diverged, NotWritten, Stopped, EndedElsewhere, RankLost)

log = logging.getLogger("gan_runner")


def enter(job: Callable[[], None]) -> None:
    """Calls the Hydra function of a command; what ends it becomes one sentence and an exit code."""
    keep_files_off_closed_streams()
    find_users_classes()
    wanted = traceback_wanted()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing and exiting
    use_loader()
    try:
        job()
    except SystemExit as ending:
        if not isinstance(ending.__cause__, ENDINGS):
            raise
        end(ending.__cause__, wanted)
    except KeyboardInterrupt:
        if wanted:
            raise
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        silence()
        sys.exit(128 + signal.SIGPIPE)
    except Exception as error:
        if of_a_launcher(error) or (not isinstance(error, ENDINGS) and raised_in(job, error)):
            raise
        end(error, wanted)


def enter_alone(job: Callable[[], None]) -> None:
    """Of a command that shows one configuration, in one process."""
    if started() > 1:
        end(ConfigError("torchrun is for python -m gan_runner; start this command without it."), wanted=False)
    if {"-m", "--multirun"} & set(sys.argv):
        end(ConfigError("-m is for sweeps, and this shows one configuration; leave it away."), wanted=False)
    enter(job)


def refuse_torchrun() -> None:
    """Of a command that takes run folders."""
    if started() > 1:
        raise ConfigError("torchrun is for python -m gan_runner; start this command without it.")


def traceback_wanted() -> bool:
    return os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0")


def raised_in(job: Callable[[], None], error: Exception) -> bool:
    """Else Hydra raised it over what was typed: its own errors, OmegaConf's, YAML's and plain ValueErrors."""
    return any(frame.name == job.__name__ for frame in traceback.extract_tb(error.__traceback__)[1:])


def end(error: BaseException, wanted: bool) -> None:
    """One sentence and the exit code; the traceback where it is wanted."""
    if wanted:
        raise error
    sentence = str(error if isinstance(error, ENDINGS) else explained(error, sys.argv[1:]))
    if sentence and standing().is_first_to_report(sentence):
        show_error(sentence)
    sys.exit(getattr(error, "exit_code", ConfigError.exit_code))


def find_users_classes() -> None:
    """A user's own classes are found in the working directory and beside his own configuration."""
    for flag, value in zip(sys.argv, [*sys.argv[1:], ""], strict=True):
        if flag in ("--config-dir", "-cd"):
            sys.path.append(os.path.abspath(value))
        elif flag.startswith("--config-dir="):
            sys.path.append(os.path.abspath(flag.split("=", 1)[1]))
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())


def job_number() -> int:
    """Of this job in its sweep; 0 of a run alone."""
    return HydraConfig.get().job.num if HydraConfig.get().mode is RunMode.MULTIRUN else 0


def configuration(cfg: DictConfig) -> dict[str, Any]:
    """What a command was given, resolved. ConfigError where a choice is none or a value is missing."""
    typed = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)  # ${...} as it was typed
    assert isinstance(typed, list)
    check_typed(str(override) for override in typed)
    return resolve(cfg)


@contextlib.contextmanager
def through_hydra() -> Iterator[None]:
    """A failure in a sweep is raised, so that the other jobs go on; any other ending Hydra lets pass."""
    try:
        yield
    except ENDINGS as error:
        in_a_sweep, ends_it = HydraConfig.get().mode is RunMode.MULTIRUN, isinstance(error, Stopped | SweepError)
        if in_a_sweep and not ends_it:
            log.error("failed: %s: %s", " ".join(HydraConfig.get().overrides.task), error)
        if in_a_sweep and (is_elsewhere() or not ends_it):
            raise
        raise SystemExit(error.exit_code) from error  # passes through Hydra without a message of its own; ends a sweep
    except Exception:  # of whatever kind: a traceback does not travel between processes
        if is_elsewhere():
            log.error("failed: %s\n%s", " ".join(HydraConfig.get().overrides.task), traceback.format_exc())
        raise
