"""compare.html: one file that contains plotly's script and the curves, so that it opens without a network."""

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gan_runner.comparison.curves import AXES, Curve, mean_of, thinned
from gan_runner.comparison.ranking import Comparison, all_that_varies, unlike
from gan_runner.comparison.records import Record
from gan_runner.comparison.rows import Row, shortened, varying
from gan_runner.comparison.tables import clean, differing, remarks, table

COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#e377c2", "#17becf", "#7f7f7f", "#bcbd22")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")  # with COLORS, 50 lines can be distinguished
DIGITS = 5  # significant digits of a number in a curve
IMAGES = 2_000_000  # bytes for all images of a page, half for the last grids and half for earlier steps
SIDES = (528, 352, 264, 176, 120)  # widths, in pixels, to which a large grid of samples is reduced
FRAMES = 5  # grids of a row, at most, evenly from its first to its last one


class Table(NamedTuple):
    """Headings, and rows of cells with the CSS class of each."""

    heads: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]


class Picture(NamedTuple):
    """A grid of samples: its `src` attribute, or the reason why it is missing."""

    caption: str
    source: str
    problem: str = ""


def page(found: Comparison, curves: Mapping[Path, Mapping[str, Curve]], tags: Sequence[str], axis: str) -> str:
    """Returns the page. curves: folder of a run -> tag -> curve. axis: the axis, of AXES, that is shown at first."""
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "template"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else clean(value),
    )
    data = drawn(found, curves, tags)
    used = {name for grid in data["grids"] for name in grid}
    return environment.get_template("page.html").render(
        title=found.title,
        main=main_table(found),
        remarks=list(remarks(found)),
        data=data | {"axis": axis, "axes": [name for name in AXES if name in used]},
        plotly=Markup(get_plotlyjs()),  # trusted: the library's own script
        **samples(found.rows),
        differences=differences(found),
        verdicts=verdicts(found.rows),
        protocols=protocols(found),
        objective=found.objective,
    )


# ---- tables


def main_table(found: Comparison) -> Table:
    heads, rows = table(found)
    kinds = []
    for number, row in enumerate(found.rows):
        kind = "best" if row.rank == 1 else "unranked" if row.rank is None else ""
        kinds.append(kind + (" apart" if number and row.part != found.rows[number - 1].part else ""))
    return Table(heads, list(zip(kinds, rows, strict=True)))


def differences(found: Comparison) -> Table | None:
    keys = all_that_varies(found)
    rows = [("", [row.label, *(shortened(value) for value in differing(row, keys))]) for row in found.rows]
    return Table(["", *keys], rows) if keys else None


def verdicts(rows: Sequence[Row]) -> Table | None:
    sentences = [
        ("", [row.label, run.path.name, *(str(each.get(key, "")) for key in ("kind", "since", "sentence"))])
        for row in rows
        for run in row.runs
        for each in run.verdicts()
    ]
    return Table(["row", "run", "kind", "since step", "verdict"], sentences) if sentences else None


def protocols(found: Comparison) -> Table | None:
    """Returns the protocols of the objective, a column for each part of the table; differences are marked."""
    parts = [rows[0] for rows in found.parts() if rows[0].protocol and rows[0].rank]
    if not parts or found.objective is None or found.objective.is_tag:
        return None
    keys = list(dict.fromkeys(key for row in parts for key in row.protocol or {}))
    apart = {sentence.split(":")[0] for sentence in unlike(found)}
    rows = [
        ("best" if key in apart else "", [key, *((row.protocol or {}).get(key, "-") for row in parts)]) for key in keys
    ]
    return Table(["", *(f"rows like {row.label}" for row in parts)], rows)


# ---- curves


def drawn(found: Comparison, curves: Mapping[Path, Mapping[str, Curve]], tags: Sequence[str]) -> dict[str, Any]:
    """Returns the data for the page's script: rows, charts with lines, and x-positions, which lines share."""
    grids: dict[str, int] = {}
    shared: list[dict[str, list[float]]] = []
    charts = []
    for tag in tags:
        lines = [line for number, row in enumerate(found.rows) for line in lines_of(number, row, curves, tag)]
        for line in lines:
            line["grid"] = grids.setdefault(str(line["x"]), len(grids))
            shared += [line["x"]] if line["grid"] == len(shared) else []
            del line["x"]
        if lines:
            charts.append({"tag": clean(tag), "lines": lines})
    return {"rows": [look(number, row) for number, row in enumerate(found.rows)], "charts": charts, "grids": shared}


