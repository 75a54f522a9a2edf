"""What becomes of the jobs of a sweep: noted as they begin, told at its end from their run folders."""

import contextlib
import json
import os
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gan_runner.console import duration
from gan_runner.files import storing, write_atomically
from gan_runner.folder import RunFolder

PLACE = "GAN_RUNNER_SWEEP"  # the variable by which jobs, in whatever process, know where to note themselves
ENDINGS = {2: "refused", 3: "diverged"}  # by exit code; other failures are just that


class Job(NamedTuple):
    """One of a sweep, as far as it came."""

    number: int
    status: str
    folder: RunFolder | None
    summary: Mapping[str, Any]
    sentence: str  # why it failed


@contextlib.contextmanager
def followed(outputs: Path) -> Iterator[None]:
    """Around what may be a sweep: tells at the end what became of each job that has begun."""
    if not {"-m", "--multirun"} & set(sys.argv[1:]):
        yield
        return
    place = (outputs / ".sweeps" / uuid.uuid4().hex).absolute()
    os.environ[PLACE] = str(place)
    try:
        yield
    finally:
        del os.environ[PLACE]
        found = jobs(place)
        for line in table(found):
            print(line, flush=True)
        shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def noted(number: int) -> Iterator[None]:
    """Around a job of a sweep."""
    note(number)
    try:
        yield
    except BaseException as error:
        code = getattr(error, "exit_code", 1)
        status = "interrupted" if code > 128 or isinstance(error, KeyboardInterrupt) else ENDINGS.get(code, "failed")
        note(number, status=status, sentence=str(error).split("\n")[0])
        raise


def note(number: int, **facts: Any) -> None:
    """Adds to what is known of a job."""
    if PLACE not in os.environ:
        return
    path = Path(os.environ[PLACE]) / f"{number}.json"
    with storing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        known = {**(json.loads(path.read_text()) if path.exists() else {}), **facts}
        write_atomically(path, lambda file: file.write(json.dumps(known).encode()))


def jobs(place: Path) -> list[Job]:
    """In their order."""
    return [job(int(path.stem), json.loads(path.read_text())) for path in sorted(place.glob("*.json"), key=in_order)]


def in_order(path: Path) -> int:
    return int(path.stem)


def job(number: int, known: Mapping[str, Any]) -> Job:
    folder = RunFolder(Path(known["folder"])) if "folder" in known else None
    summary = folder.read_summary() if folder is not None else {}
    status = known.get("status") or (folder.status() if folder is not None else None) or "killed"
    return Job(number, status, folder, summary, known.get("sentence", ""))


def table(found: Sequence[Job]) -> Iterator[str]:
    """A line a job, after how many ended how."""
    if not found:
        return
    counts = {status: sum(each.status == status for each in found) for status in dict.fromkeys(j.status for j in found)}
    yield f"{len(found)} jobs: {', '.join(f'{count} {status}' for status, count in counts.items())}"
    rows = [cells(each) for each in found]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        yield "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()


def cells(each: Job) -> list[str]:
    """Number, status, how far, the value that selects, and the folder or what went wrong."""
    best = each.summary.get("metrics", {}).get("best", {})
    by = best.get("select_by")
    value = best.get("validation", {}).get(by) if by else None
    steps = f"{each.summary['steps']} steps in {duration(each.summary['seconds'])}" if "steps" in each.summary else ""
    said = f"{by} {value:.5g}" if value is not None else ""
    where = os.path.relpath(each.folder.path) if each.folder is not None else ""
    return [f"#{each.number}", each.status, steps, said, each.sentence or where]
