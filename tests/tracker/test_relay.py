"""A tracker gets each step once, in rising order, and never one that a resume or a rollback supersedes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from gan_runner.cli.compose import compose
from gan_runner.protocols import Tracked
from gan_runner.records.folder import RunFolder
from gan_runner.records.identity import identity
from gan_runner.tracker.relay import Relay
from gan_runner.training.run import Run
from tests.conftest import Command, metrics
from tests.tracker.recording import HERE, SHORT, Recorder, diverging_at, during, logged, recorded

RECORDER = f"tracker={{_target_:{HERE}.Recorder}}"
RUN = Path("outputs/run")


def sent() -> list[dict[str, Any]]:
    return [line for line in recorded() if "step" in line]


def check_all_sent(steps: range = range(2, 21, 2)) -> None:
    lines, found = sent(), logged(RUN)
    assert [line["step"] for line in lines] == list(steps)
    assert {line["step"]: line["values"] for line in lines} == {step: found[step] for step in steps}


def test_all_lines_arrive_and_evaluations_belong_to_their_step(command: Command):
    answer = command(*SHORT, f"+{RECORDER}", "metric=pixel_fid", "metric.n_fake=100", "train.evaluate_every=6")
    assert answer.code == 0, answer.err
    check_all_sent()
    values = {line["step"]: line["values"] for line in sent()}
    assert [step for step in values if "metric/pixel_fid" in values[step]] == [6, 12, 18, 20]
    assert recorded()[-1] == {"closed": "completed"}


def test_a_line_is_sent_when_a_checkpoint_is_at_or_after_its_step(command: Command, monkeypatch: pytest.MonkeyPatch):
    seen: dict[int, list[int]] = {}

    def look(run: Run) -> None:
        seen[run.clock.steps] = [line["step"] for line in sent()]

    monkeypatch.setattr(Run, "step", during(look))
    assert command(*SHORT, f"+{RECORDER}").code == 0
    assert seen[5] == []
    assert seen[6] == [2, 4]  # an evaluation of step 6 could still follow
    assert seen[11] == [2, 4]
    assert seen[12] == [2, 4, 6, 8, 10]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT], ids=lambda signum: signum.name)
def test_a_stop_and_a_resume(command: Command, monkeypatch: pytest.MonkeyPatch, signum: signal.Signals):
    def stop(run: Run) -> None:
        if run.clock.steps == 9:
            os.kill(os.getpid(), signum)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "step", during(stop))
        assert command(*SHORT, f"+{RECORDER}").code == 128 + signum
    signal.signal(signal.SIGINT, before)
    assert [line["step"] for line in sent()] == [2, 4, 6, 8, 10]
    assert recorded()[-1] == {"closed": "interrupted"}
    assert command(*SHORT, f"+{RECORDER}").code == 0
    check_all_sent()
    first, second = (line["opened"] for line in recorded() if "opened" in line)
    assert first == second


def test_a_rollback(command: Command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Run, "step", during(diverging_at(10)))
    answer = command(*SHORT, f"+{RECORDER}", "train.on_divergence=rollback")
    assert answer.code == 0, answer.err
    assert "Rolled back to step 6" in answer.out
    check_all_sent()


@pytest.mark.long
@pytest.mark.parametrize("at", [5, 6, 7, 13, 19])
def test_a_kill(command: Command, at: int):
    arguments = [*SHORT, f"+{RECORDER}"]
    done = subprocess.run([sys.executable, "-m", HERE, "kill", str(at), *arguments], check=False)
    assert done.returncode == -signal.SIGKILL
    before = [line["step"] for line in sent()]
    assert all(step < at for step in before)
    assert command(*arguments).code == 0
    check_all_sent()


@pytest.mark.parametrize("arrived", [True, False])
def test_a_step_that_was_being_sent_when_the_process_ended(tmp_path: Path, arrived: bool):
    (tmp_path / "metrics.jsonl").write_text("".join(f'{{"step": {step}, "loss": {step}.5}}\n' for step in (2, 4, 6)))
    (tmp_path / "tracker.json").write_text(json.dumps({"recorder": {"id": "abc", "sent": 2, "sending": 4}}))
    tracker = Recorder(str(tmp_path / "sent.jsonl"))
    if arrived:
        tracker.record(step=4, values={"loss": 4.5})
    relay = Relay(tracker, Tracked("run", None, tmp_path, {}))
    tracker.open = lambda id, about: None  # type: ignore[method-assign]
    relay.open(6)
    relay.send(6)
    assert [line["step"] for line in recorded(tmp_path / "sent.jsonl")] == [4, 6]
    assert json.loads((tmp_path / "tracker.json").read_text())["recorder"] == {"id": "abc", "sent": 6, "sending": -1}


def test_an_incomplete_line_waits_and_what_is_no_number_is_left_out(tmp_path: Path):
    lines = '{"step": 2, "loss": 1, "bad": null, "protocol": {"a": 1}, "on": true}\n{"step": 4, "lo'
    (tmp_path / "metrics.jsonl").write_text(lines)
    tracker = Recorder(str(tmp_path / "sent.jsonl"))
    tracker.open = lambda id, about: None  # type: ignore[method-assign]
    relay = Relay(tracker, Tracked("run", None, tmp_path, {}))
    relay.open(0)
    relay.send(4)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('ss": 3}\n')
    relay.send(4)
    assert recorded(tmp_path / "sent.jsonl") == [
        {"step": 2, "values": {"loss": 1.0}},
        {"step": 4, "values": {"loss": 3.0}},
    ]


def test_an_outage_is_one_warning_and_changes_no_bit(command: Command):
    assert command(*SHORT, "name=plain").code == 0
    answer = command(*SHORT, f"+tracker={{_target_:{HERE}.Recorder,fails_at:4}}")
    assert answer.code == 0, answer.err
    assert answer.out.count("tracker=recorder: the server is away; training goes on") == 1
    assert metrics(RunFolder(RUN)) == metrics(RunFolder(Path("outputs/plain")))
    check_all_sent()  # at the end


@pytest.mark.parametrize("method", ["open", "send", "close", "holds"])
def test_no_failure_of_a_tracker_ends_a_training(command: Command, monkeypatch: pytest.MonkeyPatch, method: str):
    def fail(*arguments: Any) -> None:
        raise OSError(28, "no space left")

    monkeypatch.setattr(Recorder, method, fail)
    answer = command(*SHORT, f"+{RECORDER}")
    assert answer.code == 0, answer.err
    assert answer.out.count("training goes on") == (method != "holds")


def test_the_id_stays_until_the_run_starts_over(command: Command):
    def ids() -> list[str]:
        return [line["opened"] for line in recorded() if "opened" in line]

    assert command(*SHORT, f"+{RECORDER}").code == 0
    assert command(*SHORT, f"+{RECORDER}", "train.total_steps=24").code == 0
    assert len(set(ids())) == 1
    check_all_sent(range(2, 25, 2))
    assert command(*SHORT, f"+{RECORDER}", "train.fresh=true").code == 0
    assert len(set(ids())) == 2


def test_a_tracker_that_joins_later_gets_all_lines(command: Command):
    assert command(*SHORT, "train.total_steps=10").code == 0
    assert not (RUN / "tracker.json").exists()
    assert command(*SHORT, f"+{RECORDER}").code == 0
    check_all_sent()


def test_steps_that_are_trained_again_after_the_loss_of_a_checkpoint_are_reported(command: Command):
    assert command(*SHORT, f"+{RECORDER}").code == 0
    (RUN / "checkpoints" / "step-00000020.pt").write_bytes(b"damaged")
    summary = json.loads((RUN / "summary.json").read_text())
    (RUN / "summary.json").write_text(json.dumps({**summary, "status": "running"}))
    answer = command(*SHORT, f"+{RECORDER}", "train.total_steps=24")
    assert answer.code == 0, answer.err
    assert "steps 18 to 20 are trained again, and recorder keeps the first" in answer.out
    assert [line["step"] for line in sent()] == list(range(2, 25, 2))


def test_a_sweep_has_a_run_for_each_job(command: Command):
    short = [word for word in SHORT if not word.startswith("name=")]
    answer = command("-m", *short, "seed=0,1", "study=two", f"+{RECORDER}")
    assert answer.code == 0, answer.err
    opened = [line for line in recorded() if "opened" in line]
    assert len({line["opened"] for line in opened}) == 2
    assert {line["study"] for line in opened} == {"two"}
    assert len({line["name"] for line in opened}) == 2


# ---- the settings


def test_the_tracker_is_no_part_of_the_run(command: Command):
    short = [word for word in SHORT if not word.startswith("name=")]
    plain = compose(short)
    tracked = {**plain, "tracker": {"_target_": "gan_runner.tracker.wandb.Wandb", "project": "mine"}}
    older = {key: value for key, value in plain.items() if key != "tracker"}
    assert identity(plain) == identity(tracked) == identity(older)
    assert command(*short).code == 0
    (folder,) = Path("outputs").iterdir()
    stored = yaml.safe_load((folder / "config.yaml").read_text())
    del stored["tracker"]  # as in an older folder
    (folder / "config.yaml").write_text(yaml.safe_dump(stored))
    answer = command(*short, f"+tracker={{_target_:{HERE}.Recorder,file:other.jsonl}}")
    assert f"{folder} is finished" in answer.out, answer
    assert list(Path("outputs").iterdir()) == [folder]


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        pytest.param(["tracker=wandb"], "tracker=wandb needs the package wandb, which is not installed", id="wandb"),
        pytest.param(["tracker=mlflow"], "tracker=mlflow needs the package mlflow, which is not", id="mlflow"),
        pytest.param(["tracker=tensorboard"], "tracker/tensorboard", id="unknown"),
        pytest.param(["tracker.project=x"], "is a setting of tracker=wandb, which was not chosen", id="not chosen"),
        pytest.param(["+tracker={_target_:torch.nn.Identity}"], "Identity is no tracker", id="no tracker"),
        pytest.param(["tracker=wandb", "tracker.mode=disabled"], "mode='disabled' is none of offline", id="mode"),
    ],
)
def test_a_mistake_is_a_sentence_before_the_folder_is_made(
    command: Command, monkeypatch: pytest.MonkeyPatch, typed: list[str], sentence: str
):
    monkeypatch.setattr("gan_runner.storage.packages.find_spec", lambda name: None)
    answer = command(*SHORT, *typed)
    assert answer.code == 2
    assert sentence in answer.err
    assert len(answer.err.strip().splitlines()) == 1
    assert not Path("outputs").exists()


def test_a_damaged_state_is_a_sentence(command: Command):
    assert command(*SHORT, f"+{RECORDER}").code == 0
    (RUN / "tracker.json").write_text("{")
    answer = command(*SHORT, f"+{RECORDER}", "train.total_steps=24")
    assert answer.code == 2
    assert "tracker.json is damaged; remove it, and recorder begins a new run" in answer.err
