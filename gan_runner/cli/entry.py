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
from gan_runner.cli.sweep import is_elsewhere, of_a_launcher
from gan_runner.distributed.joining import standing
from gan_runner.distributed.ranks import started
from gan_runner.errors import ConfigError, Diverged, EndedElsewhere, NotWritten, RankLost, Stopped, SweepError
from gan_runner.records.console import keep_files_off_closed_streams, show_error, silence

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


def enter_plain(job: Callable[[], object], interrupted: str, show: Callable[[str], str] = str) -> None:
    """Calls the function of a command that parses its own arguments; it ends with one sentence and an exit code.

    interrupted: what the command reports on Ctrl-C. show: prepares the text of an error for a terminal.
    """
    keep_files_off_closed_streams()
    with_traceback = shows_traceback()
    try:
        refuse_torchrun()
        job()
    except (ConfigError, NotWritten) as error:
        if with_traceback:
            raise
        show_error(show(str(error)))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        if with_traceback:
            raise
        show_error(interrupted)
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        raise reader_left() from None


def refuse_torchrun() -> None:
    """ConfigError if torchrun started the process, for the commands that take run folders."""
    if started() > 1:
        raise ConfigError("torchrun is for python -m gan_runner; start this command without it.")


def shows_traceback() -> bool:
    return os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0")


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


def reader_left() -> SystemExit:
    """Returns the end of a command whose reader has ended, as `head` does: no message, the exit code of a shell."""
    silence()
    return SystemExit(128 + signal.SIGPIPE)


def find_users_classes() -> None:
    """Adds the working directory and the folder of --config-dir to sys.path, for the user's own classes."""
    for flag, value in zip(sys.argv, [*sys.argv[1:], ""], strict=True):
        if flag in ("--config-dir", "-cd"):
            sys.path.append(os.path.abspath(value))
        elif flag.startswith("--config-dir="):
            sys.path.append(os.path.abspath(flag.split("=", 1)[1]))
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())


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
