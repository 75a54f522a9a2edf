"""Start and end of every command: the user's own classes, one-sentence error messages, and exit codes."""

import contextlib
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

import gan_runner.cli.help  # noqa: F401 (registers the resolver that conf/config.yaml uses)
from gan_runner.cli.compose import explained, use_loader
from gan_runner.cli.plain import find_users_classes, reader_left, shows_traceback
from gan_runner.cli.sweep import is_elsewhere, of_a_launcher
from gan_runner.distributed.joining import standing
from gan_runner.distributed.ranks import started
from gan_runner.errors import ConfigError, Diverged, EndedElsewhere, NotWritten, RankLost, Stopped, SweepError
from gan_runner.records.console import keep_files_off_closed_streams, show_error

ENDINGS = (ConfigError, Diverged, NotWritten, Stopped, EndedElsewhere, RankLost)

log = logging.getLogger("gan_runner")


def enter(job: Callable[[], None]) -> None:
    """Calls the Hydra function of a command, and turns its exceptions into one sentence and an exit code."""
    keep_files_off_closed_streams()
    find_users_classes()
    with_traceback = shows_traceback()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing and exiting
    use_loader()
    try:
        job()
    except SystemExit as ending:
        if not isinstance(ending.__cause__, ENDINGS):
            raise
        end(ending.__cause__, with_traceback)
    except KeyboardInterrupt:
        if with_traceback:
            raise
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        raise reader_left() from None
    except Exception as error:
        if of_a_launcher(error) or (not isinstance(error, ENDINGS) and raised_in(job, error)):
            raise
        end(error, with_traceback)


def enter_alone(job: Callable[[], None]) -> None:
    """Like `enter`, for a command that shows one configuration in one process: refuses torchrun and sweeps."""
    if started() > 1:
        end(ConfigError("torchrun is for python -m gan_runner; start this command without it."), with_traceback=False)
    if {"-m", "--multirun"} & set(sys.argv):
        end(ConfigError("-m is for sweeps, and this shows one configuration; leave it away."), with_traceback=False)
    enter(job)


def raised_in(job: Callable[[], None], error: Exception) -> bool:
    """Whether `job` raised the error. Otherwise Hydra raised it because of the typed arguments.

    Hydra raises its own errors, OmegaConf's, YAML's and plain ValueErrors, so the type does not show the origin.
    """
    return any(frame.name == job.__name__ for frame in traceback.extract_tb(error.__traceback__)[1:])


def end(error: BaseException, with_traceback: bool) -> None:
    """Prints the error as one sentence and exits with its code. with_traceback: raises the error instead."""
    if with_traceback:
        raise error
    sentence = str(error if isinstance(error, ENDINGS) else explained(error, sys.argv[1:]))
    if sentence and standing().is_first_to_report(sentence):
        show_error(sentence)
    sys.exit(getattr(error, "exit_code", ConfigError.exit_code))


def job_number() -> int:
    """Returns the number of this job in its sweep; 0 for a single run."""
    return HydraConfig.get().job.num if HydraConfig.get().mode is RunMode.MULTIRUN else 0


@contextlib.contextmanager
def through_hydra() -> Iterator[None]:
    """Passes exceptions through Hydra.

    A failure of one job of a sweep is raised as it is, so that the other jobs go on. Any other ending becomes a
    SystemExit, which Hydra does not catch.
    """
    try:
        yield
    except ENDINGS as error:
        in_a_sweep, ends_it = HydraConfig.get().mode is RunMode.MULTIRUN, isinstance(error, Stopped | SweepError)
        if in_a_sweep and not ends_it:
            log.error("failed: %s: %s", " ".join(HydraConfig.get().overrides.task), error)
        if in_a_sweep and (is_elsewhere() or not ends_it):
            raise
        raise SystemExit(error.exit_code) from error  # Hydra adds no message; a SystemExit also ends a sweep
    except BrokenPipeError:
        raise reader_left() from None
    except Exception:  # any error: its traceback is lost between processes, so it is logged here
        if is_elsewhere():
            log.error("failed: %s\n%s", " ".join(HydraConfig.get().overrides.task), traceback.format_exc())
        raise
