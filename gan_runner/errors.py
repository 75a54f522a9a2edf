"""The exceptions that end a run, with their exit codes. Any other one is a bug: a traceback and exit code 1."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


class ConfigError(Exception):
    """Mistakes of the user: one sentence for each, which names the setting and the fix."""

    exit_code = 2

    def __init__(self, *sentences: str):
        super().__init__("\n".join(sentences))
        self.sentences = sentences


class SweepError(ConfigError):
    """A mistake that every job of the sweep would repeat, so the first job that raises it ends the sweep."""


class NotExported(ConfigError):
    """A network cannot be exported, or the file that was written gives other outputs. The file is removed."""

    exit_code = 4


class Diverged(Exception):
    """A loss, score, gradient or weight is no longer finite."""

    exit_code = 3


class NotWritten(Exception):
    """The disk is full, or the folder is gone or read-only. Files that were saved before are not lost."""

    exit_code = 2

    def __init__(self, folder: object, error: OSError, then: str = "goes on from the last checkpoint"):
        """then: what the same command does next time."""
        reason = f"{folder} cannot be written: {error.strerror or error}"
        way_out = f"make room, or allow it, and the same command {then}"
        if isinstance(error, FileNotFoundError):
            reason, way_out = f"{folder} is gone, or a part of it", "put it back, or the same command begins anew"
        super().__init__(folder, error, then)  # the constructor's arguments, so that another process can unpickle it
        self.sentence = f"{reason}; {way_out}."

    def __str__(self) -> str:
        return self.sentence


class Stopped(Exception):
    """A signal stopped the run, after a checkpoint."""

    def __init__(self, signum: int, sentence: str):
        super().__init__(signum, sentence)
        self.exit_code = 128 + signum

    def __str__(self) -> str:
        return str(self.args[1])


class EndedElsewhere(Exception):
    """Another rank failed and reports the reason; this rank ends without a message."""

    def __init__(self, exit_code: int):
        super().__init__()
        self.exit_code = exit_code


class RankLost(Exception):
    """Another rank no longer responds."""

    exit_code = 1

    def __init__(self) -> None:
        super().__init__(
            "another rank has ended: its message is above, unless it was killed; the same command goes on from the "
            "last checkpoint."
        )


def nearest(word: str, known: Iterable[str]) -> str:
    """Returns ' (did you mean ...?)' if a known name is similar, else ''."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def choose(name: str, value: str, table: Mapping[str, T]) -> T:
    """Returns table[value]. ValueError with the list of keys if `value` is none of them."""
    if value not in table:
        raise ValueError(f"{name}={value!r} is none of {', '.join(table)}{nearest(str(value), table)}")
    return table[value]


def require(condition: bool, sentence: str) -> None:
    """ValueError(sentence) unless the condition holds; the sentence begins with `setting=value`."""
    if not condition:
        raise ValueError(sentence)
