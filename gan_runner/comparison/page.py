"""compare.html: one file that needs no other, nor a script."""

import base64
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from gan_runner.comparison.chart import Band, chart, style
from gan_runner.comparison.ranking import Comparison, all_that_varies, unlike
from gan_runner.comparison.records import Curve, Record
from gan_runner.comparison.rows import Row, shortened, varying
from gan_runner.comparison.tables import clean, differing, remarks, table

SIDE = 528  # pixels that a large grid of samples is made smaller to
LARGE = 60_000  # bytes
MOST_FILMS = 12  # rows whose samples are shown over steps
FRAMES = 5  # of them
STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 24px auto; padding: 0 20px;
  max-width: 1326px; }
h1 { font-size: 22px; margin: 0 0 12px } h2 { font-size: 17px; margin: 30px 0 8px }
.scroll { overflow: auto; max-height: 640px }
.main { max-height: none } .main td:last-child { white-space: normal; min-width: 130px }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: 4px 8px; border-bottom: 1px solid #e3e3e3; white-space: nowrap }
th { background: #f4f5f7; position: sticky; top: 0 } tbody tr:hover { background: #f6f9ff }
tr.best td { font-weight: 600 } tr.apart td { border-top: 2px solid #888 } tr.unranked td { color: #777 }
td.long { white-space: normal; min-width: 420px }
ul.notes { margin: 10px 0; padding-left: 20px } .quiet { color: #666; font-size: 13px }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(480px, 1fr)); gap: 8px }
.chart polyline { fill: none; stroke-width: 1.8 } .chart .band { opacity: .16 } .chart.many .band { opacity: 0 }
.chart .other { stroke-width: 1.2; stroke-dasharray: 1 3 } .chart .end { font-size: 13px; text-anchor: middle }
.chart .grid { stroke: #e6e6e6 } .chart .tick { font-size: 11px; fill: #555 }
.chart .title { font-size: 13px; font-weight: 600 }
.chart .c:hover polyline { stroke-width: 3.5 } .chart .c:hover .band { opacity: .3 }
.legend { columns: 260px; list-style: none; padding: 0; margin: 8px 0; font-size: 13px }
.legend li { padding: 1px 4px; break-inside: avoid; cursor: default } .legend li:hover { background: #eef3ff }
.legend svg { width: 42px; height: 10px; vertical-align: middle; margin-right: 6px }
.cards { display: flex; flex-wrap: wrap; gap: 14px } figure { margin: 0; width: 248px }
figcaption { font-size: 12px; overflow-wrap: anywhere; margin-bottom: 3px }
img { width: 100%; display: block }
.films { overflow-x: auto } .films td { padding: 4px; vertical-align: bottom; white-space: normal }
.films td:first-child { max-width: 170px; overflow-wrap: anywhere }
.films img { width: 220px } .films .quiet { font-size: 11px }
"""


def page(
    found: Comparison, curves: Mapping[Path, Mapping[str, Curve]], tags: Sequence[str], axis: str
) -> Iterator[str]:
    """curves: of each run by its folder."""
    title = found.title
    yield f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield f'<link rel="icon" href="data:,"><style>{STYLE}{"".join(brought_out(len(found.rows)))}</style></head><body>'
    yield f"<h1>{title}</h1>"
    yield from main_table(found)
    yield '<ul class="notes">' + "".join(f"<li>{html(sentence)}</li>" for sentence in remarks(found)) + "</ul>"
    yield from pictures_of_curves(found, curves, tags, axis)
    yield from side_by_side(found.rows)
    yield from differences(found)
    yield from verdicts(found.rows)
    yield from protocols(found)
    yield "</body></html>"


def html(text: object) -> str:
    return escape(clean(text))


def brought_out(rows: int) -> Iterator[str]:
    """Where the mouse is on a row of the legend, its curves stand out."""
    for n in range(rows):
        yield f"body:has(.legend .k{n}:hover) .chart .c:not(.c{n}) {{ opacity: .1 }}\n"
        yield f"body:has(.legend .k{n}:hover) .chart .c{n} .band {{ opacity: .3 }}\n"


def html_table(heads: Iterable[str], rows: Iterable[tuple[str, Sequence[str]]], name: str = "") -> Iterator[str]:
    """rows: the class of each, and its cells."""
    yield f'<div class="scroll {name}"><table><thead><tr>'
    yield "".join(f"<th>{html(head)}</th>" for head in heads)
    yield "</tr></thead><tbody>"
    for kind, cells in rows:
        long = [' class="long"' if len(cell) > 90 else "" for cell in cells]
        shown = "".join(f"<td{look}>{html(cell)}</td>" for look, cell in zip(long, cells, strict=True))
        yield f'<tr class="{kind}">{shown}</tr>'
    yield "</tbody></table></div>"


def main_table(found: Comparison) -> Iterator[str]:
    heads, rows = table(found)
    kinds = []
    for number, row in enumerate(found.rows):
        kind = "best" if row.rank == 1 else "unranked" if row.rank is None else ""
        kinds.append(kind + (" apart" if number and row.part != found.rows[number - 1].part else ""))
    yield from html_table(heads, zip(kinds, rows, strict=True), "main")


def differences(found: Comparison) -> Iterator[str]:
    keys = all_that_varies(found)
    if keys:
        yield "<h2>What differs</h2>"
        rows = (("", [row.label, *(shortened(value) for value in differing(row, keys))]) for row in found.rows)
        yield from html_table(["", *keys], rows)
    yield '<p class="quiet">All other settings that change the result are equal.</p>'


def protocols(found: Comparison) -> Iterator[str]:
    """Of the objective, one for each part of the table."""
    parts = [rows[0] for rows in found.parts() if rows[0].protocol and rows[0].rank]
    if not parts or found.objective is None or found.objective.is_tag:
        return
    yield f"<h2>Protocol of {html(found.objective)}</h2>"
    keys = list(dict.fromkeys(key for row in parts for key in row.protocol or {}))
    apart = {sentence.split(":")[0] for sentence in unlike(found)}
    rows = (
        ("best" if key in apart else "", [key, *((row.protocol or {}).get(key, "-") for row in parts)]) for key in keys
    )
    yield from html_table(["", *(f"rows like {row.label}" for row in parts)], rows)


# ---- curves


def pictures_of_curves(
    found: Comparison, curves: Mapping[Path, Mapping[str, Curve]], tags: Sequence[str], axis: str
) -> Iterator[str]:
    drawn = []
    for number, tag in enumerate(tags):
        bands = [band(n, row, curves, tag) for n, row in enumerate(found.rows)]
        if any(each.counted or each.others for each in bands):
            drawn.append(chart(f"frame{number}", tag, axis, bands))
    if not drawn:
        return
    yield '<h2>Curves</h2><ul class="legend">'
    for number, row in enumerate(found.rows):
        swatch = f'<svg viewBox="0 0 42 10"><line x1="0" x2="42" y1="5" y2="5" stroke-width="3" {style(number)}/></svg>'
        yield f'<li class="k{number}">{swatch}{html(row.label)}</li>'
    yield f'</ul><div class="charts">{"".join(drawn)}</div>'
    yield (
        '<p class="quiet">The mean of completed runs, one standard deviation shaded; dotted and ended by &#215;: runs '
        "that are not completed. The mouse on a name or a curve brings it out.</p>"
    )


def band(number: int, row: Row, curves: Mapping[Path, Mapping[str, Curve]], tag: str) -> Band:
    there = [(run, curves[run.path][tag]) for run in row.runs if tag in curves.get(run.path, {})]
    done = [curve for run, curve in there if run.status == "completed"]
    return Band(number, clean(row.label), done, [curve for run, curve in there if run.status != "completed"])


# ---- samples


def side_by_side(rows: Sequence[Row]) -> Iterator[str]:
    """The last grid of each row, of one seed, and of the first rows how they came to it."""
    seeds = Counter(run.seed for row in rows for run in {run.seed: run for run in row.runs if run.samples()}.values())
    if not seeds:
        return
    seed = min(seeds, key=lambda each: (-seeds[each], str(each)))
    shown = [(row, chosen) for row in rows if (chosen := with_samples(row, seed)) is not None]
    yield f"<h2>Samples</h2><p class='quiet'>{html(noise(shown, seed))}</p><div class='cards'>"
    films: list[tuple[str, dict[int, Path]]] = []
    for row, run in shown:
        steps = run.samples()
        last = max(steps)
        other = "" if run.seed == seed else f", seed {run.seed}: other noise"
        yield figure(f"{row.label} (step {last}{other})", steps[last])
        if len(steps) > 1 and len(films) < MOST_FILMS:
            films.append((row.label, steps))
    yield "</div>"
    if films:
        yield "<h2>Samples over steps</h2>"
        if len(films) < len(shown):
            yield f"<p class='quiet'>Of the first {len(films)} rows.</p>"
        yield "<div class='films'><table>"
        for label, steps in films:
            frames = (
                f"<td>{image(steps[step])}<span class='quiet'>step {step}</span></td>" for step in evenly(list(steps))
            )
            yield f"<tr><td>{html(label)}</td>{''.join(frames)}</tr>"
        yield "</table></div>"


def with_samples(row: Row, seed: object) -> Record | None:
    able = [run for run in row.runs if run.samples()]
    return min(able, key=lambda run: (run.seed != seed, run.status != "completed"), default=None)


def noise(shown: Sequence[tuple[Row, Record]], seed: object) -> str:
    latents = {key for key in varying([run for _, run in shown]) if key.startswith("model.latent")}
    if latents:
        return f"All of seed {seed}, but not of the same noise: {', '.join(sorted(latents))} differs."
    return f"The same noise everywhere, that of seed {seed}."


def evenly(steps: list[int]) -> list[int]:
    count = min(FRAMES, len(steps))
    return [steps[round(n * (len(steps) - 1) / max(1, count - 1))] for n in range(count)]


def figure(caption: str, path: Path) -> str:
    return f"<figure><figcaption>{html(caption)}</figcaption>{image(path)}</figure>"


def image(path: Path) -> str:
    """The picture within the page: as it is where it is small, else made smaller, in color as JPEG."""
    from PIL import Image

    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content), formats=["PNG"]) as found:
            found.load()
            picture = found.convert("L" if found.mode == "L" else "RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return f"<span class='quiet'>{html(path.name)} is damaged: {html(error)}</span>"
    kind = "png"
    if len(content) > LARGE:
        kind, kept = "png" if picture.mode == "L" else "jpeg", io.BytesIO()
        picture.thumbnail((SIDE, 2 * SIDE))
        picture.save(kept, kind)
        content = kept.getvalue()
    return f'<img alt="" src="data:image/{kind};base64,{base64.b64encode(content).decode()}">'


# ---- sentences about the runs


def verdicts(rows: Sequence[Row]) -> Iterator[str]:
    sentences = [
        ("", [row.label, run.path.name, *(str(each.get(key, "")) for key in ("kind", "since", "sentence"))])
        for row in rows
        for run in row.runs
        for each in run.verdicts()
    ]
    if sentences:
        yield "<h2>Verdicts that stand</h2>"
        yield from html_table(["", "run", "", "since step", ""], sentences)
