"""The comparison as text: a table for the terminal, Markdown, and CSV with one line for each run."""

from collections.abc import Iterable, Iterator, Sequence

import pandas as pd

from gan_runner.comparison.ranking import Comparison, all_that_varies, conclusions, some, unlike
from gan_runner.comparison.records import Record
from gan_runner.comparison.rows import Row, Spread, short_names, varying
from gan_runner.records import console
from gan_runner.records.console import Terminal
from gan_runner.records.identity import show
from gan_runner.records.scores import FACTS, NETWORKS, Scores, mapping

ENVIRONMENT = ("device", "device_kind", "precision", "threads", "ranks", "python", "gan_runner", "torch", "git_commit")
COSTS = ("steps", "images", "seconds", "images_per_second", "peak_memory_mb", "rollbacks")


def clean(text: object) -> str:
    """Replaces characters that would move the cursor of a terminal or break a line."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(text))


# ---- cells


def span(found: Spread) -> str:
    """Returns the range of values as text, lowest to highest."""
    if not found.values:
        return "-"
    low, high = (f"{value:.0f}" for value in (min(found.values), max(found.values)))
    return low if low == high else f"{low}-{high}"


def table(found: Comparison) -> tuple[list[str], list[list[str]]]:
    """Returns the headings, and a list of cells for each row."""
    short, objective = short_names(found.columns), found.objective
    name = objective.name if objective else ""
    whiches = [which for which in NETWORKS if any(row.values.get(which, Spread(())).values for row in found.rows)]
    settings = [short[key] for key in found.columns] or ["run"]
    named = [which if number else f"{name} {which}" for number, which in enumerate(whiches)]
    several = any(len(row.averages) > 1 for row in found.rows)
    heads = ["#", *settings, *named, *(["best average"] if several else [])]
    heads += ["n", "steps", "seconds", "images/s", "peak MB", "device", "status", "against the best"]
    better = objective.better if objective else None
    averages = [[best_average(row, better)] if several else [] for row in found.rows]
    return heads, [cells(row, found.columns, whiches, cell) for row, cell in zip(found.rows, averages, strict=True)]


def best_average(row: Row, better: str | None) -> str:
    """Returns the cell with the half-life whose mean is best, and its values."""
    best = row.best_average(better)
    return f"{best[0]}: {best[1]}" if best is not None else "-"


def cells(row: Row, columns: Sequence[str], whiches: Sequence[str], averages: Sequence[str]) -> list[str]:
    shown = [row.settings[key] for key in columns] or [row.label]
    counted, runs = len(row.counted), len(row.runs)
    return [
        *(str(row.rank or "-"), *shown, *(str(row.values[which]) for which in whiches), *averages),
        str(counted) if counted == runs else f"{counted} of {runs}",
        span(row.spread(lambda run: run.number("steps"))),
        *(
            f"{mean:.0f}" if mean is not None else "-"
            for mean in (average(row, k) for k in ("seconds", "images_per_second"))
        ),
        f"{max(peak):.0f}" if (peak := row.spread(lambda run: run.number("peak_memory_mb")).values) else "-",
        ", ".join(dict.fromkeys(run.environment("device") for run in row.runs)) or "-",
        row.statuses(),
        row.against,
    ]


def average(row: Row, key: str) -> float | None:
    found = row.spread(lambda run: run.number(key))
    return found.mean if found.values else None


# ---- the terminal


def print_table(found: Comparison, terminal: Terminal) -> None:
    """Prints a table that fits into the terminal, and sentences on the omitted columns."""
    heads, rows = table(found)
    rows = [[clean(cell) for cell in row] for row in rows]
    heads, rows, left_out = narrowed(heads, rows, len(found.columns) or 1, terminal.width)
    lines, between = iter(rows), ["---"] * len(heads)
    parts = [[next(lines) for _ in part] for part in found.parts()]
    terminal.show(console.table(heads, [*parts[0], *(row for part in parts[1:] for row in (between, *part))]))
    for sentence in (*left_out, *remarks(found)):
        terminal.show(clean(sentence))


def narrowed(
    heads: list[str], rows: list[list[str]], settings: int, columns: int
) -> tuple[list[str], list[list[str]], list[str]]:
    """Returns fewer columns, and sentences on omitted ones. settings: the number of their columns, after the rank."""
    heads, rows = list(heads), [list(row) for row in rows]
    sentences, hidden = [], []
    for head in ("device", "status"):  # a value that all rows share needs no column
        shared = {row[place(heads, head)] for row in rows}
        if len(shared) == 1:
            sentences.append(f"all: {head} {shared.pop()}")
            remove(heads, rows, place(heads, head))
    for head in ("device", "peak MB", "images/s"):
        if width(heads, rows) > columns and head in heads[settings + 1 :]:
            hidden.append(head)
            remove(heads, rows, place(heads, head))
    while width(heads, rows) > columns and settings > 1:
        column = expendable(rows, settings)
        hidden.append(heads[column])
        remove(heads, rows, column)
        settings -= 1
    return heads, rows, sentences + [f"no room for {some(hidden)}: see compare.md"] * bool(hidden)


def expendable(rows: Sequence[Sequence[str]], settings: int) -> int:
    """Returns the last settings column that is not needed to distinguish rows; else the last settings column."""

    def distinct(without: int | None = None) -> int:
        return len({tuple(row[column] for column in range(1, settings + 1) if column != without) for row in rows})

    return next((column for column in range(settings, 0, -1) if distinct(column) == distinct()), settings)


def place(heads: Sequence[str], head: str) -> int:
    """Returns the index of the last column with this name, since a setting may have the same name."""
    return len(heads) - 1 - heads[::-1].index(head)


def remove(heads: list[str], rows: list[list[str]], place: int) -> None:
    del heads[place]
    for row in rows:
        del row[place]


def width(heads: list[str], rows: list[list[str]]) -> int:
    """Returns the characters of the widest line."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return sum(widths) + len(console.GAP) * (len(widths) - 1)


