"""Makes deliberate faults, one at a time, and reports whether the tests that should catch each do.

python -m tests.faults                    all of tests/faults_table.py, as a Markdown table
python -m tests.faults --only penalty     those whose file, description or tests contain the word
python -m tests.faults --jobs 4           four at a time, each in a copy of the repository
python -m tests.faults --long             without the filter `not long`
python -m tests.faults --check            only: is every snippet found exactly once?
"""

import argparse
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TextIO

from tests.faults_table import FAULTS, Fault

ROOT = Path(__file__).parents[1]
LIMIT = 600  # seconds that the tests of one fault may take
NOT_CAUGHT = "NOT CAUGHT"


class Result(NamedTuple):
    fault: Fault
    caught_by: str
    seconds: float


def path_of(fault: Fault, root: Path) -> Path:
    """`conf/...` lies beside the package, all else in it."""
    return root / fault.file if fault.file.startswith("conf/") else root / "gan_runner" / fault.file


def problems(faults: Sequence[Fault], root: Path = ROOT) -> list[str]:
    """A sentence for each fault that cannot be made as the table has it."""
    found = []
    for fault in faults:
        path = path_of(fault, root)
        count = path.read_text(encoding="utf-8").count(fault.before) if path.exists() else 0
        if count != 1:
            found.append(f"{fault.file}, {fault.words}: the snippet is there {count} times, and must be once.")
        elif fault.before == fault.after:
            found.append(f"{fault.file}, {fault.words}: before and after are the same text.")
        found += [
            f"{fault.file}, {fault.words}: there is no {name}."
            for name in (argument.split("::")[0] for argument in fault.tests.split())
            if name.startswith("tests/") and not (root / name).exists()
        ]
    return found


def copied(folder: Path) -> Path:
    """A copy of the files that git tracks or would track, as they are in the working tree."""
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@contextmanager
def made(fault: Fault, copy: Path) -> Iterator[None]:
    path = path_of(fault, copy)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(fault.before, fault.after), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(text, encoding="utf-8")


def tested(copy: Path, tests: Sequence[str], long: bool) -> tuple[int, str]:
    """Exit code and output of pytest, up to its first failure."""
    plain = [] if long else ["-m", "not long"]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-rfE", "-p", "no:cacheprovider", *plain, *tests]
    # no bytecode: within a second two texts of one length would share it
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return 1, f"FAILED no end within {LIMIT} s"
    return done.returncode, done.stdout + done.stderr


def first_failure(output: str) -> str:
    found = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", output, re.MULTILINE)
    return found[1] if found else "no test by name"


def tried(fault: Fault, copy: Path, long: bool) -> Result:
    """Exit code 1: a test failed. Others but 0: pytest did not get to the tests, so that the fault is none."""
    began = time.monotonic()
    with made(fault, copy):
        code, output = tested(copy, fault.tests.split(), long)
    caught_by = {0: NOT_CAUGHT, 1: first_failure(output)}.get(code, f"{NOT_CAUGHT}: pytest ended with code {code}")
    return Result(fault, caught_by, time.monotonic() - began)


def all_tried(faults: Sequence[Fault], jobs: int, long: bool) -> list[Result]:
    """Each in one of as many copies as there are jobs."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as workers:
        copies: queue.Queue[Path] = queue.Queue()
        for number in range(jobs):
            copies.put(copied(Path(folder) / f"copy-{number}" / "gan-runner"))

        def work(fault: Fault) -> Result:
            copy = copies.get()
            try:
                result = tried(fault, copy, long)
            finally:
                copies.put(copy)
            say(f"{fault.file}, {fault.words}: {result.caught_by}", sys.stderr)
            return result

        return list(workers.map(work, faults))


def failing_without(faults: Sequence[Fault], long: bool) -> str | None:
    """The first test that fails although there is no fault: it would catch everything."""
    tests = sorted({test for fault in faults for test in fault.tests.split()})
    with tempfile.TemporaryDirectory() as folder:
        code, output = tested(copied(Path(folder) / "gan-runner"), tests, long)
    return None if code == 0 else first_failure(output)


def table(results: Sequence[Result]) -> str:
    lines = ["| file | fault | caught by | seconds |", "|---|---|---|---|"]
    for fault, caught_by, seconds in results:
        name = caught_by.replace("|", "\\|")
        lines.append(f"| {fault.file} | {fault.words} | {name} | {seconds:.0f} |")
    missed = sum(result.caught_by.startswith(NOT_CAUGHT) for result in results)
    return "\n".join([*lines, "", f"{len(results)} faults, {missed} not caught."])


def say(text: str, to: TextIO | None = None) -> None:
    print(text, file=to or sys.stdout, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="part of a file, a description or the tests")
    parser.add_argument("--jobs", type=int, default=1, help="faults at a time")
    parser.add_argument("--long", action="store_true", help="with the long tests too")
    parser.add_argument("--check", action="store_true", help="only check the table")
    asked = parser.parse_args()
    faults = [fault for fault in FAULTS if any(asked.only in text for text in (fault.file, fault.words, fault.tests))]
    wrong = problems(faults)
    if wrong or asked.check or not faults:
        say("\n".join(wrong) or f"{len(faults)} faults can be made.")
        return bool(wrong or not faults)
    failing = failing_without(faults, asked.long)
    if failing is not None:
        say(f"{failing} fails without a fault; repair that first.")
        return 1
    results = all_tried(faults, asked.jobs, asked.long)
    say(table(results))
    return any(result.caught_by.startswith(NOT_CAUGHT) for result in results)


if __name__ == "__main__":
    sys.exit(main())
