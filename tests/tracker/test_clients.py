"""The real clients of trackers hold each step once, after a kill, a rollback and a resume, and rising.

They are no part of `make install`: pip install wandb mlflow.
"""

import json
import re
import shlex
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Command
from tests.tracker.recording import HERE, SHORT, logged

pytestmark = pytest.mark.long

RUN = Path("outputs/run")
PAGE = (Path(__file__).parents[2] / "docs" / "trackers.md").read_text()
COMMANDS = re.findall(r"^python -m gan_runner (.*)$", PAGE, re.MULTILINE)


def needs(name: str) -> Any:
    return pytest.importorskip(name, reason=f"{name} is not installed: pip install {name}")


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_page_runs(command: Command, line: str):
    for name in ("wandb", "mlflow"):
        if f"tracker={name}" in line:
            needs(name)
    Path("mymodule.py").write_text(f"from {HERE} import Recorder\n\n\nclass MyTracker(Recorder):\n    pass\n")
    answer = command(*SHORT, *shlex.split(line))
    assert answer.code == 0, answer.err
    assert "training goes on" not in answer.out
    assert json.loads((RUN / "tracker.json").read_text()).popitem()[1]["sent"] == 20


def suffer(folder: Path, *overrides: str) -> None:
    """Trains to a kill, on to a rollback, to the end, and then further."""
    arguments = [*SHORT, "train.on_divergence=rollback", "train.total_steps=21", *overrides]
    codes = []
    for event, step in (("kill", "15"), ("diverge", "17"), ("diverge", "100")):
        longer = ["train.total_steps=30"] * (step == "100")
        done = subprocess.run([sys.executable, "-m", HERE, event, step, *arguments, *longer], check=False)
        codes.append(done.returncode)
    assert codes == [-signal.SIGKILL, 0, 0]
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["status"], summary["steps"], summary["rollbacks"]) == ("completed", 30, 1)


STEPS = [*range(2, 21, 2), 21, *range(22, 31, 2)]  # 21 is the last line of the shorter run


def check_values(folder: Path, steps: dict[int, float], tag: str) -> None:
    """The values are those of the log, which has dropped the last line of the shorter run."""
    found = logged(folder)
    assert {step: value for step, value in steps.items() if step != 21} == {
        step: values[tag] for step, values in found.items()
    }


def test_mlflow_has_each_step_once(in_tmp: Path):
    needs("mlflow")
    from mlflow import MlflowClient

    folder = Path("outputs/trouble/run")
    suffer(folder, "tracker=mlflow", "study=trouble")
    client = MlflowClient(tracking_uri="sqlite:///outputs/mlflow.db")
    experiment = client.get_experiment_by_name("trouble")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    assert (run.data.params["loss"], run.data.params["train.batch_size"]) == ("gan", "16")
    history = client.get_metric_history(run.info.run_id, "loss/generator")
    assert [metric.step for metric in history] == STEPS
    check_values(folder, {metric.step: metric.value for metric in history}, "loss/generator")
    for tag in run.data.metrics:
        steps = [metric.step for metric in client.get_metric_history(run.info.run_id, tag)]
        assert len(steps) == len(set(steps)), tag


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_mlflow_has_a_run_for_each_job_of_a_sweep(in_tmp: Path, launcher: str):
    needs("mlflow")
    from mlflow import MlflowClient

    short = [word for word in SHORT if not word.startswith("name=")]
    sweep = ["-m", *short, "loss=gan,hinge", "seed=0,1", "study=two", "tracker=mlflow", f"hydra/launcher={launcher}"]
    done = subprocess.run([sys.executable, "-m", "gan_runner", *sweep], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "training goes on" not in done.stdout
    client = MlflowClient(tracking_uri="sqlite:///outputs/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("two").experiment_id])
    assert sorted((run.data.params["loss"], run.data.params["seed"]) for run in runs) == [
        *(("gan", "0"), ("gan", "1"), ("hinge", "0"), ("hinge", "1"))
    ]
    for run in runs:
        steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "loss/generator")]
        assert steps == list(range(2, 21, 2))


def test_a_server_that_is_away_is_one_warning(command: Command, monkeypatch: pytest.MonkeyPatch):
    needs("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    answer = command(*SHORT, "tracker=mlflow", "tracker.uri=http://127.0.0.1:9")
    assert answer.code == 0, answer.err
    assert answer.out.count("training goes on") == 1
    assert command(*SHORT, "tracker=mlflow", "train.total_steps=22").code == 0
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri="sqlite:///outputs/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("gan_runner").experiment_id])
    history = client.get_metric_history(run.info.run_id, "loss/generator")
    assert [metric.step for metric in history] == list(range(2, 23, 2))


def contents(log: bytes) -> Iterator[bytes]:
    """Yields the records of a file in LevelDB's log format: blocks of 32 KiB, and chunks with a header of 7 bytes."""
    block, header, place, parts = 32768, 7, 7, b""
    while place + header <= len(log):
        if block - place % block < header:  # the rest of a block is empty
            place += block - place % block
            continue
        _, size, kind = struct.unpack("<IHB", log[place : place + header])
        parts += log[place + header : place + header + size]
        place += header + size
        if kind in (1, 4) and place <= len(log):  # a whole record, or the last part of one
            yield parts
            parts = b""


def recorded_by_wandb() -> list[tuple[str, list[dict[str, Any]]]]:
    """Returns the id and the rows of history of each folder, as `wandb sync` would send them."""
    from wandb.proto.wandb_internal_pb2 import Record

    found = []
    for file in sorted(RUN.glob("wandb/offline-run-*/run-*.wandb")):
        rows, id = [], ""
        for content in contents(file.read_bytes()):
            record = Record.FromString(content)
            if record.HasField("run"):
                id = record.run.run_id
            if record.HasField("history"):
                items = record.history.item
                rows.append({item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items})
        found.append((id, rows))
    return found


def test_wandb_has_rising_steps_and_one_id(in_tmp: Path):
    needs("wandb")
    suffer(RUN, "tracker=wandb")
    found = recorded_by_wandb()
    assert len(found) == 3
    assert {id for id, _ in found} == {json.loads((RUN / "tracker.json").read_text())["wandb"]["id"]}
    rows = [row for _, session in found for row in session]
    assert [row["_step"] for row in rows] == STEPS
    check_values(RUN, {row["_step"]: row["loss/generator"] for row in rows}, "loss/generator")
    for log in RUN.glob("wandb/offline-run-*/logs/*.log"):
        assert '"WARN' not in log.read_text()
        assert "WARNING" not in log.read_text()


def test_wandb_online_without_a_login_is_one_warning(command: Command, monkeypatch: pytest.MonkeyPatch):
    needs("wandb")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", "none")
    answer = command(*SHORT, "tracker=wandb", "tracker.mode=online")
    assert answer.code == 0, answer.err
    assert answer.out.count("no login; `wandb login` stores a key; training goes on") == 1
