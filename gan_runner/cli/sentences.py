"""Conversion of Hydra's messages of several lines into one sentence."""

import re
from collections.abc import Callable, Iterable
from typing import Any

import yaml
from hydra.errors import OverrideParseException

from gan_runner.cli.places import CONF, choices_of
from gan_runner.errors import nearest
from gan_runner.records.groups import CHOICES, TOP_LEVEL

PLUGINS = {  # choice of hydra/launcher or hydra/sweeper -> package that provides it
    "joblib": "hydra-joblib-launcher",
    "submitit_local": "hydra-submitit-launcher",
    "submitit_slurm": "hydra-submitit-launcher",
    "ray": "hydra-ray-launcher",
    "optuna": "hydra-optuna-sweeper",
}
OPEN = ("loss.penalties", "metric")  # nodes to which the user may add entries


def no_settings() -> list[str]:
    return []


def one_sentence(error: BaseException, settings: Callable[[], Iterable[str]] = no_settings) -> str:
    """Returns the message of an error as one sentence. settings: lists all settings, for a suggestion of a name."""
    text = str(error).split("Config search path:")[0]
    if text == "Record does not exist.":  # a message of Optuna
        return "no trial was completed, so that none is the best."
    unknown = re.match(r"Could not override '([\w.]+)'", text)
    if unknown:
        inner = re.search(r"full_key: ([\w.]+)", str(error.__cause__))  # the key within an overriding dictionary
        return unknown_setting(inner[1] if inner else unknown[1], list(settings()))
    merged = re.match(r"Error merging override ([\w.]+)=", text)
    if merged:  # a list or a value in the place of a node
        return f"{merged[1]} has settings of its own; set one of them, as {merged[1]}.NAME=VALUE."
    plugin = re.search(r"Could not (?:find|load) '(hydra/(?:launcher|sweeper))/([^']+)'", text)
    if plugin and plugin[2] in PLUGINS:
        package = PLUGINS[plugin[2]]
        return f"{plugin[1]}={plugin[2]} is not installed; make install brings it, or pip install {package}."
    several = re.match(r"Ambiguous value for argument '(\w+=[^']*)'", text)
    if several:
        return (
            f"{several[1]} is several values, each of which is a run of a sweep: python -m gan_runner -m {several[1]}"
        )
    absent = re.search(r"Could not load '(\w+)/([^']+)'", text)  # for one choice Hydra itself lists the known ones
    if absent:
        known = choices_of(absent[1])
        return f"{absent[1]}={absent[2]} is none of {', '.join(known)}{nearest(absent[2], known)}."
    lines = [line.strip() for line in text.splitlines() if set(line) - set(" ^")]
    kept = " ".join(line for line in lines if line and not line.startswith(("full_key:", "object_type=", "See ")))
    if isinstance(error, OverrideParseException):
        kept = kept.removeprefix("LexerNoViableAltException: ")
        kept += """; a value with blanks, commas, brackets, ~ or letters beyond a to z needs quotes within quotes: """
        kept += """'key="value"'."""
    return kept


def unknown_setting(key: str, settings: list[str]) -> str:
    """Returns a sentence on an unknown setting with a hint: the name elsewhere, another choice, or the spelling."""
    *parents, last = key.split(".")
    parent, group = ".".join(parents), (parents or [""])[0]
    if parent in OPEN:
        return f"{key} is not there yet; to add it, begin with a plus: +{key}._target_=module.Class, and its settings."
    having = [choice for choice in choices_of(group) if has_key(group, choice, parents[1:], last)] if parents else []
    if having:
        some = ", ".join(having[:6]) + (" and others" if len(having) > 6 else "")
        return f"{key} is a setting of {group}={some}, which was not chosen."
    siblings = [name.removeprefix(f"{parent}.") for name in settings if not parents or name.startswith(f"{parent}.")]
    plain = [name for name in siblings if "_target_" not in name]
    if not parents:
        elsewhere = sorted((n for n in settings if n.endswith(f".{last}")), key=lambda name: (name.count("."), name))
        hint = f" (did you mean {elsewhere[0]!r}?)" if elsewhere else nearest(last, [*TOP_LEVEL, *CHOICES])
    else:
        close = nearest(last, plain)
        hint = close.replace("'", f"'{parent}.", 1) if close else ""
    return f"{key} is no setting{hint}; --cfg job shows all there are."


def has_key(group: str, choice: str, parents: list[str], last: str) -> bool:
    node: Any = yaml.safe_load((CONF / group / f"{choice}.yaml").read_text(encoding="utf-8"))
    for part in parents:
        node = node.get(part) if isinstance(node, dict) else None
    return isinstance(node, dict) and last in node