def look(number: int, row: Row) -> dict[str, str]:
    dash = DASHES[number // len(COLORS) % len(DASHES)]
    return {"label": clean(row.label), "color": COLORS[number % len(COLORS)], "dash": dash}


def lines_of(number: int, row: Row, curves: Mapping[Path, Mapping[str, Curve]], tag: str) -> list[dict[str, Any]]:
    """Returns the lines of a row: the mean of its completed runs, and each run that is not completed."""
    there = [(run, curves[run.path][tag]) for run in row.runs if tag in curves.get(run.path, {})]
    done = [curve for run, curve in there if run.status == "completed"]
    found = [(mean_of(done), f"mean of {len(done)}" if len(done) > 1 else "", True)] if done else []
    found += [(curve, clean(run.status), False) for run, curve in there if run.status != "completed"]
    lines = []
    for curve, note, completed in found:
        thin = thinned(curve)
        line = {"row": number, "note": note, "completed": completed, "y": rounded(thin.y)}
        line["x"] = {axis: rounded(x) for axis, x in thin.x.items()}
        line |= {} if thin.deviation is None else {"deviation": rounded(thin.deviation)}
        lines.append(line)
    return lines


def rounded(values: np.ndarray) -> list[float]:
    return [int(value) if value == int(value) else value for value in (float(f"{v:.{DIGITS}g}") for v in values)]


# ---- samples


def samples(rows: Sequence[Row]) -> dict[str, Any]:
    """Returns the last grid of each row, all of one seed if possible, and the earlier grids of each row."""
    seeds = Counter(run.seed for row in rows for run in {run.seed: run for run in row.runs if run.samples()}.values())
    if not seeds:
        return {"grids": [], "films": [], "noise": ""}
    seed = min(seeds, key=lambda each: (-seeds[each], str(each)))
    shown = [(row, chosen) for row in rows if (chosen := with_samples(row, seed)) is not None]
    films = [(row, evenly(run.samples())) for row, run in shown if len(run.samples()) > 1]
    share, frames = IMAGES / 2 / len(shown), sum(len(steps) for _, steps in films)
    grids = []
    for row, run in shown:
        last, path = list(run.samples().items())[-1]
        other = "" if run.seed == seed else f", seed {run.seed}: other noise"
        grids.append(picture(f"{row.label} (step {last}{other})", path, share))
    return {
        "noise": noise(shown, seed),
        "grids": grids,
        "films": [
            (row.label, [picture(f"step {step}", path, IMAGES / 2 / frames) for step, path in steps.items()])
            for row, steps in films
        ],
    }


def with_samples(row: Row, seed: object) -> Record | None:
    able = [run for run in row.runs if run.samples()]
    return min(able, key=lambda run: (run.seed != seed, run.status != "completed"), default=None)


def noise(shown: Sequence[tuple[Row, Record]], seed: object) -> str:
    latents = {key for key in varying([run for _, run in shown]) if key.startswith("model.latent")}
    if latents:
        return f"All of seed {seed}, but not of the same noise: {', '.join(sorted(latents))} differs."
    return f"The same noise everywhere, that of seed {seed}."


def evenly(steps: dict[int, Path]) -> dict[int, Path]:
    count, known = min(FRAMES, len(steps)), list(steps)
    kept = (known[round(n * (len(known) - 1) / max(1, count - 1))] for n in range(count))
    return {step: steps[step] for step in kept}


def picture(caption: str, path: Path, most: float) -> Picture:
    """Returns the image of a file: unchanged if it has at most `most` bytes, else reduced, as WebP."""
    from PIL import Image

    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content), formats=["PNG"]) as found:
            found.load()
            whole = found.convert("L" if found.mode == "L" else "RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return Picture(caption, "", f"{path.name} is damaged: {error}")
    kind = "png"
    for side in SIDES:
        if len(content) <= most:
            break
        kind, smaller, kept = "webp", whole.copy(), io.BytesIO()
        smaller.thumbnail((side, 2 * side))
        smaller.save(kept, kind, quality=80)
        content = kept.getvalue()
    return Picture(caption, f"data:image/{kind};base64,{base64.b64encode(content).decode()}")
