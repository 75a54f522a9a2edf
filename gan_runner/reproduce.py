"""Reproduces the published numbers of a recipe: python -m gan_runner.reproduce experiment=NAME."""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gan_runner.cli.compose import compose
from gan_runner.cli.places import CONF, OUTPUTS
from gan_runner.cli.plain import enter_plain, path
from gan_runner.comparison.published import Judgement, Published, judged, key_of, measured, published
from gan_runner.errors import ConfigError
from gan_runner.records.console import Terminal, table
from gan_runner.records.folder import RunFolder
from gan_runner.records.identity import config_hash
from gan_runner.records.scores import Scores
from gan_runner.storage.files import storing, write_atomically

STUDY = "reproduce"
HEADS = ("run", "metric", "published", "accepted", "measured", "verdict")


def main() -> None:
    enter_plain(
        lambda: sys.exit(reproduce(options_of(sys.argv[1:]))), "interrupted; the same command goes on with its runs."
    )


def options_of(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m gan_runner.reproduce",
        description="Trains the runs that a recipe's published numbers need, and prints which numbers are reproduced.",
    )
    parser.add_argument("experiment", help="experiment=NAME, a recipe with published numbers")
    parser.add_argument("settings", nargs="*", help="seeds=0,1,2 and other settings, such as device.precision=bf16")
    parser.add_argument("--out", type=path, help="the record (default: outputs/reproduce/NAME.json)")
    parser.add_argument("--dry-run", action="store_true", help="train nothing; judge the existing runs")
    return parser.parse_intermixed_args(arguments)  # settings may follow an option


def recipe_of(options: argparse.Namespace) -> str:
    key, _, recipe = str(options.experiment).partition("=")
    if key != "experiment" or not recipe:
        raise ConfigError(f"{options.experiment} should be experiment=NAME.")
    return recipe


def reproduce(options: argparse.Namespace) -> int:
    """Trains the runs of a recipe and prints the verdicts. Returns the exit code of the first failed run, or 0."""
    stated = published(CONF / "published", recipe_of(options))
    settings = [each for each in options.settings if not each.startswith("seeds=")]
    seeds = seeds_of(options.settings, stated)
    out = options.out or OUTPUTS / STUDY / f"{stated.recipe}.json"
    known = json.loads(out.read_text()) if out.is_file() else {}
    # the intervals of an existing record were fixed before its runs
    accept = known.get("accept", [list(claim.accept) for claim in stated.claims])
    recorded = sorted({*seeds, *(known["seeds"] if known.get("settings") == settings else ())})
    hashes = hashes_of(stated, recorded, settings)
    kept = {
        key: entry
        for key, entry in known.get("runs", {}).items()
        if entry["finished"] and entry["config_hash"] == hashes.get(key)
    }
    for run in stated.runs:
        for seed in seeds:
            name, overrides = name_of(stated, run, seed, settings), stated.overrides(run, seed, settings)
            elsewhere = key_of(run, seed) in kept and not (OUTPUTS / STUDY / name).exists()
            code = 0 if elsewhere or options.dry_run else train(stated, compose(overrides), overrides, name)
            write(out, record_of(stated, recorded, settings, kept) | {"accept": accept})
            if code:
                return code
    record = record_of(stated, recorded, settings, kept) | {"accept": accept}
    show(stated, judged(stated, record, hashes), out)
    return 0


def seeds_of(settings: Sequence[str], stated: Published) -> list[int]:
    typed = [each.removeprefix("seeds=") for each in settings if each.startswith("seeds=")]
    if not typed:
        return list(stated.seeds)
    numbers = typed[-1].split(",")
    if not all(number.isdecimal() for number in numbers):
        raise ConfigError(f"seeds={typed[-1]} should be whole numbers, as seeds=0,1,2.")
    return [int(number) for number in numbers]


def name_of(stated: Published, run: str, seed: int, settings: Sequence[str]) -> str:
    """Returns the name of the run folder. Runs with changed settings get separate folders."""
    parts = [stated.recipe, run.replace(" ", "_"), str(seed)]
    if settings:
        parts.append(config_hash(compose(stated.overrides(run, seed, settings)))[:8])
    return "-".join(part for part in parts if part)


def train(stated: Published, config: Mapping[str, Any], overrides: Sequence[str], name: str) -> int:
    """Trains or resumes the run, and computes metrics that a finished run lacks. Returns the exit code."""
    folder = RunFolder(OUTPUTS / STUDY / name)
    code = command_of("gan_runner", *overrides, f"study={STUDY}", f"name={name}")
    known = folder.read_config() or {}
    missing = [metric for metric in config["metric"] if metric not in known.get("metric", {})]
    if code == 0 and missing:
        code = command_of("gan_runner.evaluate", str(folder.path), "--metric", *missing)
    scores = Scores(folder.read_summary().get("metrics"))
    for split in sorted({claim.split for claim in stated.claims if not scores.has(claim.split, claim.metric)}):
        code = code or command_of("gan_runner.evaluate", str(folder.path), "--split", split)
    return code


def command_of(module: str, *arguments: str) -> int:
    """Runs a command and returns its exit code."""
    return subprocess.run([sys.executable, "-m", module, *arguments]).returncode


def hashes_of(stated: Published, seeds: Sequence[int], settings: Sequence[str]) -> dict[str, str]:
    """Returns the hash of the configuration, as it is composed now, for the key of each run."""
    return {
        key_of(run, seed): config_hash(compose(stated.overrides(run, seed, settings)))
        for run in stated.runs
        for seed in seeds
    }


def record_of(
    stated: Published, seeds: Sequence[int], settings: Sequence[str], kept: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the record of the runs that exist so far. kept: entries of finished runs that may have no folder here."""
    folders = {
        key_of(run, seed): RunFolder(OUTPUTS / STUDY / name_of(stated, run, seed, settings))
        for run in stated.runs
        for seed in seeds
    }
    return {
        "recipe": stated.recipe,
        "settings": list(settings),
        "seeds": list(seeds),
        "runs": {
            **kept,
            **{key: measured(folder, stated.claims) for key, folder in folders.items() if folder.path.exists()},
        },
    }


def write(path: Path, record: Mapping[str, Any]) -> None:
    content = json.dumps(record, indent=1, sort_keys=True) + "\n"
    with storing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file: file.write(content.encode()))


def show(stated: Published, found: Sequence[Judgement], out: Path) -> None:
    terminal = Terminal()
    terminal.show(f"{stated.recipe}: {stated.source}. {stated.protocol}.")
    rows = [
        (
            each.claim.run,
            each.claim.what,
            f"{each.claim.published:g}",
            str(each.claim.accept),
            ", ".join(f"{number:.4g}" for number in each.claim.numbers(each.values)) if each.values else "",
            each.verdict,
        )
        for each in found
    ]
    terminal.show(table(HEADS, rows))
    terminal.show(f"written: {out}")


if __name__ == "__main__":
    main()
