"""The command line, mostly in one process, some of it as real commands."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from joblib import cpu_count
from tensorboard.backend.application import TensorBoardWSGIApp
from tensorboard.backend.event_processing.data_ingester import LocalDataIngester
from tensorboard.program import TensorBoard
from werkzeug.test import Client

from gan_runner.main import is_finished, main
from gan_runner.records.folder import RunFolder
from gan_runner.training.run import Run
from tests.conftest import SMALL, Command, configure, some

LONG = pytest.mark.long
TINY = (*SMALL, "train.total_steps=1")


def names(folder: str = "outputs") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir() if not path.name.startswith("."))


def named(*overrides: str) -> tuple[str, ...]:
    """Overrides that change no result, so that a name shows what is looked at."""
    return ("train.total_steps=1", "device=cpu", *overrides)


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "default"),
        pytest.param(["seed=0"], "default", marks=LONG),
        pytest.param(["loss=gan"], "default", marks=LONG),
        (["train.log_every=7", "train.grid=4", "dataset.root=/x"], None),
        pytest.param(["device=auto", "device.kind=cpu"], "default", marks=LONG),
        pytest.param(["loss=wgan", "optimizer=rmsprop"], "loss=wgan", marks=LONG),
        pytest.param(["seed=1", "loss=wgan_gp"], "loss=wgan_gp,seed=1", marks=LONG),
        (["loss=wgan_gp", "seed=1"], "loss=wgan_gp,seed=1"),
        (["optimizer.lr=1e-4"], "optimizer.lr=0.0001"),
        pytest.param(["optimizer.lr=0.0001"], "optimizer.lr=0.0001", marks=LONG),
        pytest.param(["optimizer.lr=1E-4"], "optimizer.lr=0.0001", marks=LONG),
        pytest.param(["optimizer.lr=2e-4"], "default", marks=LONG),
        pytest.param(["train.ema_half_life_images=10000.0"], "default", marks=LONG),
        (["seed=0", "seed=4"], "seed=4"),
        (["model.generator.widths=[8,8]"], "model.generator.widths=%5B8,8%5D"),
        pytest.param(["model.generator.widths=[8, 8]"], "model.generator.widths=%5B8,8%5D", marks=LONG),
        pytest.param(["device.precision=bf16"], "device.precision=bf16", marks=LONG),
        pytest.param(
            ["optimizer.schedule.warmup_steps=5"], "optimizer.schedule.warmup_steps=5", marks=pytest.mark.long
        ),
        pytest.param(["train.batch_size=32"], "train.batch_size=32", marks=LONG),
        pytest.param(["loss=wgan_gp", "loss.penalties.gradient.weight=10"], "loss=wgan_gp", marks=LONG),
        (["loss=wgan_gp", "loss.penalties.gradient.weight=1"], "loss.penalties.gradient.weight=1,loss=wgan_gp"),
        (["name=mine"], "mine"),
        (["++train.accumulate=2"], "train.accumulate=2"),
        pytest.param(["train={batch_size:32}"], "train.batch_size=32", marks=LONG),
        (["optimizer={lr:1e-4,betas:[0.5,0.999]}"], "optimizer.lr=0.0001"),
        pytest.param(["model.latent={distribution:'uniform'}"], "model.latent.distribution=uniform", marks=LONG),
        (
            ["+loss.penalties.r1._target_=gan_runner.loss.penalty.GradientPenalty", "model.discriminator.norm=layer"],
            None,
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_name_is_what_was_typed_without_what_changes_nothing(
    command: Command, monkeypatch: pytest.MonkeyPatch, overrides: list[str], name: str | None
):
    trained: list[str] = []
    monkeypatch.setattr("gan_runner.main.train", lambda folder, *rest: trained.append(folder.path.name))
    answer = command(*named(*overrides))
    if "dataset.root=/x" in overrides:
        assert answer.code == 2  # digits have no root
        return
    assert answer.code == 0, answer.err
    if name is None:
        name = "loss.penalties.r1._target_=gan_runner.loss.penalty.GradientPenalty,model.discriminator.norm=layer"
    assert trained == [name]


def test_a_run_is_finished_once_and_goes_on_when_more_is_asked(command: Command):
    assert command(*TINY, "name=run").code == 0
    again = command(*TINY, "name=run")
    assert again.code == 0
    assert "finished" in again.out
    longer = command(*SMALL, "name=run", "train.total_steps=3")
    assert longer.code == 0
    assert "going on from step 1" in longer.out
    assert json.loads(Path("outputs/run/summary.json").read_text())["steps"] == 3


def test_fresh_starts_over(command: Command):
    for _ in range(2):
        assert command(*TINY, "name=run", "train.fresh=true").code == 0
    assert names() == ["run"]
    assert names("outputs/.old") == ["run-1"]


def test_another_configuration_under_one_name_is_refused(command: Command):
    assert command(*TINY, "name=run").code == 0
    answer = command(*TINY, "name=run", "seed=1", "optimizer.lr=1e-3")
    assert answer.code == 2
    for word in ("outputs/run", "seed was 0, now 1", "optimizer.lr was 0.0002, now 0.001", "train.fresh=true"):
        assert word in answer.err


def test_a_sweep_makes_a_folder_for_each_job(command: Command):
    answer = command("-m", *TINY, "loss=gan,wgan_gp", "study=first")
    assert answer.code == 0, answer.err
    shared = "model.discriminator.widths=%5B16,16%5D,model.generator.widths=%5B16,16%5D,model.latent.dim=8"
    end = ",train.batch_size=16"
    assert names("outputs/first") == sorted(
        [
            f"{shared}{end}",
            f"loss=wgan_gp,{shared}{end}",
        ]
    )
    assert "2 jobs: 2 completed" in answer.out
    again = command("-m", *TINY, "loss=gan,wgan_gp", "study=first")
    assert again.out.count("is finished") == 2
    assert "2 jobs: 2 finished before" in again.out
    assert names("outputs/.sweeps") == ["multirun.yaml"]


def test_a_job_that_fails_does_not_take_the_others_with_it(command: Command):
    answer = command("-m", *TINY, "loss=wgan_gp", "model.discriminator.norm=none,batch,layer")
    assert answer.code == 2
    assert "model.discriminator.norm=layer (or none)" in answer.err
    assert len(names()) == 2


def signalled(run: Run, step: Callable[[Run], dict] = Run.step) -> dict:
    os.kill(os.getpid(), signal.SIGTERM)
    return step(run)


def test_a_signal_stops_a_sweep_and_leaves_the_rest_to_the_next_call(command: Command, monkeypatch):
    sweep = ("-m", *SMALL, "train.total_steps=3", "seed=0,1", "study=s")
    with monkeypatch.context() as patched:
        patched.setattr(Run, "step", signalled)
        answer = command(*sweep)
    assert answer.code == 128 + signal.SIGTERM
    assert "stopped by SIGTERM at step 1" in answer.err
    assert len(names("outputs/s")) == 1
    answer = command(*sweep)
    assert answer.code == 0
    assert "going on from step 1" in answer.out
    assert len(names("outputs/s")) == 2


def test_a_file_in_the_place_of_the_folder_is_told(command: Command, in_tmp: Path):
    (in_tmp / "outputs").mkdir()
    (in_tmp / "outputs" / "taken").write_text("a file")
    answer = command(*TINY, "name=taken")
    assert (answer.code, "outputs/taken cannot be made" in answer.err) == (2, True)
    (in_tmp / "outputs" / "taken").unlink()
    (in_tmp / "outputs").rmdir()
    (in_tmp / "outputs").write_text("a file")
    assert command(*TINY).code == 2


def test_a_configuration_that_is_no_yaml_is_told(command: Command, in_tmp: Path):
    (in_tmp / "mine" / "loss").mkdir(parents=True)
    (in_tmp / "mine" / "loss" / "broken.yaml").write_text("a: [1, 2")
    (in_tmp / "mine" / "loss" / "empty.yaml").write_text("")
    assert command("--config-dir", "mine", "loss=broken", *TINY).code == 2
    answer = command("--config-dir", "mine", "loss=empty", *TINY)
    assert (answer.code, "loss._target_ is missing" in answer.err) == (2, True)


def test_a_study_is_not_put_into_a_run(command: Command):
    assert command(*TINY, "name=run").code == 0
    answer = command(*TINY, "study=run", "name=other")
    assert (answer.code, "study=run is the name of a run" in answer.err) == (2, True)


def test_a_penalty_is_switched_off_by_null(command: Command):
    answer = command(*TINY, "loss=wgan_gp", "loss.penalties.gradient=null", "name=run")
    assert answer.code == 0, answer.err
    assert "penalty/gradient" not in json.loads(Path("outputs/run/summary.json").read_text())["last"]


def test_a_sweep_ends_with_what_became_of_each_job(command: Command):
    rates = "optimizer.lr=1e-4,-1,1e18"
    answer = command("-m", *SMALL, "loss=wgan_gp", rates, "train.total_steps=30", "train.log_every=1", "study=s")
    assert answer.code == 2  # that of the first that failed
    table = answer.out[answer.out.index("3 jobs: 1 completed, 1 refused, 1 diverged") :].splitlines()
    assert table[1].split() == ["job", "status", "steps", "time", "folder", "reason"]
    del table[1]
    assert [line.split()[:2] for line in table[1:4]] == [["0", "completed"], ["1", "refused"], ["2", "diverged"]]
    assert table[1].split()[2] == "30"
    assert "optimizer.generator.lr=-1" in table[2]
    assert "training diverged" in table[3]


def test_every_failed_job_of_a_sweep_is_told(command: Command):
    answer = command("-m", *TINY, "seed=0,a,b")
    assert answer.code == 2
    for seed in "ab":
        assert f"seed='{seed}' should be a whole number" in answer.out
    assert len(names()) == 1


def test_divergence_has_an_exit_code_of_its_own(command: Command):
    answer = command(*SMALL, "loss=wgan_gp", "optimizer.lr=1e18", "train.total_steps=50", "train.log_every=1")
    assert answer.code == 3
    assert "training diverged" in answer.err
    assert len(answer.err.strip().splitlines()) == 1


def test_a_bug_shows_its_traceback(command: Command, monkeypatch: pytest.MonkeyPatch):
    def broken(run: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("gan_runner.training.run.Run.step", broken)
    with pytest.raises(ZeroDivisionError):
        command(*TINY, "name=run")
    assert json.loads(Path("outputs/run/summary.json").read_text())["status"] == "failed"


def test_who_asks_for_the_traceback_gets_it(command: Command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["gan_runner", "name=../x"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(Exception, match="is no folder name"):
        main()


def test_an_experiment_whose_optimizer_stays_under_another_loss_is_told(command: Command):
    answer = command(*TINY, "experiment=point_masses", "loss=gan")
    assert "advice: experiment=point_masses sets the optimizer, not loss=gan" in answer.out
    assert "advice" not in command(*TINY, "experiment=point_masses", "loss=gan", "optimizer=adam").out
    assert "advice" not in command(*TINY, "experiment=point_masses").out


OWN_LOSS = """
from torch.nn.functional import softplus