def remarks(found: Comparison) -> Iterator[str]:
    """Yields sentences that explain the table."""
    objective = found.objective
    if objective is not None and found.sorted_by:
        which = " and ".join(dict.fromkeys(found.sorted_by.values()))
        yield f"sorted by the {which} {objective}, {objective.better} is better; mean ± standard deviation of n runs"
    different = unlike(found)
    if different:
        yield f"rows apart from one another are not ranked together, their protocols differ in {'; '.join(different)}"
    yield from conclusions(found)
    yield from found.notes


# ---- files


def markdown(found: Comparison) -> Iterator[str]:
    heads, rows = table(found)
    yield f"# {found.title}\n"
    yield from markdown_table(heads, rows)
    yield from (f"- {clean(sentence)}" for sentence in remarks(found))
    keys = all_that_varies(found)
    if keys:
        yield "\n## Settings that differ\n"
        yield from markdown_table(["", *keys], [[row.label, *differing(row, keys)] for row in found.rows])
    sentences = [(run.path.name, each) for row in found.rows for run in row.runs for each in run.verdicts()]
    if sentences:
        yield "\n## Verdicts at the end\n"
        yield from (
            f"- {clean(name)}, {clean(each.get('kind', ''))}: {clean(each.get('sentence', ''))}"
            for name, each in sentences
        )


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for number, cells in enumerate([heads, *rows]):
        yield "| " + " | ".join(clean(cell).replace("|", "\\|") for cell in cells) + " |"
        if not number:
            yield "|" + "---|" * len(heads)
    yield ""


def differing(row: Row, keys: Sequence[str]) -> list[str]:
    """Returns the values of settings in a row; several values if the row pools configurations."""
    return [", ".join(dict.fromkeys(run.shown.get(key, "-") for run in row.runs)) for key in keys]


def comma_separated(found: Comparison) -> str:
    """Returns CSV with one line for each run and all of its values."""
    keys = dict.fromkeys([*found.columns, *varying(found.records)])
    lines = [values_of(row, run, keys) for row in found.rows for run in row.runs]
    return str(pd.DataFrame(lines, dtype=object).to_csv(index=False, lineterminator="\n"))


def values_of(row: Row, run: Record, keys: Iterable[str]) -> dict[str, object]:
    values: dict[str, object] = {"folder": run.path, "row": row.label, "rank": row.rank or ""}
    values |= {"counted": run in row.counted, "status": run.status, "seed": run.seed, "hash": run.hash}
    values |= {key: run.summary.get(key, "") for key in COSTS} | {key: run.environment(key) for key in ENVIRONMENT}
    values |= {key: run.setting(key) for key in keys}
    values |= scored(run.scores) | run.last
    return values | {"verdicts": "; ".join(show(each.get("name", "")) for each in run.verdicts())}


def scored(scores: Scores) -> dict[str, object]:
    """Returns the values of the best and the last networks, with their steps, by names such as last/test/fid."""
    values: dict[str, object] = {}
    for which in NETWORKS:
        for split, found_values in scores.of(which).items():
            named = mapping(found_values) if split not in FACTS else {"": found_values}
            values |= {f"{which}/{split}/{name}".rstrip("/"): value for name, value in named.items()}
    return values
