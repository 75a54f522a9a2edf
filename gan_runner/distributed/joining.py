"""How a process comes to stand among ranks, without torch where it stands alone."""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator

from gan_runner.distributed.ranks import ALONE, Ranks, started
from gan_runner.errors import ConfigError


def standing() -> Ranks:
    """The ranks that this process has joined, else itself alone."""
    if started() == 1 or "gan_runner.distributed.torchrun" not in sys.modules:
        return ALONE
    from gan_runner.distributed.torchrun import Torchrun, has_joined

    return Torchrun() if has_joined() else ALONE


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Among the ranks that torchrun started, if it did. All but the first are silent; they leave together."""
    if started() == 1:
        yield
        return
    from gan_runner.distributed.torchrun import Torchrun, join, part

    try:
        join()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
    try:
        with contextlib.nullcontext() if Torchrun().first else silent():
            yield
    except SystemExit as ending:
        if ending.code != 1:  # else the others may be in the middle of something, and do not come
            part()
        raise
    except Exception as error:
        if Torchrun().is_first_to_report(repr(error)):
            raise
        sys.exit(1)
    part()


@contextlib.contextmanager
def silent() -> Iterator[None]:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