class Quadratic:
    paired = False
    batch_statistics = False
    zero_is_boundary = True
    estimate = None

    def __init__(self, target: float = 1.0):
        self.target = target

    def discriminator(self, real, fake):
        return (real - self.target).square().mean() + (fake + self.target).square().mean()

    def generator(self, fake, real):
        return (fake - self.target).square().mean()
"""
OWN_YAML = """
_target_: gan_runner.loss.objective.Objective
adversarial:
  _target_: {module}.Quadratic
  target: 2.0
n_critic: 2
"""


PLACES = {"in the working directory": ".", "beside his configuration": "mine"}


@pytest.mark.parametrize("place", some(PLACES, []))
def test_a_users_own_loss_needs_no_change_to_the_package(in_tmp: Path, place: str):
    """A YAML under his --config-dir and a class in a file, as a real command."""
    module = f"own_loss_{'here' if place == '.' else 'beside'}"
    (in_tmp / "mine" / "loss").mkdir(parents=True)
    (in_tmp / "mine" / "loss" / "quadratic.yaml").write_text(OWN_YAML.format(module=module))
    (in_tmp / place / f"{module}.py").write_text(OWN_LOSS)
    done = run("--config-dir", "mine", "loss=quadratic", *TINY, "name=own")
    assert done.returncode == 0, done.stderr
    summary = json.loads((in_tmp / "outputs" / "own" / "summary.json").read_text())
    assert summary["images"] == 2 * 16
    assert 0 < summary["last"]["loss/generator"] < 20
    assert "wasserstein/estimate" not in summary["last"]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A real command in the working directory."""
    root = str(Path(__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": root, **environment}
    env.pop("HYDRA_FULL_ERROR", None)
    command = [sys.executable, "-m", "gan_runner", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=120, check=False)


def test_a_command_that_is_refused_says_why_and_what_to_type(command: Command):
    answer = command("loss=wgan_gp", "model.discriminator.norm=batch", "device=cpu")
    assert answer.code == 2
    assert answer.err.strip() == (
        "loss.penalties.gradient differentiates each sample alone, but model.discriminator couples the batch: "
        "layers.3 (BatchNorm1d); set model.discriminator.norm=layer (or none)."
    )
    assert answer.out == ""
    assert not Path("outputs").exists()


def test_composition_alone_trains_nothing(in_tmp: Path):
    done = run("loss=wgan_gp", "--cfg", "job")
    assert done.returncode == 0
    assert "lr: 0.0001" in done.stdout
    assert not Path("outputs").exists()


@pytest.mark.long
def test_tensorboard_compares_the_runs_of_a_sweep(command: Command, monkeypatch: pytest.MonkeyPatch):
    """Through its own HTTP data: settings, values and endings as HParams shows them, curves, pictures, the layout."""
    every = ("train.log_every=1", "train.sample_every=1", "train.evaluate_every=1")
    metric = ("metric=[pixel_fid]", "metric.n_fake=100", "train.select_by=pixel_fid")
    asked = (*SMALL, *every, *metric, "train.total_steps=2")
    assert command("-m", *asked, "loss=gan,wgan_gp", "seed=0,1").code == 0
    assert command(*asked, "loss=wgan_gp", "optimizer.lr=1e18", "train.total_steps=50", "name=lost").code == 3
    with monkeypatch.context() as patched:
        patched.setattr(Run, "step", signalled)
        for name in ("stopped", "resumed"):
            assert command(*asked, "seed=2", f"name={name}").code == 128 + signal.SIGTERM
    assert command(*asked, "seed=2", "name=resumed").code == 0
    fetch = board()

    summaries = {path.parent.name: json.loads(path.read_text()) for path in Path("outputs").glob("*/summary.json")}
    finished = {name: summary for name, summary in summaries.items() if summary["status"] == "completed"}
    found = fetch("plugin/hparams/session_groups", {"startIndex": 0, "sliceSize": 99, "allowedStatuses": STATUSES})
    sessions = {group["name"]: group for group in found["sessionGroups"]}
    assert set(sessions) == set(summaries) == set(fetch("runs"))
    endings = {"completed": "STATUS_SUCCESS", "diverged": "STATUS_FAILURE", "interrupted": "STATUS_UNKNOWN"}
    assert {name: group["sessions"][0]["status"] for name, group in sessions.items()} == {
        name: endings[summary["status"]] for name, summary in summaries.items()
    }
    for name, summary in finished.items():
        last, best = summary["metrics"]["last"], summary["metrics"]["best"]
        shown = {value["name"]["tag"]: value["value"] for value in sessions[name]["metricValues"]}
        assert [shown[f"{kind}/pixel_fid"] for kind in ("metric", "metric/test", "best", "best/test")] == pytest.approx(
            [each[split]["pixel_fid"] for each in (last, best) for split in ("validation", "test")]
        )
    experiment = fetch("plugin/hparams/experiment", {"experimentName": ""})
    differing = {info["name"] for info in experiment["hparamInfos"] if info["differs"]}
    assert differing == {"loss", "loss.n_critic", "optimizer", "optimizer.lr", "seed"}
    of_some = {"divergence/js_estimate", "wasserstein/estimate", "penalty/gradient"}
    assert of_some <= {info["name"]["tag"] for info in experiment["metricInfos"]}
    one = next(name for name in finished if "loss=wgan_gp" in name and "seed=1" in name)
    assert (
        sessions[one]["hparams"].items() >= {"loss": "wgan_gp", "seed": 1, "model.generator.widths": "[16,16]"}.items()
    )

    for run in finished:
        points = fetch(f"plugin/scalars/scalars?tag=loss%2Fgenerator&run={quote(run)}")
        assert [step for _, step, _ in points] == [1, 2]
        pictures = fetch(f"plugin/images/images?tag=samples%2Ffixed&run={quote(run)}&sample=0")
        assert [picture["step"] for picture in pictures] == [1, 2]
    assert {"config", "command"} <= {tag.split("/")[0] for tag in fetch("plugin/text/tags")[one]}
    layout = {category["title"]: category["chart"] for category in fetch("plugin/custom_scalars/layout")["category"]}
    assert list(layout) == ["losses", "distances", "health", "speed", "metrics"]
    (chart,) = layout["metrics"]
    (tag,) = chart["multiline"]["tag"]
    curves = fetch(f"plugin/custom_scalars/scalars?tag={quote(tag)}&run={quote(one)}")["tag_to_events"]
    assert set(curves) == {"metric/pixel_fid", "metric/test/pixel_fid"}


STATUSES = ["STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING", "STATUS_UNKNOWN"]


def board() -> Callable[..., Any]:
    """TensorBoard on outputs/ without its server, and a way to ask for its data."""
    tensorboard = TensorBoard()
    tensorboard.configure(logdir="outputs", reload_interval=0, reload_task="blocking")
    ingester = LocalDataIngester(tensorboard.flags)
    ingester.start()
    client = Client(TensorBoardWSGIApp(tensorboard.flags, tensorboard.plugin_loaders, ingester.data_provider))

    def fetch(path: str, body: dict | None = None) -> Any:
        answer = client.get(f"/data/{path}") if body is None else client.post(f"/data/{path}", json=body)
        return json.loads(answer.data)

    return fetch


@LONG
def test_parallel_jobs_of_a_sweep_share_the_cores(in_tmp: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    done = run("-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=0,1", *TINY)
    assert done.returncode == 0, done.stderr
    summaries = [json.loads(path.read_text()) for path in Path("outputs").glob("*/summary.json")]
    assert len(summaries) == 2
    assert sum(summary["environment"]["threads"] for summary in summaries) <= max(2, cpu_count())


@pytest.mark.parametrize(
    ("summary", "finished"),
    [
        ({"status": "completed", "steps": 5}, True),
        ({"status": "completed", "steps": 4}, False),
        ({"status": "completed", "steps": 4, "evaluations_without_gain": 2}, True),
        ({"status": "interrupted", "steps": 5}, False),  # in its last evaluation
        ({"status": "running", "steps": 5}, False),
        ({}, False),
    ],
)
def test_a_run_is_finished_where_it_was_completed_and_reached_an_end(tmp_path: Path, summary: dict, finished: bool):
    folder = RunFolder(tmp_path)
    if summary:
        folder.write_summary({"images": 0, "seconds": 0.0, **summary})
    assert is_finished(folder, configure("train.total_steps=5", "train.patience=2")) is finished
