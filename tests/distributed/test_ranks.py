"""Two ranks give the results of one process with the whole batch, stop and fail together, and write its files."""

import os
import signal
from collections.abc import Iterator
from functools import partial
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from gan_runner.device import Device
from gan_runner.distributed.ranks import ALONE, Ranks
from gan_runner.distributed.torchrun import threads
from gan_runner.game.player import Player
from gan_runner.records import checkpoint
from gan_runner.records.folder import RunFolder
from gan_runner.schedule import Progress, Schedule
from gan_runner.training.run import Run
from gan_runner.training.stopwatch import Stopwatch
from tests.conftest import SMALL, metrics, some, train_in
from tests.distributed.pairs import Pair, Seen, at_step, computed, refusal, trained, two_ranks
from tests.game.test_algorithm import SGD, THIN, told
from tests.test_crash import check_equal

ROOT = Path(__file__).parents[2]
UNCOUPLED = ("model.generator.norm=none", "model.discriminator.norm=layer", "model.generator.dropout=0")
FREE = (*SMALL, *UNCOUPLED, *SGD)
EVERY = ("train.log_every=2", "train.sample_every=6", "train.checkpoint_every=3")


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        forkserver.ensure_running()
        with two_ranks() as both:
            yield both


# ---- the numbers


SAME = {
    "wgan_gp, with held-out images": ("loss=wgan_gp", "train.log_every=1"),
    "wgan_gp in two parts a rank": ("loss=wgan_gp", "train.accumulate=2"),
    "another batch for the generator": ("loss=hinge", "train.generator_batch_size=32"),
    "labels and augmentation": ("loss=acgan", "augment=diffaugment", "model.discriminator.conditioning=classifier"),
    "pairs, two penalties, instance noise": ("loss=r3gan", "loss.instance_noise=0.1"),
    "an adaptive augmentation": ("augment=ada", "augment.every=1", "augment.speed_images=64"),
    "images that are read ahead": ("device.data=prefetched",),
    "few labels": ("loss=semi_supervised_odena", "dataset.labels_per_class=4"),
    "points": ("experiment=ring8", *SMALL[3:4], "device=cpu", "loss=wgan_gp", "optimizer=sgd", "optimizer.lr=1e-4"),
    "a published momentum": ("loss=gan", "optimizer=adam", "optimizer.lr=1e-4"),
}
ONE_OF_EACH = (*("wgan_gp in two parts a rank", "an adaptive augmentation", "few labels"),)


@pytest.mark.parametrize("overrides", some(SAME, ONE_OF_EACH))
def test_two_ranks_have_the_gradients_and_numbers_of_one_process(pair: Pair, overrides: tuple[str, ...]):
    overrides = (*(FREE if "experiment=ring8" not in overrides else ()), *overrides)
    check_same(pair(computed, overrides, 3), computed(ALONE, overrides, 3))


def test_fp16_is_scaled_alike(pair: Pair):
    half = (*FREE, "device.precision=fp16", "device._target_=tests.conftest.HalfOnCPU")
    check_same(pair(computed, half, 3), computed(ALONE, half, 3), rtol=2e-2, atol=2e-3)


