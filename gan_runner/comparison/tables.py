"""The comparison in characters: a table for the terminal, Markdown, and one line a run as CSV."""

import csv
import io
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from gan_runner.comparison.ranking import Comparison, all_that_varies, conclusions, some, unlike
from gan_runner.comparison.records import Record
from gan_runner.comparison.rows import Row, Spread, short_names, varying
from gan_runner.records.identity import show
from gan_runner.records.scores import NETWORKS, mapping

WIDTH = 120  # columns of the terminal
GAP = 2
NARROWEST = 12  # a column of settings that is cut for width
ENVIRONMENT = ("device", "device_kind", "precision", "threads", "ranks", "python", "gan_runner", "torch", "git_commit")
COSTS = ("steps", "images", "seconds", "images_per_second", "peak_memory_mb", "rollbacks")


def clean(text: object) -> str:
    """Without what would move a terminal's cursor or break a line."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(text))


# ---- cells


def span(found: Spread) -> str:
    """Lowest to highest."""
    if not found.values:
        return "-"
    low, high = (f"{value:.0f}" for value in (min(found.values), max(found.values)))
    return low if low == high else f"{low}-{high}"


def table(found: Comparison) -> tuple[list[str], list[list[str]]]:
    """Headings, and a row of cells for each configuration."""
    short, objective = short_names(found.columns), found.objective
    name = objective.name if objective else ""
    whiches = [which for which in NETWORKS if any(row.values.get(which, Spread(())).values for row in found.rows)]
    settings = [short[key] for key in found.columns] or ["run"]
    named = [which if number else f"{name} {which}" for number, which in enumerate(whiches)]
    heads = ["#", *settings, *named]
    heads += ["n", "steps", "seconds", "images/s", "peak MB", "device", "status", "against the best"]
    return heads, [cells(row, found.columns, whiches) for row in found.rows]


def cells(row: Row, columns: Sequence[str], whiches: Sequence[str]) -> list[str]:
    shown = [row.settings[key] for key in columns] or [row.label]
    counted, runs = len(row.counted), len(row.runs)
    return [
        *(str(row.rank or "-"), *shown, *(str(row.values[which]) for which in whiches)),
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


def terminal(found: Comparison) -> Iterator[str]:
    """At most WIDTH columns wide; what that leaves out is listed in sentences."""
    heads, rows = table(found)
    heads, rows, dropped = narrowed(heads, [[clean(cell) for cell in row] for row in rows], len(found.columns) or 1)
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    yield line(heads, widths)
    lines = iter(rows)
    for number, part in enumerate(found.parts()):
        if number:
            yield "-" * min(WIDTH, sum(widths) + GAP * (len(widths) - 1))
        for _ in part:
            yield line(next(lines), widths)
    for sentence in (*dropped, *remarks(found)):
        yield from textwrap.wrap(clean(sentence), WIDTH, subsequent_indent="  ")


def expendable(rows: Sequence[Sequence[str]], settings: int) -> int:
    """The last column of the settings without which as many rows can be told apart; else the last."""

    def distinct(without: int | None = None) -> int:
        return len({tuple(row[column] for column in range(1, settings + 1) if column != without) for row in rows})

    return next((column for column in range(settings, 0, -1) if distinct(column) == distinct()), settings)


def line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return (" " * GAP).join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def narrowed(heads: list[str], rows: list[list[str]], settings: int) -> tuple[list[str], list[list[str]], list[str]]:
    """Fewer and narrower columns, and sentences on what is not there. settings: columns of them, after the rank."""
    names, heads, rows = list(heads), list(heads), [list(row) for row in rows]
    sentences, hidden = [], []
    for head in ("device", "status"):  # what all rows share takes no column
        shared = {row[place(heads, head)] for row in rows}
        if len(shared) == 1:
            sentences.append(f"all: {head} {shared.pop()}")
            remove(heads, rows, place(heads, head))
    for head in ("device", "peak MB", "images/s"):
        if too_wide(heads, rows) and head in heads[settings + 1 :]:
            hidden.append(head)
            remove(heads, rows, place(heads, head))
    for column in range(settings, 0, -1):
        narrow(heads, rows, column)
    while too_wide(heads, rows) and settings > 1:
        column = expendable(rows, settings)
        hidden.append(names.pop(column))
        remove(heads, rows, column)
        settings -= 1
    for head in ("status", "against the best"):
        if head in heads[settings + 1 :]:
            narrow(heads, rows, place(heads, head))
    return heads, rows, sentences + [f"no room for {some(hidden)}: see compare.md"] * bool(hidden)


def place(heads: Sequence[str], head: str) -> int:
    """Of the last with this name: a setting may be called so, too."""
    return len(heads) - 1 - heads[::-1].index(head)


def narrow(heads: list[str], rows: list[list[str]], column: int) -> None:
    """Cuts what is long in a column, where the table is too wide."""
    width = max(len(cells[column]) for cells in (heads, *rows))
    room = max(NARROWEST, width - too_wide(heads, rows))
    for cells in (heads, *rows):
        cells[column] = cut(cells[column], room)


def remove(heads: list[str], rows: list[list[str]], place: int) -> None:
    del heads[place]
    for row in rows:
        del row[place]


def too_wide(heads: list[str], rows: list[list[str]]) -> int:
    """By how many characters."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return max(0, sum(widths) + GAP * (len(widths) - 1) - WIDTH)


def cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def remarks(found: Comparison) -> Iterator[str]:
    """What the table means and does not mean."""
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
        yield "\n## What differs\n"
        yield from markdown_table(["", *keys], [[row.label, *differing(row, keys)] for row in found.rows])
    sentences = [(run.path.name, each) for row in found.rows for run in row.runs for each in run.verdicts()]
    if sentences:
        yield "\n## Verdicts that stand\n"
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
    """The values of settings in a row, several where it pools configurations."""
    return [", ".join(dict.fromkeys(run.shown.get(key, "-") for run in row.runs)) for key in keys]


def comma_separated(found: Comparison) -> str:
    """One line a run, with every value that it has."""
    keys = dict.fromkeys([*found.columns, *varying(found.records)])
    lines = [values_of(row, run, keys) for row in found.rows for run in row.runs]
    heads = dict.fromkeys(key for each in lines for key in each)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(heads), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def values_of(row: Row, run: Record, keys: Iterable[str]) -> dict[str, object]:
    values: dict[str, object] = {"folder": run.path, "row": row.label, "rank": row.rank or ""}
    values |= {"counted": run in row.counted, "status": run.status, "seed": run.seed, "hash": run.hash}
    values |= {key: run.summary.get(key, "") for key in COSTS} | {key: run.environment(key) for key in ENVIRONMENT}
    values |= {key: run.setting(key) for key in keys}
    for which in NETWORKS:
        for split, found_values in run.scores.of(which).items():
            named = mapping(found_values) if split not in ("step", "select_by") else {"": found_values}
            values |= {f"{which}/{split}/{name}".rstrip("/"): value for name, value in named.items()}
    values |= run.last
    return values | {"verdicts": "; ".join(show(each.get("name", "")) for each in run.verdicts())}
