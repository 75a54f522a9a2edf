"""Reads the settings and choices of every group from conf/ and from docstrings, for the pages of docs/reference.py.

The meaning of a setting stands in one place: `name: meaning` in the docstring of its class, of a base class or of the
package (gan_runner/model/__init__.py for what networks share), or the comment of a dataclass field; for a setting
without a class, the comment in the YAML file. Settings of torch's optimizers have the meaning in torch's docstring.
"""

import functools
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from hydra.utils import get_object
from omegaconf import OmegaConf

from gan_runner.assembly.make import signature, spell
from gan_runner.cli.places import CONF, choices_of
from gan_runner.records.groups import SETTINGS
from gan_runner.records.identity import flatten, show

HIDDEN = ("hydra", "published")  # folders of conf/ that are no groups of settings
RUNTIME = {"spec", "latent", "device", "batch_size", "params"}  # given to constructors that require them
GROUP_ONLY = ("experiment",)  # groups whose choices have no settings of their own


@dataclass(frozen=True)
class Setting:
    """A setting of one choice of a group. in_yaml: False if only its constructor has it, so that it needs a plus."""

    key: str
    type: str
    default: str
    meaning: str
    in_yaml: bool = True

    def typed(self, value: Any) -> "Setting":
        """Returns the same setting with its value in a YAML file."""
        return Setting(self.key, self.type, spelled(value, self.key.rpartition(".")[0]), self.meaning)


def groups() -> list[str]:
    """Returns the groups of conf/, in alphabetical order."""
    folders = (path.name for path in CONF.iterdir() if path.is_dir() and choices_of(path.name))
    return sorted(name for name in folders if name not in HIDDEN)


@functools.cache
def shared() -> list[Setting]:
    """Returns the settings of conf/config.yaml, whatever is chosen for the groups."""
    notes = comments(CONF / "config.yaml")
    node = OmegaConf.to_container(OmegaConf.load(CONF / "config.yaml"), resolve=False)
    assert isinstance(node, dict)
    found = {key: value for key, value in flatten(node).items() if key.split(".")[0] not in ("defaults", "hydra")}
    of_train = of_class(get_object(SETTINGS), "train")
    return [of_train[key].typed(value) if key in of_train else plain(key, value, notes) for key, value in found.items()]


def settings_of(group: str, choice: str) -> list[Setting]:
    """Returns the settings of a choice of a group, those of conf/config.yaml aside."""
    if group in GROUP_ONLY:
        return []
    found = walk(node_of(group, choice), group, notes_of(group, choice))
    return sorted(found, key=lambda each: not each.in_yaml)


def node_of(group: str, choice: str) -> dict[str, Any]:
    """Returns the node of a choice with the files that it builds on: as Hydra composes it, much faster."""
    nodes = [OmegaConf.load(path) for path in files_of(group, choice)]
    node = OmegaConf.to_container(OmegaConf.merge(*nodes), resolve=False)
    assert isinstance(node, dict)
    return {str(key): value for key, value in node.items() if key != "defaults"}


