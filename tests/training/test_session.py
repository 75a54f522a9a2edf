"""A run in its folder: the files that it writes, and that interruptions do not change the result."""

import json
import math
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.testing import assert_close

from gan_runner.errors import ConfigError, Diverged, Stopped
from gan_runner.game.algorithm import Algorithm
from gan_runner.records import checkpoint
from gan_runner.records.folder import RunFolder
from gan_runner.training import reporting
from gan_runner.training.run import Run
from tests.conftest import CORE, CPUS, SMALL, metrics, some, train_in

EVERY = ("train.log_every=3", "train.sample_every=4", "train.checkpoint_every=4")

COMMON = {
    *("loss/discriminator", "loss/generator", "loss/adversarial", "score/real", "score/fake", "score/gap"),
    *("grad_norm/generator", "grad_norm/discriminator", "lr/generator", "lr/discriminator", "progress/images"),
    *("speed/seconds", "speed/images_per_second", "speed/data_wait_share", "memory/peak_mb"),
    *("health/sample_std", "health/sample_std_ratio", "health/near_duplicates", "health/neighbour_ratio"),
    *("health/separation",),
    *("health/overfitting", "health/grad_norm_ratio", "health/ema_distance"),
    *("health/weight_growth/generator", "health/weight_growth/discriminator"),
}
OWN = {
    "gan": {"accuracy/real", "accuracy/fake", "health/accuracy_held_out", "divergence/js_estimate"},
    "minimax": {"accuracy/real", "accuracy/fake", "health/accuracy_held_out", "divergence/js_estimate"},
    "wgan": {"wasserstein/estimate", "wasserstein/held_out", "health/clipped_weights"},
    "wgan_gp": {"wasserstein/estimate", "wasserstein/held_out", "penalty/gradient", "gradient_norm/gradient"},
    "wgan_div": {"divergence/w_div", "penalty/gradient", "gradient_norm/gradient"},
    "hinge": {"accuracy/real", "accuracy/fake", "health/accuracy_held_out", "divergence/tv_estimate"},
    "rsgan": {"accuracy/pairwise"},
    "lsgan": set(),
}


def board(folder: RunFolder) -> EventAccumulator:
    return EventAccumulator(str(folder.path), size_guidance={"scalars": 0, "images": 0, "tensors": 0}).Reload()


def scalars(folder: RunFolder) -> dict[str, list[tuple[int, float]]]:
    events = board(folder)
    tags = [tag for tag in events.Tags()["scalars"] if not tag.startswith(("speed/", "memory/"))]
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}


def final_state(folder: RunFolder) -> dict:
    state = checkpoint.load(checkpoint.checkpoints(folder.checkpoints)[-1]).state
    assert state.pop("spec")["class_names"] == tuple("0123456789")
    assert state.pop("images") is None
    return {**state, "counters": {k: v for k, v in state["counters"].items() if k not in ("seconds", "length")}}


@pytest.mark.parametrize("loss", OWN)
def test_a_run_leaves_what_the_readme_promises(tmp_path: Path, loss: str):
    folder = train_in(tmp_path / "run", *SMALL, *EVERY, f"loss={loss}", "train.total_steps=6")
    summary = json.loads((folder.path / "summary.json").read_text())
    assert (summary["status"], summary["steps"], summary["seed"]) == ("completed", 6, 0)
    assert summary["images"] == 6 * 16 * (5 if loss.startswith("wgan") else 1)
    assert set(metrics(folder)[0]) | {tag for tag in COMMON if tag.startswith(("speed/", "memory/"))} == {
        "step",
        *COMMON,
        *OWN[loss],
    }
    assert set(board(folder).Tags()["scalars"]) == COMMON | OWN[loss]
    assert set(board(folder).Tags()["images"]) == {"samples/fixed", "samples/real"}
    assert [event.step for event in board(folder).Images("samples/fixed")] == [4, 6]
    assert sorted(os.listdir(folder.path / "samples")) == ["real.png", "step-00000004.png", "step-00000006.png"]
    assert sorted(os.listdir(folder.checkpoints)) == ["step-00000004.pt", "step-00000006.pt"]
    assert yaml.safe_load(folder.config.read_text())["loss"]["n_critic"] == (5 if loss.startswith("wgan") else 1)
    assert "step 6  100 %" in (folder.path / "train.log").read_text()
    assert Image.open(folder.path / "samples" / "step-00000006.png").size == (8 * 33 - 1, 8 * 33 - 1)


