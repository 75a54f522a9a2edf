"""Comparison of runs: python -m gan_runner.compare outputs/* shows which settings differ and which are better.

The command prints a table with uncertainties, and writes compare.md, compare.csv and compare.html beside the runs. It
executes nothing from a run folder.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from gan_runner.cli.plain import enter_plain, path
from gan_runner.comparison.curves import AXES, read_curves
from gan_runner.comparison.page import page
from gan_runner.comparison.ranking import Comparison, compare
from gan_runner.comparison.records import Record, Warn, once, read, run_folders
from gan_runner.comparison.tables import clean, comma_separated, markdown, print_table
from gan_runner.errors import ConfigError, nearest
from gan_runner.records.console import Terminal, show_error
from gan_runner.storage.files import write_atomically

USUAL = ("loss/discriminator", "loss/generator")  # tags that every run has logged


def main() -> None:
    enter_plain(lambda: tabulate(options_of(sys.argv[1:])), "interrupted; the same command begins anew.", clean)


def tabulate(options: argparse.Namespace) -> None:
    """Prints the table of the runs, and writes the three files."""
    records = chosen(options.runs, options.where, warn)
    found = compare(records, options.by, options.select, options.split)
    terminal = Terminal()
    print_table(found, terminal)
    terminal.show("\nwritten: " + " ".join(clean(path) for path in write(found, options)))


def options_of(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m gan_runner.compare", description="Many runs in one table, one page and one file."
    )
    parser.add_argument("runs", nargs="+", metavar="FOLDER", help="run folders, or folders of runs: outputs/*")
    parser.add_argument("--by", nargs="+", default=[], metavar="KEY", help="group by these (default: whatever differs)")
    parser.add_argument(
        "--where", nargs="+", default=[], metavar="KEY=VALUE", help="only runs like that: loss=gan,hinge"
    )
    parser.add_argument(
        "--select", metavar="VALUE", help="sort by this metric or tag; :low or :high says what is better"
    )
    parser.add_argument("--split", help="of the metric: test (default where there is one) or validation")
    parser.add_argument("--tag", nargs="+", help=f"curves (default: the metric, {' '.join(USUAL)})")
    parser.add_argument("--axis", choices=AXES, default="steps", help="of the curves at first")
    parser.add_argument("--out", type=path, help="folder for the files (default: the one that the runs are in)")
    return parser.parse_args(arguments)


def warn(sentence: str) -> None:
    show_error(clean(sentence), "yellow")


def chosen(folders: Sequence[str], where: Sequence[str], warn: Warn) -> list[Record]:
    """Returns one record for each configuration and seed, of the runs that the conditions leave."""
    records = once(all_records(folders, warn), warn)
    for condition in where:
        records = filtered(records, condition)
    return records


def all_records(folders: Sequence[str], warn: Warn) -> list[Record]:
    found = (read(path, warn) for path in run_folders(folders, warn))
    records = [record for record in found if record is not None]
    if not records:
        raise ConfigError("there is no run to compare; name run folders such as outputs/*.")
    return records


def filtered(records: Sequence[Record], condition: str) -> list[Record]:
    key, equals, values = condition.partition("=")
    there = {record.setting(key) for record in records}
    if not equals or there == {None}:
        known = {name for record in records for name in (*record.flat, *record.hparams)}
        raise ConfigError(f"--where {condition} is no setting=value of these runs{nearest(key, known)}.")
    kept = [record for record in records if matches(record.setting(key), values)]
    if not kept:
        shown = ", ".join(sorted(value for value in there if value is not None))
        raise ConfigError(f"--where {condition} leaves no run; {key} is {shown}.")
    return kept


def matches(setting: str | None, values: str) -> bool:
    return setting is not None and any(same(setting, value) for value in (values, *values.split(",")))


def same(one: str, other: str) -> bool:
    """Whether two values are equal, as text or as numbers: 1e-4 equals 0.0001."""
    try:
        return float(one) == float(other)
    except ValueError:
        return one == other


def write(found: Comparison, options: argparse.Namespace) -> list[Path]:
    """Writes the files of the comparison; returns their paths."""
    default = Path(os.path.commonpath([record.path.absolute().parent for record in found.records]))
    out: Path = options.out or Path(os.path.relpath(default))
    tags = tags_of(found, options.tag)
    curves = {record.path: read_curves(record, tags, warn) for record in found.records}
    for tag in options.tag or ():
        if not any(tag in each for each in curves.values()):
            warn(f"--tag {tag}: no run has logged it.")
    contents = {
        "compare.md": "\n".join(markdown(found)) + "\n",
        "compare.csv": comma_separated(found),
        "compare.html": page(found, curves, tags, options.axis),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in contents.items():
            write_atomically(out / name, lambda file, text=text: file.write(text.encode()))  # type: ignore[misc]
    except OSError as error:
        raise ConfigError(f"--out={out} cannot be written: {error.strerror or error}.") from error
    return [out / name for name in contents]


def tags_of(found: Comparison, requested: Sequence[str] | None) -> list[str]:
    if requested:
        return list(requested)
    objective = found.objective
    own = [] if objective is None else [objective.name if objective.is_tag else f"metric/{objective.name}"]
    return list(dict.fromkeys([*own, *USUAL]))


if __name__ == "__main__":
    main()
