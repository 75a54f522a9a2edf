"""What can end a run, and the exit code of each. Anything else is our bug: a traceback and exit code 1."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


class ConfigError(Exception):
    """The user's mistakes: one sentence each, naming the setting and the fix."""

    exit_code = 2

    def __init__(self, *sentences: str):
        super().__init__("\n".join(sentences))
        self.sentences = sentences


class SweepError(ConfigError):
    """A mistake of the sweep, which every other of its jobs would repeat: it ends with this one."""


class Diverged(Exception):
    """A loss, score, gradient or weight is no longer finite."""

    exit_code = 3


class NotWritten(Exception):
    """The disk is full, the folder is gone or may not be written. Nothing that was saved before is lost."""

    exit_code = 2

    def __init__(self, folder: object, error: OSError):
        reason = f"{folder} cannot be written: {error.strerror or error}"
        way_out = "make room, or allow it, and the same command goes on from the last checkpoint"
        if isinstance(error, FileNotFoundError):
            reason, way_out = f"{folder} is gone, or a part of it", "put it back, or the same command begins anew"
        super().__init__(folder, error)  # its arguments, so that it can be sent from process to process
        self.sentence = f"{reason}; {way_out}."

    def __str__(self) -> str:
        return self.sentence


class Stopped(Exception):
    """A signal asked the run to stop; it did, after a checkpoint."""

    def __init__(self, signum: int, sentence: str):
        super().__init__(signum, sentence)
        self.exit_code = 128 + signum

    def __str__(self) -> str:
        return str(self.args[1])


class EndedElsewhere(Exception):
    """Another rank found out why the run cannot go on, and says so."""

    def __init__(self, exit_code: int):
        super().__init__()
        self.exit_code = exit_code


class RankLost(Exception):
    """A rank does not answer any more."""

    exit_code = 1

    def __init__(self) -> None:
        super().__init__(
            "another rank has ended: its message is above, unless it was killed; the same command goes on from the "
            "last checkpoint."
        )


def nearest(word: str, known: Iterable[str]) -> str:
    """' (did you mean ...?)' when a known word is close, else ''."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def choose(name: str, value: str, table: Mapping[str, T]) -> T:
    """table[value], or a ValueError that lists what there is."""
    if value not in table:
        raise ValueError(f"{name}={value!r} is none of {', '.join(table)}{nearest(str(value), table)}")
    return table[value]


def require(condition: bool, sentence: str) -> None:
    """ValueError(sentence) unless the condition holds; the sentence begins with `setting=value`."""
    if not condition:
        raise ValueError(sentence)
