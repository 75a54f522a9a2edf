"""Output to a terminal, a full device, closed streams and a closed pipe."""

import io
import logging
import multiprocessing
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gan_runner.records.console import LogHandler, Progress, Terminal, lines_of_run, table
from gan_runner.training.interrupt import Interrupt
from tests.conftest import SMALL

RECORD = logging.LogRecord("gan_runner", logging.INFO, "", 0, "a line", (), None)


class Refusing(io.StringIO):
    """A stream that nothing can be written to."""

    def __init__(self, error: OSError):
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), OSError(5, "Input/output error")])
def test_what_cannot_be_printed_is_left_out(monkeypatch: pytest.MonkeyPatch, error: OSError):
    console = LogHandler()
    monkeypatch.setattr(sys, "stdout", Refusing(error))
    console.emit(RECORD)
    console.emit(RECORD)


def test_a_stream_that_was_closed_before_the_start_is_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdout", None)
    LogHandler().emit(RECORD)


def test_a_reader_that_leaves_asks_a_training_to_stop_and_ends_anything_else(monkeypatch: pytest.MonkeyPatch):
    console = LogHandler()
    monkeypatch.setattr(sys, "stdout", Refusing(BrokenPipeError(32, "Broken pipe")))
    with Interrupt() as interrupt:
        console.emit(RECORD)
        assert interrupt.signum == signal.SIGPIPE
    with pytest.raises(BrokenPipeError):
        console.emit(RECORD)


def test_a_closed_terminal_asks_to_stop_unless_nohup_ignores_it():
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup themselves
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGHUP)
        assert interrupt.signum == signal.SIGHUP
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGHUP)
        assert interrupt.signum is None
    signal.signal(signal.SIGHUP, before)


def test_a_worker_of_a_parallel_sweep_names_the_run_in_every_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(multiprocessing.current_process(), "_name", "LokyProcess-1")
    console, logger = LogHandler(), logging.getLogger("gan_runner.test")
    monkeypatch.setattr(logging.getLogger(), "handlers", [console])
    logger.warning("before")
    with lines_of_run("seed=1"):
        logger.warning("the first line")
        logger.warning("the second", extra={"progress": Progress(0.5, ["step 1"])})
    logger.warning("after")
    assert capsys.readouterr().out == "before\nseed=1  the first line\nseed=1  the second\nafter\n"


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


LINE = logging.LogRecord("gan_runner", logging.INFO, "", 0, "step 1200  24 %  38 s left  D 1.2", (), None)
LINE.progress = Progress(0.24, ["step 1200", "24 %", "38 s left", "12800 images/s", "D 1.2", "G 0.9"])


@pytest.mark.parametrize(("columns", "shown"), [(60, 4), (100, 6), (200, 6)])
def test_a_terminal_has_one_live_line_that_fits(monkeypatch: pytest.MonkeyPatch, columns: int, shown: int):
    monkeypatch.setattr(sys, "stdout", screen := Screen())
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    handler = LogHandler()
    for record in (LINE, LINE, RECORD):
        handler.emit(record)
    first, second, last = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue()).split("\r\x1b[2K")
    assert first == second
    assert len(first.rstrip()) < columns
    assert re.sub(r"\s*[━─]+\s*", "  ", first).split("  ") == LINE.progress.fields[:shown]
    assert last == "a line\n"


@pytest.mark.parametrize("stream", [io.StringIO, Screen], ids=["a pipe", "a dumb terminal"])
def test_elsewhere_lines_are_plain_and_whole(monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO]):
    monkeypatch.setattr(sys, "stdout", screen := stream())
    monkeypatch.setenv("TERM", "dumb")
    text = f"[a long] line: {':smile:':300}."
    record = logging.LogRecord("gan_runner", logging.WARNING, "", 0, text, (), None)
    for each in (LINE, record):
        LogHandler().emit(each)
    assert screen.getvalue() == f"{LINE.getMessage()}\n{record.getMessage()}\n"


def test_a_table_has_the_width_of_its_content_and_no_spaces_at_the_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdout", screen := io.StringIO())
    Terminal().show(table(("name", "n", "why"), [("[a]", 1, "x" * 150), ("b" * 9, 22, "")], numbers=("n",)))
    assert screen.getvalue().splitlines() == [
        "name        n  why",
        f"[a]         1  {'x' * 150}",
        "bbbbbbbbb  22",
    ]


BEGUN = "until grep -qs 'step 5 ' outputs/a/train.log; do sleep 0.1; done"
ENDS = {  # how a shell runs it -> exit code, steps
    "a reader that leaves": ("{} | head -n 9; exit ${{PIPESTATUS[0]}}", 128 + signal.SIGPIPE, range(1, 400)),
    "a full device": ("{} > /dev/full", 0, [400]),
    "closed streams": ("{} >&- 2>&- <&-", 0, [400]),
    "a closed terminal": (f"{{}} > out & {BEGUN}; kill -HUP $!; wait $!", 128 + signal.SIGHUP, range(1, 100_000)),
    "a closed terminal under nohup": (f"nohup {{}} > out 2>&1 & {BEGUN}; kill -HUP $!; wait $!", 0, [400]),
}


@pytest.mark.long
@pytest.mark.parametrize(("shell", "code", "steps"), ENDS.values(), ids=ENDS)
def test_nothing_is_lost_with_the_output(tmp_path: Path, shell: str, code: int, steps: range | list[int]):
    total = 100_000 if code == 128 + signal.SIGHUP else 400
    typed = [*SMALL, f"train.total_steps={total}", "train.log_every=5", "train.checkpoint_every=100000", "name=a"]
    command = " ".join([sys.executable, "-m", "gan_runner", *(f"'{word}'" for word in typed)])
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a shell passes on what is ignored, as under nohup
    done = subprocess.run(["bash", "-c", shell.format(command)], cwd=tmp_path, env=env, capture_output=True, text=True)
    signal.signal(signal.SIGHUP, before)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    saved = sorted((tmp_path / "outputs" / "a" / "checkpoints").glob("step-*.pt"))
    assert int(saved[-1].stem.split("-")[1]) in steps
    assert "step 5 " in (tmp_path / "outputs" / "a" / "train.log").read_text()


@pytest.mark.long
@pytest.mark.parametrize(
    "typed", ["networks", "data", "benchmark --seconds 0.1 --repeats 1", "networks --help", "data --cfg job"]
)
def test_a_command_ends_in_silence_when_its_reader_does(tmp_path: Path, typed: str):
    command = f"{sys.executable} -m gan_runner.{typed} device=cpu"
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    line = ["bash", "-c", f"{command} | true; exit ${{PIPESTATUS[0]}}"]
    done = subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")
