"""Start and end of the commands that parse their own arguments; imports no library, so that they start at once."""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from gan_runner.distributed.ranks import started
from gan_runner.errors import ConfigError, NotWritten
from gan_runner.records.console import keep_files_off_closed_streams, show_error, silence


def path(text: str) -> Path:
    """The type of options that are paths: an empty text, as of a shell variable that is not set, is refused."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty; name a file or a folder")
    return Path(text)


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


def find_users_classes() -> None:
    """Adds the working directory and the folder of --config-dir to sys.path, for the user's own classes."""
    for flag, value in zip(sys.argv, [*sys.argv[1:], ""], strict=True):
        if flag in ("--config-dir", "-cd"):
            sys.path.append(os.path.abspath(value))
        elif flag.startswith("--config-dir="):
            sys.path.append(os.path.abspath(flag.split("=", 1)[1]))
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())


def shows_traceback() -> bool:
    return os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0")


def reader_left() -> SystemExit:
    """Returns the end of a command whose reader has ended, as `head` does: no message, the exit code of a shell."""
    silence()
    return SystemExit(128 + signal.SIGPIPE)