def test_a_log_line_is_the_mean_over_the_steps_since_the_one_before(tmp_path: Path):
    each, pairs = (
        [line["loss/discriminator"] for line in metrics(train_in(tmp_path / str(every), *SMALL, *run))]
        for every in (1, 2)
        for run in [(f"train.log_every={every}", "train.total_steps=6")]
    )
    assert pairs == pytest.approx([sum(each[n : n + 2]) / 2 for n in (0, 2, 4)], rel=1e-6)


@pytest.mark.parametrize(("every", "steps"), [(0, [6]), (2, [2, 4, 6]), (4, [4, 6])])
def test_the_test_error_is_logged_when_asked_and_at_the_end(tmp_path: Path, every: int, steps: list[int]):
    few = ("loss=semi_supervised", "dataset.labels_per_class=2", f"train.evaluate_every={every}")
    folder = train_in(tmp_path / "run", *SMALL, *EVERY, *few, "train.total_steps=6")
    events = board(folder).Scalars("metric/test_error")
    assert [event.step for event in events] == steps
    last = json.loads((folder.path / "summary.json").read_text())["last"]
    assert last["metric/test_error"] == pytest.approx(events[-1].value)
    assert last["loss/supervised"] > 0
    assert "step 6  metric/validation_error" in (folder.path / "train.log").read_text()


def test_a_test_error_that_a_resume_supersedes_is_taken_again(tmp_path: Path):
    few = (*SMALL, "loss=semi_supervised", "dataset.labels_per_class=2", "train.log_every=3", "train.evaluate_every=2")
    train_in(tmp_path / "cut", *few, "train.total_steps=4")
    cut = train_in(tmp_path / "cut", *few, "train.total_steps=6")
    straight = train_in(tmp_path / "straight", *few, "train.total_steps=6")
    errors = [
        [(line["step"], line["metric/test_error"]) for line in metrics(folder) if "metric/test_error" in line]
        for folder in (cut, straight)
    ]
    assert errors[0] == errors[1]
    assert [step for step, _ in errors[0]] == [2, 4, 6]


def test_a_warm_up_can_be_stopped_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    warm = (*SMALL, "train.discriminator_warmup_steps=9", "train.total_steps=2")
    straight = train_in(tmp_path / "straight", *warm)
    original = Algorithm.warm_up

    def interrupted(algorithm: Algorithm) -> None:
        original(algorithm)
        if algorithm.clock.warmed in (4, 6):
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Algorithm, "warm_up", interrupted)
    for _ in range(2):
        with pytest.raises(Stopped, match="at step 0"):
            train_in(tmp_path / "cut", *warm)
    cut = train_in(tmp_path / "cut", *warm)
    states = [torch.load(newest(folder), weights_only=True)["state"] for folder in (cut, straight)]
    assert states[0]["counters"]["warmed"] == 9
    assert_close(states[0]["discriminator"]["network"], states[1]["discriminator"]["network"], rtol=0, atol=0)
    assert_close(states[0]["generator"]["network"], states[1]["generator"]["network"], rtol=0, atol=0)


def newest(folder: RunFolder) -> Path:
    return max(folder.checkpoints.glob("*.pt"))


def test_the_logged_numbers_are_those_of_the_steps(tmp_path: Path):
    """The estimate is minus the adversarial loss, and the loss is that plus the penalty: at every line."""
    folder = train_in(tmp_path / "run", *SMALL, *EVERY, "loss=wgan_gp", "train.total_steps=6")
    for line in metrics(folder):
        assert line["wasserstein/estimate"] == pytest.approx(-line["loss/adversarial"])
        assert line["wasserstein/estimate"] == pytest.approx(line["score/gap"], abs=1e-5)
        assert line["loss/discriminator"] == pytest.approx(
            line["loss/adversarial"] + line["penalty/gradient"], rel=1e-5
        )
        assert line["progress/images"] == line["step"] * 5 * 16


CUT = {
    f"{loss}, {precision}, at step {k}": (loss, precision, k)
    for loss in CORE
    for precision in ("fp32", "bf16")
    for k in (2, 4, 6, 7)
}
CUT_IN_TURN = (
    *("gan, fp32, at step 2", "minimax, bf16, at step 4", "wgan, fp32, at step 6", "wgan_gp, bf16, at step 7"),
    "wgan_gp, fp32, at step 4",
)


