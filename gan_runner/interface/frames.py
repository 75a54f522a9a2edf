"""Tables of runs in Python, as pandas frames; nothing that a run folder names is executed."""

import os
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gan_runner.compare import all_records, chosen
from gan_runner.comparison.curves import AXES, read_curves
from gan_runner.comparison.ranking import compare
from gan_runner.comparison.records import Record
from gan_runner.comparison.rows import COLUMNS, Row
from gan_runner.comparison.tables import COSTS, ENVIRONMENT, remarks, scored
from gan_runner.errors import ConfigError, nearest
from gan_runner.records.scores import NETWORKS

if TYPE_CHECKING:
    import pandas as pd

Folders = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def runs(folders: Folders) -> "pd.DataFrame":
    """Returns a row for each run, by its folder: status, choices, cost, environment, scores, and all settings.

    folders: run folders or folders of runs, also as a pattern such as outputs/*.
    """
    import pandas as pd

    records = all_records(listed(folders), warn)
    index = pd.Index([str(record.path) for record in records], name="folder")
    return pd.DataFrame([row_of(record) for record in records], index=index, dtype=object).infer_objects()


def curves(folders: Folders, tag: str, axis: str = "steps") -> "pd.DataFrame":
    """Returns a column for each run with its values of a logged tag; the index is the axis.

    axis: steps, images or seconds. ConfigError if no run has logged the tag.
    """
    import pandas as pd

    if axis not in AXES:
        raise ConfigError(f"axis={axis} is none of {', '.join(AXES)}{nearest(axis, AXES)}.")
    records = all_records(listed(folders), warn)
    names = [record.path.name for record in records]
    columns = {}
    for record, name in zip(records, names, strict=True):
        found = read_curves(record, [tag], warn).get(tag)
        if found is not None and axis in found.x:
            column = name if names.count(name) == 1 else str(record.path)
            columns[column] = pd.Series(found.y, index=pd.Index(found.x[axis], name=axis))
    if not columns:
        known = {key for record in records for key in record.last}
        raise ConfigError(f"no run has logged {tag}{nearest(tag, known)}; there are {', '.join(sorted(known))}.")
    return pd.DataFrame(columns)


def ranking(
    folders: Folders,
    by: str | Sequence[str] = (),
    select: str | None = None,
    split: str | None = None,
    where: Sequence[str] = (),
) -> "pd.DataFrame":
    """Returns the table of `python -m gan_runner.compare`, best first; `attrs["conclusions"]` has its sentences.

    by: settings or groups whose equal values form a row. select, split, where: as the options of the command.
    """
    import pandas as pd

    keys = [by] if isinstance(by, str) else list(by)
    found = compare(chosen(listed(folders), where, warn), keys, select, split)
    name, better = (found.objective.name, found.objective.better) if found.objective is not None else ("", None)
    rows = [ranked(row, found.columns, name, better) for row in found.rows]
    frame = pd.DataFrame(rows, dtype=object).infer_objects()
    frame.attrs["conclusions"] = list(remarks(found))
    return frame


def listed(folders: Folders) -> list[str]:
    return [os.fspath(folders)] if isinstance(folders, str | os.PathLike) else [os.fspath(each) for each in folders]


def warn(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=4)


def row_of(record: Record) -> dict[str, Any]:
    choices = {group: record.hparams[group] for group in COLUMNS if group in record.hparams}
    facts = {"status": record.status, **choices, "hash": record.hash}
    costs = {key: record.number(key) for key in COSTS}
    environment = {key: record.environment(key) or None for key in ENVIRONMENT}
    return facts | costs | environment | scored(record.scores) | record.last | record.flat


def ranked(row: Row, columns: Sequence[str], name: str, better: str | None) -> dict[str, Any]:
    values: dict[str, Any] = {"rank": row.rank, "row": row.label, **{key: row.settings[key] for key in columns}}
    for which in NETWORKS:
        spread = row.values.get(which)
        if spread is not None and spread.values:
            values |= {f"{name} {which}": spread.mean, f"{name} {which} std": spread.std}
    if (best := row.best_average(better)) is not None:
        values |= {"best average": best[0], "best average mean": best[1].mean}
    for key in ("steps", "seconds", "images_per_second", "peak_memory_mb"):
        cost = row.spread(lambda run, key=key: run.number(key)).values  # type: ignore[misc]
        values[key] = sum(cost) / len(cost) if cost else None
    return values | {"n": len(row.counted), "status": row.statuses(), "against": row.against}
