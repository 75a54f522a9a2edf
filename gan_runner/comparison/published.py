"""Published numbers of recipes, the runs that should reproduce them, and the verdict on each number.

conf/published/RECIPE.yaml holds the published numbers and, for each, the interval that counts as reproduced. It is not
part of the configuration of a run. A record is a small JSON file with the measured values of the runs.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from gan_runner.errors import ConfigError, choose
from gan_runner.records.folder import RunFolder
from gan_runner.records.scores import REPORT, Scores

OVER_STEPS = ("last", "best", "highest")  # value at the end, value of best.pt, or highest value of all evaluations
COUNT = re.compile(r"count above (\S+)")
NOT_RUN, NOT_FINISHED, OTHER, STALE, OPEN = "not run", "not finished", "other settings", "stale", "open"
REPRODUCED, SHORT = "reproduced", "short"
ALLOWED = ("device.", "device=", "dataset.root=", "dataset.cache_dir=", "metric.cache_dir=")  # beside a recipe
H100_BF16 = 989e12  # operations per second of an H100 SXM with bf16 matrices, according to NVIDIA's data sheet
ASSUMED_SHARE = 0.15  # of that rate, for the estimate of a training's duration


class Interval(NamedTuple):
    """A closed interval; None: unbounded on that side."""

    low: float | None
    high: float | None

    def holds(self, value: float) -> bool:
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"at most {self.high:g}" if self.low is None else f"at least {self.low:g}"
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Claim:
    """One published number."""

    metric: str
    published: float
    accept: Interval
    reason: str  # why this interval
    certain: bool  # True: the number was checked in its source. Otherwise a miss counts as open, not as short
    spread: str = ""  # the published spread, and what it is the spread of
    split: str = REPORT  # the real images of the metric
    run: str = ""  # name of one of the recipe's runs
    over_steps: str = "last"
    after_step: int = 0  # highest: only evaluations after this step
    over_seeds: str = "mean"  # mean; each: every seed must be in the interval; count above X: number of seeds

    def __post_init__(self) -> None:
        choose("over_steps", self.over_steps, dict.fromkeys(OVER_STEPS))
        if not COUNT.fullmatch(self.over_seeds):
            choose("over_seeds", self.over_seeds, dict.fromkeys(("mean", "each", "count above X")))

    @property
    def what(self) -> str:
        """Returns the name of the number that is compared with the published one."""
        at = "" if self.over_steps == "last" else f"{self.over_steps} "
        if match := COUNT.fullmatch(self.over_seeds):
            return f"seeds with {at}{self.metric} above {match[1]}"
        return at + self.metric

    def numbers(self, values: Sequence[float]) -> list[float]:
        """Returns the numbers that must be in the interval, from the values of the seeds."""
        if match := COUNT.fullmatch(self.over_seeds):
            return [float(sum(value > float(match[1]) for value in values))]
        return list(values) if self.over_seeds == "each" else [math.fsum(values) / len(values)]

    def verdict(self, values: Sequence[float]) -> str:
        if all(self.accept.holds(number) for number in self.numbers(values)):
            return REPRODUCED
        return SHORT if self.certain else OPEN


@dataclass(frozen=True)
class Published:
    """The published numbers of one recipe."""

    recipe: str
    source: str
    protocol: str
    seeds: tuple[int, ...]
    runs: Mapping[str, Sequence[str]]  # name -> overrides
    claims: Sequence[Claim]
    cost_hours: float | None = None  # on one core, for all runs and seeds; None for trainings that need a GPU
    operations: float | None = None  # of the whole training on a GPU, as torch counts them
    tried: Sequence[str] = ()  # where a number was missed: what was tried to find the reason, and the result

    @property
    def cost(self) -> str:
        if self.operations is None:
            return f"About {self.cost_hours:g} hours of one core."
        hours = self.operations / (ASSUMED_SHARE * H100_BF16) / 3600
        return (
            f"Estimated {hours:.2g} hours of an H100: {self.operations:.2g} operations at an assumed "
            f"{ASSUMED_SHARE:.0%} of its rate of {H100_BF16 / 1e12:.0f} trillion a second in bf16."
        )

    def overrides(self, run: str, seed: int, settings: Sequence[str] = ()) -> list[str]:
        return [f"experiment={self.recipe}", *self.runs[run], *settings, f"seed={seed}"]


def published(folder: Path, recipe: str) -> Published:
    """Reads folder/RECIPE.yaml. ConfigError if the recipe has no published numbers."""
    path = folder / f"{recipe}.yaml"
    if not path.is_file():
        known = sorted(each.stem for each in folder.glob("*.yaml"))
        raise ConfigError(f"experiment={recipe} has no published numbers; choose one of {', '.join(known)}.")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    claims = [Claim(**{**each, "accept": Interval(*each["accept"])}) for each in content.pop("claims")]
    seeds = tuple(content.pop("seeds"))
    return Published(recipe=recipe, runs=content.pop("runs", {"": []}), claims=claims, seeds=seeds, **content)


# ---- records


def measured(folder: RunFolder, claims: Sequence[Claim]) -> dict[str, Any]:
    """Returns the entry of a run in a record."""
    summary, path = folder.read_summary(), folder.path / "metrics.jsonl"
    scores, lines = Scores(summary.get("metrics")), path.read_bytes() if path.is_file() else b""
    logged = [json.loads(line) for line in lines.splitlines()]
    environment = summary.get("environment", {})
    return {
        "config_hash": summary.get("config_hash"),
        "metrics_sha256": hashlib.sha256(lines).hexdigest(),
        "finished": summary.get("status") == "completed",
        **{key: summary.get(key) for key in ("steps", "images", "seconds")},
        "processor": environment.get("device"),
        **{key: environment.get(key) for key in ("python", "torch", "gan_runner", "git_commit")},
        "values": {claim.metric: of_metric(claim, scores, logged) for claim in claims},
        "protocol": {claim.metric: scores.protocol(claim.split, claim.metric) for claim in claims},
    }


def of_metric(claim: Claim, scores: Scores, logged: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    tags = (f"metric/{claim.metric}", f"metric/{claim.split}/{claim.metric}")
    later = [line for line in logged if line["step"] > claim.after_step]
    found = [line[tag] for line in later for tag in tags if isinstance(line.get(tag), int | float)]
    ends = {which: scores.value(which, claim.split, claim.metric) for which in ("last", "best")}
    return {**ends, "highest": max(found, default=None)}


class Judgement(NamedTuple):
    """One claim, the measured values, and the verdict."""

    claim: Claim
    values: list[float]  # one per seed
    verdict: str


def judged(stated: Published, record: Mapping[str, Any] | None, hashes: Mapping[str, str]) -> list[Judgement]:
    """Judges every claim. hashes: key of a run -> hash of its configuration as it is composed now."""
    return [judge(claim, number, stated, record, hashes) for number, claim in enumerate(stated.claims)]


def judge(
    claim: Claim, number: int, stated: Published, record: Mapping[str, Any] | None, hashes: Mapping[str, str]
) -> Judgement:
    if record is None:
        return Judgement(claim, [], NOT_RUN)
    keys = [key_of(claim.run, seed) for seed in record["seeds"]]
    runs = [record["runs"].get(key, {}) for key in keys]
    found = [each.get("values", {}).get(claim.metric, {}).get(claim.over_steps) for each in runs]
    values = [value for value in found if value is not None]
    if any(not each.get("finished") for each in runs) or len(values) < len(stated.seeds):
        return Judgement(claim, values, NOT_FINISHED)
    if not all(setting.startswith(ALLOWED) for setting in record["settings"]):
        return Judgement(claim, values, OTHER)
    if any(each["config_hash"] != hashes[key] for each, key in zip(runs, keys, strict=True)):
        return Judgement(claim, values, STALE)
    if list(claim.accept) != record["accept"][number]:
        return Judgement(claim, values, OPEN)  # the interval was changed after the results were known
    return Judgement(claim, values, claim.verdict(values))


def key_of(run: str, seed: int) -> str:
    return f"{run} {seed}".strip()