def files_of(group: str, choice: str) -> list[Path]:
    """Returns the file of a choice, after the files that its defaults list names."""
    path = CONF / group / f"{choice}.yaml"
    bases = re.findall(r"^  - ([\w/]+)(?:@_here_)?$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return [file for base in bases if base != "_self_" for file in files_of(group, base)] + [path]


def walk(node: Any, path: str, notes: Mapping[str, str]) -> Iterator[Setting]:
    """Yields the settings at or below a node, and those that its constructor has besides."""
    known = of_class(get_object(node["_target_"]), path) if "_target_" in node else {}
    for name, value in node.items():
        key = f"{path}.{name}"
        if isinstance(value, dict) and value:
            yield from walk(value, key, notes)
        elif key in known:
            yield known[key].typed(value)
        elif name != "_target_":
            yield plain(key, value, notes) if known or not below(node, name) else passed_on(node, key, value)
    if not node.get("_target_", "").startswith("torch."):  # torch's further settings are documented by torch
        yield from (each for key, each in known.items() if key.removeprefix(f"{path}.") not in node)


def below(node: Mapping[str, Any], name: str) -> list[Any]:
    """Returns the classes below a node with a setting that takes the value of `name` of the node, as ${..name}."""
    parts = [value for value in node.values() if isinstance(value, dict) and "_target_" in value]
    return [get_object(part["_target_"]) for part in parts if part.get(name) == f"${{..{name}}}"]


def passed_on(node: Mapping[str, Any], key: str, value: Any) -> Setting:
    """Returns the setting that the parts of a node refer to, such as optimizer.lr, with their type and meaning."""
    path, _, name = key.rpartition(".")
    part = of_class(below(node, name)[0], path)[key]
    return Setting(key, part.type, spelled(value, path), f"of both players: {part.meaning}")


def plain(key: str, value: Any, notes: Mapping[str, str]) -> Setting:
    """Returns a setting that no class has; its meaning is the comment in the YAML file."""
    word = "int" if key.rpartition(".")[2].startswith("n_") else "text"  # n_real and the like are numbers of something
    kind = {type(None): f"{word} or null", str: "text"}.get(type(value), type(value).__name__)
    return Setting(key, kind, spelled(value, key.rpartition(".")[0]), notes.get(key, ""))


@functools.cache
def of_class(target: type, path: str) -> dict[str, Setting]:
    """Returns the settings of a constructor by key; of torch's classes, all that have a meaning there."""
    parameters, hints = signature(target)
    found = {}
    for name, parameter in parameters.items():
        required = parameter.default is parameter.empty
        if (
            (required and name in RUNTIME)
            or name == "ranks"
            or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        ):
            continue
        default = "required" if required else default_of(target, name, parameter.default)
        meaning = meaning_of(target, name)
        found[f"{path}.{name}"] = Setting(f"{path}.{name}", kind_of(hints.get(name)), default, meaning, in_yaml=False)
    return found


def default_of(target: type, name: str, default: Any) -> str:
    """Returns a constructor's default, that of a dataclass field included."""
    if is_dataclass(target):
        by_name = {field.name: field for field in fields(target)}
        default = {} if callable(by_name[name].default_factory) else default
    return spelled(list(default) if isinstance(default, tuple) else default, "")


def kind_of(hint: Any) -> str:
    """Returns an annotation in the words of YAML: `float | None` is `float or null`."""
    if hint is None:
        return "any"
    text = re.sub(r"\b(?:[a-z_]+\.)+([A-Z])", r"\1", spell(hint)).replace(" | Tensor", "")
    if text.startswith(("dict[", "Mapping[")):
        return "mapping"
    text = re.sub(r"\b(?:Sequence|list|tuple)\[([^\[\]]*?)(?:, \.\.\.)?\]", r"list of \1", text)
    text = re.sub(r"\b(?:Sequence|list)\[(.*)\]", r"list of \1", text)
    words = {"str": "text", "None": "null", "NoneType": "null", "Schedule": "schedule", "Tensor": "tensor"}
    text = re.sub(r"\b\w+\b", lambda word: words.get(word[0], word[0]), text.replace("Optional[", "").rstrip("]"))
    return text.replace(" | ", " or ")


def spelled(value: Any, path: str) -> str:
    """Returns a value as typed; an interpolation in words."""
    text = show(value)
    text = re.sub(r'\$\{oc\.env:(\w+),"?([^}"]*)"?\}', r"\2, or the environment variable \1", text)
    text = re.sub(r"\$\{oc\.select:([\w.]+),([^}]*)\}", r"\1, else \2", text)
    return re.sub(r"\$\{(\.+)([\w.]+)\}", lambda found: absolute(found[1], found[2], path), text)


def absolute(dots: str, name: str, path: str) -> str:
    """Returns the key that ${..name} in a node at `path` refers to."""
    parts = path.split(".")
    return ".".join([*parts[: len(parts) - len(dots) + 1], name])


# ---- meanings


@functools.cache
def meaning_of(target: type, name: str) -> str:
    """Returns the meaning of a setting of a class; an empty string if none is written."""
    if target.__module__.startswith("torch."):
        return of_torch(target, name)
    for owner in target.__mro__[:-1]:
        own = inspect.cleandoc(owner.__doc__ or ""), inspect.getdoc(owner.__dict__.get("__init__")) or ""
        named = set(signature(owner)[0]) if "__init__" in owner.__dict__ else {name}
        for text in (field_comments(owner).get(name, ""), *(entries(part, named).get(name, "") for part in own)):
            if text:
                return text
    package = sys.modules[target.__module__.rpartition(".")[0] or target.__module__]
    shared_names = set(re.findall(r"^([a-z_, ]+):", package.__doc__ or "", re.MULTILINE))
    names = {each.strip() for several in shared_names for each in several.split(",")}
    return entries(package.__doc__ or "", names).get(name, "")


def entries(docstring: str, names: set[str]) -> dict[str, str]:
    """Returns `name: meaning` of a docstring; `a, b: meaning` is for both. An entry ends with its paragraph."""
    word = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    start = re.compile(rf"(?:\A|(?<=[.;][ \n]))((?:{word})(?:(?:, | and )(?:{word}))*): ")
    found = {}
    for paragraph in re.split(r"\n\s*\n", docstring):
        parts = start.split(paragraph)
        for several, text in zip(parts[1::2], parts[2::2], strict=True):
            for name in re.split(r", | and ", several):
                found[name] = in_words_of_yaml(text)
    return found


def in_words_of_yaml(text: str) -> str:
    text = " ".join(text.split()).rstrip(".;")
    for python, yaml in (("None", "null"), ("True", "true"), ("False", "false")):
        text = re.sub(rf"\b{python}\b", yaml, text)
    return text


def field_comments(owner: type) -> dict[str, str]:
    """Returns the comments behind the fields of a dataclass."""
    if not is_dataclass(owner):
        return {}
    found = re.findall(r"^    (\w+): [^#\n]*#\s*(.*)$", inspect.getsource(owner), re.MULTILINE)
    return {name: in_words_of_yaml(text) for name, text in found}


def of_torch(target: type, name: str) -> str:
    """Returns the first sentence on a parameter in torch's docstring, without its default."""
    docstring = inspect.getdoc(target) or ""
    found = re.search(rf"^\s+{name} \(.*?\):(?!\S)(.*?)(?=^\s+\w+ \(|\n\n)", docstring, re.M | re.S)
    if found is None:
        return ""
    text = re.split(r"\(default|\. |\.$|, see\b", " ".join(found[1].split()))[0]
    return in_words_of_yaml(re.sub(r":\w+:`~?(?:\w+\.)*(\w+)`", r"`\1`", text)).strip()


# ---- comments of YAML files


@functools.cache
def comments(path: Path) -> dict[str, str]:
    """Returns the comment behind each key of a YAML file, by dotted key."""
    found: dict[str, str] = {}
    parents: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        match = re.match(r"^( *)([\w]+):(?:[^#]*?)(?:\s#\s*(.*))?$", line)
        if match:
            depth = len(match[1]) // 2
            parents = [*parents[:depth], match[2]]
            if match[3]:
                found[".".join(parents)] = match[3]
    return found


def notes_of(group: str, choice: str) -> dict[str, str]:
    """Returns the comments of a choice's file and of the files that it builds on, by key."""
    return {f"{group}.{key}": text for path in files_of(group, choice) for key, text in comments(path).items()}


def header(group: str, choice: str) -> str:
    """Returns the comment at the top of a choice's file, in one line."""
    lines = (CONF / group / f"{choice}.yaml").read_text(encoding="utf-8").splitlines()
    top = []
    for line in lines:
        if not line.startswith("#"):
            break
        top.append(line.lstrip("# "))
    return " ".join(line for line in top if not line.startswith("@package"))