def check_same(two: list[Seen], one: Seen, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    assert one.gradients
    assert all(one.gradients)
    for seen in two:
        assert_close(seen.gradients, one.gradients, rtol=rtol, atol=atol, equal_nan=True)
        assert_close(seen.weights, one.weights, rtol=rtol, atol=atol)
        assert seen.logged == pytest.approx(one.logged, rel=10 * rtol, abs=10 * atol)
        assert seen.metrics == pytest.approx(one.metrics)


def test_ranks_agree_bit_for_bit_where_noise_within_the_networks_differs(pair: Pair):
    """Dropout differs between ranks; weights, averages and metrics are equal."""
    overrides = (*SMALL, "loss=semi_supervised_odena", "model.discriminator.dropout=0.5", *UNCOUPLED[:2])
    one, other = pair(computed, overrides, 3)
    assert_close(one.weights, other.weights, rtol=0, atol=0)
    assert (one.logged, one.metrics) == (other.logged, other.metrics)
    both = pair(dropped)
    assert both[0] != both[1]
    assert pair(dropped) == both


def dropped(ranks: Ranks) -> list[float]:
    network, drawn = torch.nn.Linear(1, 1), []

    def terms(part: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        drawn.append(torch.nn.functional.dropout(torch.ones(64)).sum().item())
        return network.weight.sum(), {"loss/generator": network.bias.detach().sum()}

    device = Device("cpu", ranks=ranks)
    Player("generator", network, torch.optim.SGD(network.parameters()), Schedule(), device).gradient(
        terms, [0], Progress(0, 1), ("key",)
    )
    return drawn


NORMS = {
    "mlp": ("model.generator.norm=batch", "model.discriminator.norm=batch"),
    "dcgan, a norm for each class": (
        "model=dcgan",
        *THIN,
        *told("norm", "projection"),
        "model.discriminator.norm=batch",
    ),
}


@pytest.mark.parametrize("overrides", NORMS.values(), ids=NORMS)
def test_synchronised_batch_norm_is_that_of_the_whole_batch(pair: Pair, overrides: tuple[str, ...]):
    """Includes gradients and running statistics; without synchronisation, each rank has its own statistics."""
    overrides = (*SMALL[2:], *SGD, *overrides)
    one = computed(ALONE, overrides, 2)
    assert any(name.endswith("running_var") for name in one.weights)
    check_same(pair(computed, (*overrides, "device.sync_batch_norm=true"), 2), one, atol=1e-4)
    two = pair(computed, overrides, 2)[0]
    with pytest.raises(AssertionError):
        assert_close(two.gradients, one.gradients, rtol=1e-3, atol=1e-4)


def test_without_ranks_the_option_changes_nothing():
    overrides = (*SMALL[2:], "model.discriminator.norm=batch")
    plain, synced = (computed(ALONE, (*overrides, f"device.sync_batch_norm={on}"), 2) for on in ("false", "true"))
    assert_close(synced, plain, rtol=0, atol=0)


def test_a_parameter_without_gradient_stays_without(pair: Pair):
    assert pair(combined) == [([4.0, None], 4.0)] * 2


def combined(ranks: Ranks) -> tuple[list[float | None], float]:
    used, unused = torch.nn.Parameter(torch.ones(())), torch.nn.Parameter(torch.ones(()))
    used.grad = torch.tensor(1.0 + 2 * ranks.rank)
    stats = ranks.combine([p.grad for p in (used, unused) if p.grad is not None], {"a": torch.tensor(8.0 * ranks.rank)})
    return [None if p.grad is None else p.grad.item() for p in (used, unused)], stats["a"].item()


# ---- the folder

DROPPING = (*SMALL, "model.discriminator.dropout=0.3", *EVERY)  # batch norm in the generator, too


def test_the_same_number_of_ranks_resumes_bit_for_bit(pair: Pair, tmp_path: Path):
    cut, straight = tmp_path / "cut", tmp_path / "straight"
    overrides = (*DROPPING, "loss=wgan_gp", "model.discriminator.norm=none", "train.total_steps=7")
    pair(trained, straight, overrides)
    assert pair(at_step, cut, overrides, 1, 3, terminate)[0][0] == "Stopped"
    assert pair(trained, cut, overrides) == [None, None]
    check_equal(cut, (), straight)
    assert len(list(cut.glob("events*[0-9]"))) == 2  # one a session, not one a rank


@pytest.mark.parametrize("first", [1, 2])
def test_another_number_of_ranks_goes_on_with_the_same_run(pair: Pair, tmp_path: Path, first: int):
    overrides = (*FREE, *EVERY, "loss=wgan_gp")
    straight = train_in(tmp_path / "straight", *overrides, "train.total_steps=6")
    for ranks, steps in ((first, 3), (3 - first, 6)):
        both = (*overrides, f"train.total_steps={steps}")
        train_in(tmp_path / "cut", *both) if ranks == 1 else pair(trained, tmp_path / "cut", both)
    cut = RunFolder(tmp_path / "cut")
    for line, expected in zip(metrics(cut), metrics(straight), strict=True):
        assert line == pytest.approx(expected, rel=1e-3, abs=1e-4)
    states = [checkpoint.load(checkpoint.checkpoints(folder.checkpoints)[-1]).state for folder in (cut, straight)]
    assert_close(states[0]["generator"]["network"], states[1]["generator"]["network"], rtol=1e-3, atol=1e-5)
    assert_close(states[0]["discriminator"]["network"], states[1]["discriminator"]["network"], rtol=1e-3, atol=1e-5)
    assert f"ranks {first} -> {3 - first}" in (cut.path / "train.log").read_text()


# ---- refusals and endings

REFUSED = {
    "batches that do not divide": (["train.batch_size=18", "train.accumulate=2"], "2 ranks x train.accumulate=2"),
    "a loss of the whole batch": (["loss=rasgan"], "torchrun must start 1 process with this loss"),
    "a penalty of the whole batch": (["loss=dragan"], "torchrun must start 1 process with this loss"),
    "a layer of the whole batch": (["model.discriminator.minibatch=stddev"], "torchrun must start 1 process with Mini"),
    "an image a rank for batch norm": (["train.generator_batch_size=2"], "leaves 1 image in a part"),
    "a device that hides the ranks": (["device._target_=tests.distributed.test_ranks.Deaf"], "should take `ranks`"),
}


class Deaf(Device):
    def __init__(self, **settings: Any):
        super().__init__(**settings)


@pytest.mark.parametrize(("overrides", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_ranks_cannot_compute_is_refused_by_both(pair: Pair, overrides: list[str], sentence: str):
    for name, said, code in pair(refusal, (*SMALL, *overrides)):
        assert (name, code) == ("ConfigError", 2)
        assert sentence in said


def test_synchronised_batch_norm_needs_no_second_image(pair: Pair):
    overrides = (*SMALL, "train.generator_batch_size=2", "device.sync_batch_norm=true")
    assert pair(refusal, overrides) == ["built", "built"]


def test_what_one_rank_finds_out_ends_the_other(pair: Pair, tmp_path: Path):
    (tmp_path / "run").write_text("a file where the folder should be")
    one, other = pair(trained, tmp_path / "run", (*SMALL, "train.total_steps=2"))
    assert one[0] == "ConfigError"
    assert "cannot be made" in one[1]
    assert other == ("EndedElsewhere", "", 2)
    assert pair(stumbling) == [("EndedElsewhere", "", 1), ("KeyError", "'here'", 1)]


def stumbling(ranks: Ranks) -> None:
    with ranks.ending_together():
        if ranks.rank == 1:
            raise KeyError("here")


def test_a_disk_that_refuses_the_first_rank_ends_the_other(pair: Pair, tmp_path: Path):
    overrides = (*SMALL, *EVERY, "train.total_steps=9")
    act = partial((tmp_path / "run" / "checkpoints").write_text, "where the folder should be")
    one, other = pair(at_step, tmp_path / "run", overrides, 0, 2, act)
    assert (one[0], one[2]) == ("NotWritten", 2)
    assert other == ("EndedElsewhere", "", 2)
    assert RunFolder(tmp_path / "run").status() == "failed"


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_to_one_rank_stops_both_at_one_step(pair: Pair, tmp_path: Path):
    overrides = (*SMALL, "train.total_steps=900")
    one, other = pair(at_step, tmp_path / "run", overrides, 1, 3, terminate)
    assert one == other
    assert one[0] == "Stopped"
    assert one[2] == 128 + signal.SIGTERM
    summary = RunFolder(tmp_path / "run").read_summary()
    assert summary["status"] == "interrupted"
    assert 3 <= summary["steps"] <= 5
    assert (tmp_path / "run" / "checkpoints" / f"step-{summary['steps']:08d}.pt").exists()


def test_the_first_ranks_clock_ends_the_run_for_all(pair: Pair, tmp_path: Path):
    seconds = (*SMALL, "train.total_steps=null", "train.total_seconds=0.3", "train.log_every=5")
    one, other = pair(steps_by_the_clock, tmp_path / "run", seconds)
    summary = RunFolder(tmp_path / "run").read_summary()
    assert one == other == summary["steps"]
    assert 0.3 <= summary["seconds"] < 50


def steps_by_the_clock(ranks: Ranks, path: Path, overrides: tuple[str, ...]) -> int:
    """Returns the number of steps, with a clock of the second rank that would end the run at once."""
    steps: list[int] = []
    step, start = Run.step, Stopwatch.start

    def noted(run: Run) -> Any:
        steps.append(run.clock.steps + 1)
        return step(run)

    def hurried(stopwatch: Stopwatch) -> None:
        start(stopwatch)
        stopwatch.started -= 100 * ranks.rank

    Run.step, Stopwatch.start = noted, hurried  # type: ignore[method-assign]
    try:
        trained(ranks, path, overrides)
    finally:
        Run.step, Stopwatch.start = step, start  # type: ignore[method-assign]
    return steps[-1]


def test_a_divergence_is_seen_by_both(pair: Pair, tmp_path: Path):
    overrides = (*FREE, "optimizer.lr=1e30", "train.log_every=1", "train.total_steps=9")
    one, other = pair(trained, tmp_path / "run", overrides)
    assert one == other
    assert (one[0], one[2]) == ("Diverged", 3)
    assert RunFolder(tmp_path / "run").status() == "diverged"


def test_a_divergence_rolls_both_back(pair: Pair, tmp_path: Path):
    overrides = (*FREE, "optimizer.lr=1e30", "train.log_every=1", "train.total_steps=9", "train.on_divergence=rollback")
    one, other = pair(trained, tmp_path / "run", overrides)
    assert one == other
    assert one[0] == "Diverged"
    assert RunFolder(tmp_path / "run").read_summary()["rollbacks"] == 3


# ---- threads


@pytest.mark.parametrize(
    ("environment", "count"),
    [
        ({"OMP_NUM_THREADS": "3", "LOCAL_WORLD_SIZE": "2"}, 3),
        ({"OMP_NUM_THREADS": "1", "LOCAL_WORLD_SIZE": "2"}, None),
        ({"LOCAL_WORLD_SIZE": "2"}, None),
        ({"LOCAL_WORLD_SIZE": "1000"}, 1),
    ],
    ids=["what the user set", "what torchrun set", "nothing set", "more ranks than cores"],
)
def test_ranks_share_the_cores_unless_the_user_decides(monkeypatch, environment: dict[str, str], count: int | None):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("gan_runner.distributed.torchrun.environment_of", lambda process: set())
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert threads() == (count or max(1, len(os.sched_getaffinity(0)) // 2))


def test_one_thread_is_kept_where_the_user_asked_torchrun_for_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    monkeypatch.setattr("gan_runner.distributed.torchrun.environment_of", lambda process: {"OMP_NUM_THREADS"})
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)))
    assert threads() == 1
