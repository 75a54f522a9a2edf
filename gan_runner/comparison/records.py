"""Reading of run folders from untrusted sources: nothing is executed, and files may be damaged or missing."""

import os
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from glob import glob
from itertools import islice
from pathlib import Path
from typing import Any

from gan_runner.errors import ConfigError
from gan_runner.records.averages import half_lives
from gan_runner.records.folder import RunFolder
from gan_runner.records.identity import config_hash, flatten, identity, show
from gan_runner.records.scores import Scores, mapping

OWN = ("README.md", "compare.md", "compare.csv", "compare.html", "mlflow.db")  # matched by `outputs/*` beside runs
FIRST_EVENTS = 20  # records at the start of an event file that may hold the hyperparameters
LARGEST = 1e100  # larger values are ignored, since sums of their squares may not be finite
DEPTH = 3  # levels of folders, below a folder that is no run, in which runs are searched

Warn = Callable[[str], None]  # takes a sentence on what is missing or left out


@dataclass(frozen=True, eq=False)
class Record:
    """One run."""

    folder: RunFolder
    status: str
    config: dict[str, Any]
    summary: dict[str, Any]
    hparams: dict[str, Any]  # choices of groups, and typed settings; empty if not recorded

    @property
    def path(self) -> Path:
        return self.folder.path

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The settings that change the result, flat."""
        return identity(self.config)

    @cached_property
    def shown(self) -> dict[str, str]:
        """The settings that change the result, except the seed, as text."""
        return {key: show(value) for key, value in self.settings.items() if key != "seed"}

    @cached_property
    def flat(self) -> dict[str, Any]:
        return flatten(self.config)

    @cached_property
    def hash(self) -> str:
        return config_hash(self.config)

    @property
    def seed(self) -> Any:
        return self.flat.get("seed")

    @property
    def old(self) -> bool:
        """Whether the run was made before metrics had a protocol."""
        return "metrics" not in self.summary and any(tag.startswith("metric/") for tag in mapping(self.last))

    @property
    def last(self) -> dict[str, Any]:
        return mapping(self.summary.get("last"))

    @cached_property
    def scores(self) -> Scores:
        return Scores(self.summary.get("metrics"))

    def number(self, key: str) -> float | None:
        return number(self.summary.get(key))

    def environment(self, key: str) -> str:
        return show(mapping(self.summary.get("environment")).get(key, ""))

    @property
    def half_lives(self) -> list[str]:
        """The half-lives of the run's averages, in images; [] for a schedule."""
        return half_lives(self.flat.get("train.ema_half_life_images"))

    def verdicts(self) -> list[dict[str, Any]]:
        found = self.summary.get("verdicts")
        return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []

    def setting(self, key: str) -> str | None:
        """Returns the value of a key of `--by` or `--where`: a choice of a group, a setting, a node or the status."""
        if key == "status":
            return self.status
        if key in self.hparams and key not in self.flat:
            return show(self.hparams[key])
        if key in self.flat:
            return show(self.flat[key])
        node: Any = self.config
        for part in key.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        return None if node is None else show(node)

    def samples(self) -> dict[int, Path]:
        """Returns step -> sample grid; all grids of a run have the same noise."""
        found = (path for path in (self.path / "samples").glob("step-*.png") if not path.is_symlink())
        paths = {path.stem.removeprefix("step-"): path for path in found}
        return {int(step): paths[step] for step in sorted(paths) if step.isdecimal()}


def number(found: Any) -> float | None:
    """Returns a value as a float if it is a finite number below LARGEST, else None."""
    return float(found) if type(found) in (int, float) and -LARGEST < found < LARGEST else None


# ---- folders


def run_folders(arguments: Iterable[str], warn: Warn) -> list[Path]:
    """Returns the run folders that the arguments name or contain, each once."""
    found: dict[Path, Path] = {}
    for argument in arguments:
        matching = [] if Path(argument).exists() else sorted(glob(argument))
        for path in map(Path, matching or [argument]):
            if path.is_dir():
                runs = list(below(path, DEPTH, warn))
                if not runs:
                    warn(f"{path} is no run folder and holds none; it is left out.")
                found |= {run.resolve(): run for run in runs if run.resolve() not in found}
            elif path.name not in OWN:
                warn(f"{path} is {'a file' if path.exists() else 'not there'}; name run folders such as outputs/*.")
    return list(found.values())


def below(path: Path, depth: int, warn: Warn) -> Iterator[Path]:
    try:
        names = {each.name for each in path.iterdir() if not each.name.startswith(".")}
    except OSError as error:
        return warn(f"{path} cannot be read ({error.strerror}); it is left out.")
    if names & {"config.yaml", "summary.json", "checkpoints", "metrics.jsonl"}:
        yield path
    elif depth:
        for name in sorted(name for name in names if (path / name).is_dir()):
            yield from below(path / name, depth - 1, warn)


def read(path: Path, warn: Warn) -> Record | None:
    """Returns the record of a run folder; None, with a warning, if it has no readable configuration."""
    folder = RunFolder(path)
    try:
        folder.check_inside()
        config = folder.read_config()
        summary, status = folder.read_summary(), folder.status()
    except (ConfigError, OSError, RecursionError) as error:
        warn(f"{path} is left out: {error}")
        return None
    if config is None:
        warn(f"{path} is left out: it has no config.yaml.")
        return None
    if not summary:
        warn(f"{path}: summary.json is missing or damaged; only its settings, curves and pictures are shown.")
    record = Record(folder, show(status or "unknown"), config, summary, hyperparameters(path, warn))
    if record.old:
        warn(f"{path} is of an older format: its metrics have no protocol, so that it is not ranked.")
    return record


def hyperparameters(path: Path, warn: Warn) -> dict[str, Any]:
    """Returns the hyperparameters that the run recorded for TensorBoard, from its first event file."""
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    for file in sorted(path.glob("events.out.tfevents.*"))[:1]:
        try:
            for content in islice(contents(file), FIRST_EVENTS):
                for value in Event.FromString(content).summary.value:
                    if value.tag == "_hparams_/session_start_info":
                        stored = HParamsPluginData.FromString(value.metadata.plugin_data.content)
                        hparams = stored.session_start_info.hparams
                        return {key: getattr(hparams[key], hparams[key].WhichOneof("kind")) for key in hparams}
        except (OSError, DecodeError, struct.error, TypeError) as error:
            warn(f"{file} is damaged ({error}); which groups were chosen is not known of this run.")
    return {}


def contents(file: Path) -> Iterator[bytes]:
    """Yields the content of each record of an event file: length (8 bytes), checksum (4), content, checksum (4)."""
    size = os.path.getsize(file)
    with open(file, "rb") as events:
        while header := events.read(12):
            (length,) = struct.unpack("<Q", header[:8])
            if events.tell() + length + 4 > size:
                raise struct.error(f"cut short at byte {events.tell()}")
            yield events.read(length)
            events.seek(4, os.SEEK_CUR)


def once(records: Iterable[Record], warn: Warn) -> list[Record]:
    """Returns one run for each configuration and seed: the one that is completed or has most steps."""
    furthest: dict[str, Record] = {}
    ordered = sorted(records, key=lambda each: (each.status != "completed", -(each.number("steps") or 0)))
    for record in ordered:
        kept = furthest.setdefault(record.hash, record)
        if kept is not record:
            warn(f"{record.path} is left out: it has the configuration and the seed of {kept.path}.")
    return sorted(furthest.values(), key=lambda each: str(each.path))
