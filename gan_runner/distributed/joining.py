"""Joining of the ranks that torchrun started; a single process does not import torch here."""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator

from gan_runner.distributed.ranks import ALONE, Ranks, started
from gan_runner.errors import ConfigError


def standing() -> Ranks:
    """Returns the ranks that this process has joined; ALONE if it has joined none."""
    if started() == 1 or "gan_runner.distributed.torchrun" not in sys.modules:
        return ALONE
    from gan_runner.distributed.torchrun import Torchrun, has_joined

    return Torchrun() if has_joined() else ALONE


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Joins the ranks that torchrun started, if any. All ranks but the first are silent; all leave together."""
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
        if ending.code != 1:  # with code 1 the other ranks may still compute, and would not arrive
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