@pytest.mark.parametrize("case", some(CUT, CUT_IN_TURN))
def test_a_run_that_was_cut_is_the_uncut_run_bit_for_bit(tmp_path: Path, case: tuple[str, str, int]):
    """Weights, optimizers, meter, metrics.jsonl and TensorBoard; interrupted at log steps and between them."""
    loss, precision, k = case
    overrides = (*SMALL, *EVERY, f"loss={loss}", f"device.precision={precision}")
    straight = train_in(tmp_path / "straight", *overrides, "train.total_steps=12")
    train_in(tmp_path / "cut", *overrides, f"train.total_steps={k}")
    cut = train_in(tmp_path / "cut", *overrides, "train.total_steps=12")
    torch.testing.assert_close(final_state(cut), final_state(straight), rtol=0, atol=0)
    assert metrics(cut) == metrics(straight)
    assert scalars(cut) == scalars(straight)
    for events in (board(straight).Images("samples/fixed"), board(cut).Images("samples/fixed")):
        assert [event.step for event in events if event.step % 4 == 0] == [4, 8, 12]
    assert [event.step for event in board(cut).Images("samples/real")] == [0]
    last = "samples/step-00000012.png"
    assert (cut.path / last).read_bytes() == (straight.path / last).read_bytes()


def test_a_run_that_was_killed_goes_on_from_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Killed at step 10, after a log line at 9 that is not in the checkpoint of step 8."""
    overrides = (*SMALL, *EVERY, "loss=wgan_gp", "train.total_steps=12")
    straight = train_in(tmp_path / "straight", *overrides)
    step = Run.step

    def killed(run: Run) -> dict:
        if run.clock.steps == 10:
            raise MemoryError("killed")
        return step(run)

    monkeypatch.setattr(Run, "step", killed)
    with pytest.raises(MemoryError):
        train_in(tmp_path / "cut", *overrides)
    assert json.loads((tmp_path / "cut" / "summary.json").read_text())["status"] == "failed"
    monkeypatch.undo()
    cut = train_in(tmp_path / "cut", *overrides)
    torch.testing.assert_close(final_state(cut), final_state(straight), rtol=0, atol=0)
    assert metrics(cut) == metrics(straight)
    assert scalars(cut) == scalars(straight)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT], ids=lambda s: s.name)
def test_a_signal_ends_the_step_saves_and_the_same_command_goes_on(tmp_path: Path, monkeypatch, signum: signal.Signals):
    overrides = (*SMALL, *EVERY, "train.total_steps=8")
    straight = train_in(tmp_path / "straight", *overrides)
    step = Run.step

    def signalled(run: Run) -> dict:
        if run.clock.steps == 5:
            os.kill(os.getpid(), signum)
        return step(run)

    monkeypatch.setattr(Run, "step", signalled)
    handler = signal.getsignal(signum)
    with pytest.raises(Stopped, match=f"stopped by {signum.name} at step 6") as caught:
        train_in(tmp_path / "cut", *overrides)
    assert caught.value.exit_code == 128 + signum
    assert signal.getsignal(signum) is handler
    assert json.loads((tmp_path / "cut" / "summary.json").read_text())["status"] == "interrupted"
    monkeypatch.undo()
    cut = train_in(tmp_path / "cut", *overrides)
    torch.testing.assert_close(final_state(cut), final_state(straight), rtol=0, atol=0)
    assert metrics(cut) == metrics(straight)


@pytest.mark.parametrize("device", CPUS.values(), ids=CPUS)
def test_divergence_is_noticed_and_leaves_the_last_good_checkpoint(tmp_path: Path, device: tuple[str, ...]):
    """The scores grow under a learning rate that large; the checkpoints must not."""
    overrides = (*SMALL, *EVERY, "loss=wgan_gp", "optimizer.lr=1e18", *device)
    with pytest.raises(Diverged, match=r"training diverged: \S+ is (nan|inf|-inf) at step 3"):
        train_in(tmp_path / "run", *overrides, "train.total_steps=30")
    folder = RunFolder(tmp_path / "run")
    assert folder.read_summary()["status"] == "diverged"
    assert not checkpoint.checkpoints(folder.checkpoints)


@pytest.fixture
def scheduler() -> Iterator[list[str]]:
    """The handlers that submitit installs: SIGTERM is ignored, SIGUSR2 puts the job into the queue again and exits."""
    heard: list[str] = []

    def requeue(number: int, frame: object) -> None:
        heard.append("requeue")
        raise SystemExit(-1)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)}
    signal.signal(signal.SIGTERM, lambda number, frame: heard.append("ignored"))
    signal.signal(signal.SIGUSR2, requeue)
    yield heard
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_scheduler_requeues_after_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheduler: list):
    overrides = (*SMALL, *EVERY, "train.total_steps=20", "train.keep_checkpoints=9")
    straight = train_in(tmp_path / "straight", *overrides)
    step = Run.step

    def preempted(run: Run) -> dict:
        if run.clock.steps == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        if run.clock.steps == 10:
            os.kill(os.getpid(), signal.SIGUSR2)
        return step(run)

    monkeypatch.setattr(Run, "step", preempted)
    with pytest.raises(SystemExit):
        train_in(tmp_path / "cut", *overrides)
    assert scheduler == ["ignored", "requeue"]
    cut = RunFolder(tmp_path / "cut")
    assert [checkpoint.step_of(path) for path in checkpoint.checkpoints(cut.checkpoints)] == [4, 6, 8, 11]
    assert cut.status() == "interrupted"
    monkeypatch.undo()
    train_in(tmp_path / "cut", *overrides)
    torch.testing.assert_close(final_state(cut), final_state(straight), rtol=0, atol=0)


BLOWS_UP = (*SMALL, *EVERY, "loss=wgan_gp", "optimizer.lr=1e6", "train.total_steps=400")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("policy", ["stop", "rollback"])
def test_a_run_that_blows_up_ends_under_both_policies(tmp_path: Path, caplog, precision: str, policy: str):
    overrides = (*BLOWS_UP, f"device.precision={precision}", f"train.on_divergence={policy}")
    with pytest.raises(Diverged, match=r"training diverged: \S+ is (nan|inf|-inf) at step \d+"):
        train_in(tmp_path / "run", *overrides)
    folder = RunFolder(tmp_path / "run")
    summary = folder.read_summary()
    assert (summary["status"], summary["rollbacks"]) == ("diverged", 3 if policy == "rollback" else 0)
    assert caplog.text.count("Rolled back to step") == summary["rollbacks"]
    for path in checkpoint.checkpoints(folder.checkpoints):
        assert all(value.isfinite().all() for value in checkpoint.load(path).state["ema"].values())


def test_a_rollback_changes_the_noise_and_the_run_goes_on_and_resumes_bit_for_bit(tmp_path: Path, monkeypatch, caplog):
    """The weights become infinite in step 6, and after that rollback in step 10: back to 4, and to 8.

    Killed after each rollback, once before and once behind its first new checkpoint, it takes the same way again.
    """
    caplog.set_level("INFO", "gan_runner")
    overrides = (*SMALL, *EVERY, "train.on_divergence=rollback", "train.total_steps=16")
    healthy = train_in(tmp_path / "healthy", *overrides)
    step, kills = Run.step, []

    def poisoned(run: Run) -> dict:
        if (run.clock.steps, run.clock.rollbacks) in ((6, 0), (10, 1)):
            next(run.generator.network.parameters()).data[0] = math.inf
        if (run.clock.steps, run.clock.rollbacks) in kills:
            kills.remove((run.clock.steps, run.clock.rollbacks))
            raise MemoryError("killed")
        return step(run)

    monkeypatch.setattr(Run, "step", poisoned)
    whole = train_in(tmp_path / "whole", *overrides)
    assert re.findall(r"Rolled back to step (\d+)", caplog.text) == ["4", "8"]
    assert whole.read_summary()["rollbacks"] == 2
    kills += [(5, 1), (9, 2), (13, 2)]
    while kills:
        with pytest.raises(MemoryError):
            train_in(tmp_path / "cut", *overrides)
    cut = train_in(tmp_path / "cut", *overrides)
    torch.testing.assert_close(final_state(cut), final_state(whole), rtol=0, atol=0)
    assert metrics(cut) == metrics(whole)
    assert scalars(cut) == scalars(whole)
    assert [line["step"] for line in metrics(whole)] == [line["step"] for line in metrics(healthy)]
    assert metrics(whole)[0] == metrics(healthy)[0]
    assert metrics(whole)[-1] != metrics(healthy)[-1]


def test_no_checkpoint_is_written_with_weights_that_are_not_finite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    step = Run.step

    def poisoned(run: Run) -> dict:
        stats = step(run)
        if run.clock.steps == 4:
            next(run.generator.network.parameters()).data[0] = math.nan
        return stats

    monkeypatch.setattr(Run, "step", poisoned)
    with pytest.raises(Diverged, match="generator's weights is nan at step 4"):
        train_in(tmp_path / "run", *SMALL, "train.checkpoint_every=2", "train.total_steps=6")
    assert os.listdir(tmp_path / "run" / "checkpoints") == ["step-00000002.pt"]


def test_a_schedule_runs_over_the_length_of_the_first_start(tmp_path: Path):
    overrides = (*SMALL, "optimizer.schedule.shape=linear", "train.log_every=1")
    folder = train_in(tmp_path / "run", *overrides, "train.total_steps=4")
    assert [line["lr/generator"] for line in metrics(folder)] == pytest.approx([2e-4, 1.5e-4, 1e-4, 0.5e-4])
    with pytest.raises(ConfigError, match=r"optimizer.schedule ends at step 4.*optimizer.schedule.steps"):
        train_in(tmp_path / "run", *overrides, "train.total_steps=8")


def test_a_damaged_newest_checkpoint_is_set_aside_and_the_one_before_is_used(tmp_path: Path, caplog):
    overrides = (*SMALL, "train.checkpoint_every=2", "train.total_steps=6")
    straight = train_in(tmp_path / "straight", *overrides)
    train_in(tmp_path / "run", *SMALL, "train.checkpoint_every=2", "train.total_steps=4")
    newest = tmp_path / "run" / "checkpoints" / "step-00000004.pt"
    newest.write_bytes(newest.read_bytes()[:500])
    folder = train_in(tmp_path / "run", *overrides)
    assert "step-00000004.pt cannot be used" in caplog.text
    torch.testing.assert_close(final_state(folder), final_state(straight), rtol=0, atol=0)
    assert len(list(folder.checkpoints.glob("*.damaged"))) == 1


def test_a_checkpoint_that_lacks_a_part_counts_as_damaged(tmp_path: Path, caplog):
    overrides = (*SMALL, "train.checkpoint_every=2")
    folder = train_in(tmp_path / "run", *overrides, "train.total_steps=4")
    newest = folder.checkpoints / "step-00000004.pt"
    content = torch.load(newest, weights_only=True)
    del content["state"]["ema"]
    torch.save(content, newest)
    train_in(tmp_path / "run", *overrides, "train.total_steps=6")
    assert "step-00000004.pt cannot be used" in caplog.text
    assert folder.read_summary()["steps"] == 6


def test_a_lazy_penalty_is_logged_whenever_it_was_due(tmp_path: Path):
    """Every fifth of five updates a step: due at the first of each step, while the last is what else is logged."""
    lazy = (*SMALL, "loss=wgan_gp", "loss.penalties.gradient.every=5", "train.log_every=1", "train.total_steps=3")
    for line in metrics(train_in(tmp_path / "run", *lazy)):
        assert line["penalty/gradient"] > 0
        assert line["gradient_norm/gradient"] > 0


def test_a_refused_longer_run_leaves_the_folder_as_it_was(tmp_path: Path):
    overrides = (*SMALL, "optimizer.schedule.shape=linear")
    folder = train_in(tmp_path / "run", *overrides, "train.total_steps=2")
    before = folder.config.read_bytes()
    with pytest.raises(ConfigError):
        train_in(tmp_path / "run", *overrides, "train.total_steps=4")
    assert folder.config.read_bytes() == before


def test_a_schedule_with_its_own_length_may_go_on(tmp_path: Path):
    overrides = (*SMALL, "optimizer.schedule.shape=linear", "optimizer.schedule.steps=4", "train.log_every=1")
    train_in(tmp_path / "run", *overrides, "train.total_steps=2")
    folder = train_in(tmp_path / "run", *overrides, "train.total_steps=6")
    assert [line["lr/generator"] for line in metrics(folder)] == pytest.approx([2e-4, 1.5e-4, 1e-4, 0.5e-4, 0, 0])


def test_a_run_can_end_by_images_or_by_the_clock(tmp_path: Path):
    by_images = train_in(tmp_path / "i", *SMALL, "train.total_steps=null", "train.total_images=100")
    assert by_images.read_summary()["images"] == 112
    by_time = train_in(tmp_path / "t", *SMALL, "train.total_steps=null", "train.total_seconds=0.5")
    assert 0.5 <= by_time.read_summary()["seconds"] < 5


def test_a_resume_on_another_machine_says_so_once(tmp_path: Path, monkeypatch, caplog):
    train_in(tmp_path / "run", *SMALL, "train.total_steps=2")
    original = reporting.environment
    monkeypatch.setattr(reporting, "environment", lambda device: {**original(device), "threads": 77})
    caplog.set_level("INFO", "gan_runner")
    train_in(tmp_path / "run", *SMALL, "train.total_steps=4")
    assert caplog.text.count("-> 77") == 1


def test_advice_and_configuration_are_in_tensorboard(tmp_path: Path):
    folder = train_in(tmp_path / "run", *SMALL, "loss=wgan", "optimizer=adam", "train.total_steps=1")
    events = board(folder)
    assert {"config/text_summary", "command/text_summary", "advice/text_summary"} <= set(events.Tags()["tensors"])
    (event,) = events.Tensors("advice/text_summary")
    assert b"momentum 0.5" in event.tensor_proto.string_val[0]


def test_points_in_space_train_without_pictures(tmp_path: Path):
    points = ("dataset=point_masses", "dataset.channels=3")
    folder = train_in(tmp_path / "run", *SMALL, *points, "train.total_steps=2")
    assert not (folder.path / "samples").exists()


POINTS = ("model=toy", *SMALL[:2], "device=cpu", "train.batch_size=16", *EVERY, "train.total_steps=8")


@pytest.mark.parametrize("dataset", ["gaussian_1d", "two_moons"])
def test_toy_data_are_drawn_beside_the_discriminator(tmp_path: Path, dataset: str):
    folder = train_in(tmp_path / "run", *POINTS, f"dataset={dataset}")
    names = [f"step-{step:08d}.png" for step in (0, 4, 8)]
    assert sorted(path.name for path in (folder.path / "samples").iterdir()) == names
    events = board(folder)
    assert events.Tags()["images"] == ["toy/density"]
    drawn = {event.step: event.encoded_image_string for event in events.Images("toy/density")}
    assert drawn == {step: (folder.path / "samples" / f"step-{step:08d}.png").read_bytes() for step in (0, 4, 8)}
    assert drawn[0] != drawn[4] != drawn[8]


def test_a_resumed_run_draws_the_pictures_of_the_uncut_one(tmp_path: Path):
    whole = train_in(tmp_path / "whole", *POINTS, "dataset=ring8")
    for total in (5, 8):
        cut = train_in(tmp_path / "cut", *POINTS[:-1], "dataset=ring8", f"train.total_steps={total}")
    for step in (0, 4, 8):
        name = f"step-{step:08d}.png"
        assert (whole.path / "samples" / name).read_bytes() == (cut.path / "samples" / name).read_bytes()
    assert [event.step for event in board(cut).Images("toy/density")] == [0, 4, 8]  # 5 ended the shorter run


def test_drawing_changes_nothing_in_training(tmp_path: Path):
    lively = ("model.generator.norm=batch", "model.discriminator.dropout=0.3", "loss=sngan")
    often, never = (
        train_in(tmp_path / str(every), *POINTS, "dataset=ring8", *lively, f"train.sample_every={every}")
        for every in (1, 100)
    )
    assert metrics(often) == metrics(never)
    states = [checkpoint.load(checkpoint.checkpoints(folder.checkpoints)[-1]).state for folder in (often, never)]
    for player in ("generator", "discriminator"):
        assert_close(states[0][player], states[1][player], rtol=0, atol=0)


def test_the_configuration_of_a_run_is_its_own(tmp_path: Path):
    train_in(tmp_path / "run", *SMALL, "train.total_steps=1")
    with pytest.raises(ConfigError, match=r"seed was 0, now 1"):
        train_in(tmp_path / "run", *SMALL, "train.total_steps=1", "seed=1")
