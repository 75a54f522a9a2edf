"""Hydra's messages of several lines as one sentence."""

import re
from collections.abc import Callable, Iterable

from hydra.errors import OverrideParseException

from gan_runner.cli.places import choices_of
from gan_runner.errors import nearest


def no_settings() -> list[str]:
    return []


def one_sentence(error: BaseException, settings: Callable[[], Iterable[str]] = no_settings) -> str:
    """settings: lists those that there are, for a suggestion where an unknown one was typed."""
    text = str(error).split("Config search path:")[0]
    if text == "Record does not exist.":  # Optuna's
        return "no trial was completed, so that none is the best."
    unknown = re.match(r"Could not override '([\w.]+)'", text)
    if unknown:
        return f"{unknown[1]} is no setting{nearest(unknown[1], settings())}; --cfg job shows all there are."
    absent = re.search(r"Could not load '(\w+)/([^']+)'", text)  # of several choices; of one, Hydra lists what there is
    if absent:
        known = choices_of(absent[1])
        return f"{absent[1]}={absent[2]} is none of {', '.join(known)}{nearest(absent[2], known)}."
    lines = [line.strip() for line in text.splitlines() if set(line) - set(" ^")]
    kept = " ".join(line for line in lines if line and not line.startswith(("full_key:", "object_type=", "See ")))
    if isinstance(error, OverrideParseException):
        kept += """; a value with blanks, commas, brackets or ~ wants quotes within quotes: 'key="value"'."""
    return kept
