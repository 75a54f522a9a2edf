"""The benchmark command: consistent values, operations counted by hand, and a textbook loop that learns."""

import itertools
import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

from gan_runner import benchmark
from gan_runner.assembly.build import build
from gan_runner.benchmark import plan_of
from gan_runner.benchmarking.estimate import SECTIONS, concluded
from gan_runner.benchmarking.measuring import Lap, matrix_rate, operations, products_a_second, textbook_config
from gan_runner.benchmarking.textbook import Textbook, Untouched, of_size, unfit
from gan_runner.device import Device
from gan_runner.nn.operations import counting
from gan_runner.schedule import Progress
from gan_runner.spec import Batch
from gan_runner.training.run import Run
from tests.conftest import SMALL, Answer, Command, configure, make_run, some

SHORT = ("--seconds", "0.05", "--repeats", "2")
FORTY_EIGHT = ("dataset=synthetic", "dataset.count=60", "dataset.height=8", "dataset.width=8")  # images to train on


@pytest.fixture
def show(in_tmp: Path, monkeypatch: pytest.MonkeyPatch, entry_point: Command) -> Command:
    """The command, in an empty working directory, with small matrices."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("gan_runner.benchmarking.measuring.MATRIX", {"cpu": 64})
    return partial(entry_point, benchmark.main)


def saved(answer: Answer, folder: Path) -> dict:
    assert answer.code == 0, answer.err
    (file,) = (folder / "outputs" / ".benchmarks").iterdir()  # the folder that was trained in is gone
    assert f"saved in {file.relative_to(folder)}" in answer.out
    return json.loads(file.read_text())


def test_the_numbers_agree_with_one_another(show: Command, in_tmp: Path):
    answer = show(*SMALL, "loss=wgan_gp", "train.log_every=1", "train.checkpoint_every=1", *SHORT)
    result = saved(answer, in_tmp)
    assert result["name"].startswith("loss=wgan_gp,model.discriminator.widths")
    for name in ("runner", "bare", "textbook"):
        own = result[name]
        assert len(own["laps"]) == 2
        for number, lap in enumerate(own["laps"]):
            assert lap["seconds"] >= 0.05
            assert lap["images"] == 5 * 16 * lap["steps"] > 0
            assert own["steps_per_second"]["repeats"][number] == pytest.approx(lap["steps"] / lap["seconds"])
            assert own["images_per_second"]["repeats"][number] == pytest.approx(lap["images"] / lap["seconds"])
    shares = result["shares_of_time"]
    assert all(0 < share < 1 for share in shares.values())
    assert sum(shares.values()) < 1
    images = [result[name]["images_per_second"]["repeats"] for name in ("runner", "bare", "textbook")]
    assert result["beside_bare"]["repeats"] == pytest.approx([a / b for a, b in zip(*images[:2], strict=True)])
    assert result["beside_textbook"]["repeats"] == pytest.approx([a / b for a, b in zip(*images[::2], strict=True)])
    reached, matrix = result["operations_per_second"]["repeats"], result["matrix_operations_per_second"]["repeats"]
    assert reached == pytest.approx([result["operations_per_image"] * speed for speed in images[0]])
    assert result["share_of_matrix_rate"]["repeats"] == pytest.approx(
        [r / m for r, m in zip(reached, matrix, strict=True)]
    )
    assert result["share_of_matrix_rate"]["least"] <= result["share_of_matrix_rate"]["median"]
    assert result["environment"]["precision"] == "fp32"
    assert result["environment"]["threads"] == 1
    assert result["peak_memory_mb"] > 100
    assert result["seconds_to_first_step"] > 1  # of this process, which began with the tests
    assert result["notes"][-1].startswith("train.sample_every was not reached")  # perhaps after one on a busy machine
    assert result["command"].endswith("--seconds 0.05 --repeats 2")
    head, rule, row = (line for line in answer.out.splitlines() if line.startswith("|"))
    assert head.count("|") == rule.count("|") == row.count("|")
    assert "fp32, 1 thread" in row


def test_a_burst_of_discriminator_updates_is_counted_as_it_is(show: Command, in_tmp: Path):
    """Nine in each of the first 25 steps: the rate comes from what was trained, not from n_critic."""
    result = saved(show(*SMALL, "loss.n_critic_burst=9", "--seconds", "0.001", "--repeats", "1"), in_tmp)
    (lap,) = result["runner"]["laps"]
    assert lap["images"] == 9 * 16 * lap["steps"]
    d, g = operations(make_run(*SMALL))
    assert result["operations_per_image"] == (d + g) / 16
    assert result["operations_per_second"]["median"] == pytest.approx((9 * d + g) * lap["steps"] / lap["seconds"])


# ---- operations

FORWARD_G = 2 * (8 * 16 + 16 * 16 + 16 * 64)  # 8 -> 16 -> 16 -> 64
FIRST, SECOND, LAST = (2 * product for product in (64 * 16, 16 * 16, 16))  # 64 -> 16 -> 16 -> 1
FORWARD_D = FIRST + SECOND + LAST
NO_NORM = "model.discriminator.norm=none"


def of_generator_update() -> int:
    """Both forwards; back through the discriminator to the fakes, then to every weight and past all but the first."""
    return FORWARD_G + FORWARD_D + FORWARD_D + 2 * FORWARD_G - 2 * 8 * 16


def of_adversarial_update() -> int:
    """Fakes; real and fake forwards; back to every weight, and past all but the first."""
    return FORWARD_G + 2 * (FORWARD_D + FORWARD_D + SECOND + LAST)


def test_the_operations_of_both_updates_by_hand():
    assert operations(make_run(*SMALL, "loss=gan", NO_NORM)) == (
        16 * of_adversarial_update(),
        16 * of_generator_update(),
    )


def of_penalty() -> int:
    """A forward, the gradient to the points, and backward through both.

    The gradient is W1' (a1 * W2' (a2 * w3)), whose three products have a gradient to each weight, and to what they are
    multiplied with where that depends on a weight, so in two of them. The slopes a1 and a2 of the activations are
    constants: nothing passes through them.
    """
    return FORWARD_D + FORWARD_D + FIRST + SECOND + LAST + FIRST + SECOND


def test_the_textbook_sends_zeros_through_slopes_as_torch_does():
    """To both weights below, to the first layer's output and to the points."""
    run = make_run(*SMALL, "loss=wgan_gp", NO_NORM)
    textbook = Textbook(run)
    network, batch, noise = textbook.discriminator, next(textbook.batches), textbook.noise("test", 0, 16)

    def executed(judge: torch.nn.Module) -> float:
        network.zero_grad()
        with counting() as counter:
            run.objective.penalty(judge, batch, batch, noise, 0, Progress(0, None))[0].backward()
        return float(counter.get_total_flops())

    assert executed(network) == 16 * of_penalty()
    assert executed(Untouched(network)) == 16 * (of_penalty() + 2 * SECOND + 2 * FIRST)


@pytest.mark.parametrize("every", [1, 4])
def test_the_operations_of_a_gradient_penalty_by_hand(every: int):
    run = make_run(*SMALL, "loss=wgan_gp", NO_NORM, f"loss.penalties.gradient.every={every}")
    expected = 16 * (of_adversarial_update() + of_penalty() / every)
    assert operations(run) == (expected, 16 * of_generator_update())


def test_counting_leaves_the_run_as_it_was():
    run = make_run(*SMALL, "loss=wgan_gp")
    before = {name: value.clone() for name, value in run.discriminator.network.state_dict().items()}
    operations(run)
    assert list(run.objective.penalties) == ["gradient"]
    assert all(torch.equal(value, before[name]) for name, value in run.discriminator.network.state_dict().items())
    assert all(p.grad is None for p in run.discriminator.network.parameters())


# ---- the textbook loop


def textbook(*overrides: str) -> tuple[Textbook, Run]:
    run = build(textbook_config(configure(*overrides)))
    assert unfit(run) is None
    return Textbook(run), run


@pytest.mark.parametrize("loss", ["gan", "wgan", "wgan_gp", "r3gan", "sngan", "began"])
def test_the_textbook_loop_trains_the_networks_of_the_run(loss: str):
    overrides = (*SMALL, f"loss={loss}", "loss.n_critic=2", "device.precision=bf16")
    loop, _ = textbook(*overrides)
    run = make_run(*overrides)
    for own, player in ((loop.generator, run.generator), (loop.discriminator, run.discriminator)):
        assert [p.shape for p in own.parameters()] == [p.shape for p in player.network.parameters()]
        assert all(torch.equal(a, b) for a, b in zip(own.parameters(), player.network.parameters(), strict=True))
        assert all(p.requires_grad for p in own.parameters())
    loop.step()
    assert (loop.steps, loop.updates, loop.images) == (1, 2, 32)
    for own, player in ((loop.generator, run.generator), (loop.discriminator, run.discriminator)):
        moved = [not torch.equal(a, b) for a, b in zip(own.parameters(), player.network.parameters(), strict=True)]
        assert sum(moved) > len(moved) / 2
    for optimizer in (loop.generator_optimizer, loop.discriminator_optimizer):
        assert type(optimizer) is type(run.generator.optimizer)
        assert not optimizer.defaults.get("fused")


def test_the_textbook_loop_learns_as_the_run_does():
    """Weight clipping keeps its bound, and the discriminator learns to tell noise from digits."""
    loop, _ = textbook(*SMALL, "loss=wgan")
    for _ in range(30):
        loop.step()
    assert max(p.abs().max() for p in loop.discriminator.parameters()) <= 0.01
    real = next(loop.batches)
    with torch.no_grad():
        fake = loop.fake(loop.noise("test", 0, 16), None)
        gap = loop.discriminator(real.images, None).mean() - loop.discriminator(fake, None).mean()
    assert gap > 0


def test_its_images_are_those_of_the_dataset_in_the_same_range():
    loop, run = textbook(*FORTY_EIGHT, "model=mlp", "device=cpu", "train.batch_size=16")
    batches = [next(loop.batches) for _ in range(3)]
    seen = torch.cat([batch.images for batch in batches])
    stored = run.real.decode(run.real.images)
    labels = torch.cat([batch.labels for batch in batches])
    order = [int((stored - image).abs().amax((1, 2, 3)).argmin()) for image in seen]
    assert sorted(order) == list(range(48))
    torch.testing.assert_close(seen, stored[order])
    assert torch.equal(labels, run.real.labels[order])


def test_labels_reach_its_networks_and_other_batch_sizes_are_filled():
    told = ("model.generator.conditioning=embedding", "model.discriminator.conditioning=projection")
    loop, _ = textbook(*SMALL, *told, "train.generator_batch_size=40")
    loop.step()
    batch = of_size(Batch(torch.arange(16.0).view(16, 1, 1, 1), torch.arange(16)), 40)
    assert batch.labels.tolist() == [*range(16), *range(16), *range(8)]
    assert torch.equal(batch.images.flatten(), batch.labels.float())


def test_pictures_of_more_channels_reach_it_as_pil_images(monkeypatch: pytest.MonkeyPatch):
    made, fromarray = Counter(), Image.fromarray
    monkeypatch.setattr(Image, "fromarray", lambda pixels: made.update([pixels.shape]) or fromarray(pixels))
    loop, _ = textbook(*FORTY_EIGHT, "model=mlp", "device=cpu", "train.batch_size=16")
    loop.step()
    assert made == {(8, 8, 3): 16}


def test_its_instance_noise_differs_for_real_and_fake():
    loop, _ = textbook(*SMALL, "loss.instance_noise=0.5")
    seen: list[torch.Tensor] = []
    noised = loop.objective.noised
    loop.objective.noised = lambda batch, *rest: seen.append(noised(batch, *rest).images - batch.images) or batch
    loop.step()
    assert [round(noise.std().item(), 1) for noise in seen] == [0.5] * 3
    assert not any(torch.allclose(one, other) for one, other in itertools.combinations(seen, 2))


LEFT_OUT = {
    "points": (("model=toy", "dataset=ring8", "device=cpu", "train.batch_size=16"), "these data are none"),
    "a loss of its own class": ((*SMALL, "loss=acgan"), "AuxiliaryClassifier is more"),
    "an augmentation": ((*SMALL, "augment=flip"), "no augmentation such as"),
}


@pytest.mark.parametrize("case", some({name: name for name in LEFT_OUT}, ["a loss of its own class"]))
def test_what_the_textbook_cannot_do_is_said(show: Command, in_tmp: Path, case: str):
    overrides, words = LEFT_OUT[case]
    result = saved(show(*overrides, *SHORT), in_tmp)
    assert words in result["notes"][0]
    assert "textbook" not in result
    assert "beside_textbook" not in result
    assert result["operations_per_image"] > 0


# ---- what is typed


def test_its_own_settings_are_no_part_of_the_run():
    assert plan_of(["loss=gan", "--seconds=2", "seed=1", "--repeats", "3"]) == ((2.0, 3, False), ["loss=gan", "seed=1"])
    assert plan_of(["--cfg", "job"]) == ((5.0, 5, False), ["--cfg", "job"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["model=dcgna"], ["model/dcgna", "dcgan"]),
        (["model.generator.wdths=[8]"], ["model.generator.wdths is no setting"]),
        (["+benchmark.seconds=3"], ["'benchmark' is no setting"]),
        (["model=resnet"], ["the dataset has 8x8"]),
        (["-m", "model=mlp,dcgan"], ["-m is for sweeps"]),
        (["--seconds", "soon"], ["--seconds", "soon"]),
        (["--seconds"], ["--seconds"]),
        (["--seconds", "0"], ["--seconds 0"]),
        (["--repeats", "0"], ["--repeats 0"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_mistake_is_one_sentence_and_exit_code_2(show: Command, in_tmp: Path, arguments: list[str], words: list[str]):
    answer = show(*arguments)
    assert answer.code == 2, answer
    assert len(answer.err.strip().splitlines()) == 1
    assert "Traceback" not in answer.out + answer.err
    for word in words:
        assert word in answer.err
    assert not list(in_tmp.rglob("*.json"))
    assert not list(in_tmp.rglob("run-*"))


def test_a_run_that_diverges_says_so_and_leaves_nothing(show: Command, in_tmp: Path):
    answer = show(*SMALL, "optimizer.lr=1e20", *SHORT)
    assert answer.code == 3, answer
    assert "training diverged" in answer.err
    assert not list((in_tmp / "outputs" / ".benchmarks").iterdir())


def test_ctrl_c_ends_it_at_the_next_turn_and_leaves_nothing(
    show: Command, in_tmp: Path, monkeypatch: pytest.MonkeyPatch
):
    step = Textbook.step
    monkeypatch.setattr(Textbook, "step", lambda loop: (step(loop), signal.raise_signal(signal.SIGINT))[0])
    monkeypatch.setattr("gan_runner.benchmarking.contest.WARM", 0)
    answer = show(*SMALL, "--seconds", "0.001", "--repeats", "1000")
    assert answer.code == 128 + signal.SIGINT, answer
    assert answer.err == "stopped by SIGINT; nothing is saved.\n"
    assert not list((in_tmp / "outputs" / ".benchmarks").iterdir())


def test_products_are_counted_until_the_time_is_over(monkeypatch: pytest.MonkeyPatch):
    clock = iter(range(100))
    monkeypatch.setattr("gan_runner.benchmarking.measuring.time.perf_counter", lambda: float(next(clock)))
    # begun at 0; a product, looked at 1, another, at 2, another, at 3: the end, which is read at 4
    assert products_a_second(make_run(*SMALL).device, 10, 2.5) == 3 / 4


@pytest.mark.parametrize(("small", "size"), [(1000.0, 16), (1.0, 8), (1e-9, 2)])
def test_a_product_has_two_operations_a_multiplication_and_is_smaller_where_it_would_last(
    monkeypatch: pytest.MonkeyPatch, small: float, size: int
):
    """small: products a second of the smallest matrices."""
    monkeypatch.setattr("gan_runner.benchmarking.measuring.MATRIX", {"cpu": 16})
    asked: list[int] = []

    def products(device: Device, size: int, seconds: float) -> float:
        asked.append(size)
        return small

    monkeypatch.setattr("gan_runner.benchmarking.measuring.products_a_second", products)
    assert matrix_rate(make_run(*SMALL).device, 64.0) == small * 2 * size**3
    assert asked == [2, size]


# ---- how long a run takes


def hand_counted(steps: int, updates: list[int], sections: dict[str, float], every: dict[str, int], update: float):
    """Seconds of the steps after the first one, one by one, with the sections that are due and those of the end."""
    spent = 0.0
    for step in range(1, steps + 1):
        spent += update * updates[step - 1] * (step > 1)
        spent += sum(sections[name] for name in SECTIONS if step % every[name] == 0 or step == steps)
    return spent


@pytest.mark.parametrize(
    ("overrides", "updates"),
    [
        pytest.param(["loss=gan", "train.total_steps=47"], [1] * 47, id="one update a step"),
        pytest.param(["loss=wgan", "train.total_images=1900"], [5] * 24, id="five, and a total of images"),
        pytest.param(["loss=wgan", "loss.n_critic_burst=7", "train.total_steps=30"], [7] * 25 + [5] * 5, id="bursts"),
    ],
)
def test_an_estimate_is_the_sum_of_what_is_due(overrides: list[str], updates: list[int]):
    every = {"log": 4, "sample": 10, "save": 7}
    intervals = ("train.log_every=4", "train.sample_every=10", "train.checkpoint_every=7")
    run = make_run(*SMALL, *overrides, *intervals)
    sections = {"log": 0.01, "sample": 0.2, "save": 3.0}
    found = concluded(run, 6, 20.0, Lap(5, 5 * updates[0] * 16, 5 * updates[0] * 0.5, 0.0), sections)
    assert found.steps == len(updates)
    assert found.update == pytest.approx(0.5)
    expected = 20 + 6 * 0.5 + hand_counted(found.steps, updates, sections, every, 0.5)
    assert found.to_end == pytest.approx(expected)
    until = 20 + 6 * 0.5 + sum(0.5 * n for n in updates[1:10]) + 2 * 0.01 + 1 * 0.2 + 1 * 3.0
    assert (found.picture_step, found.to_first_picture) == (10, pytest.approx(until))


def test_seconds_limit_an_estimate_and_images_set_its_first_picture():
    run = make_run(
        *SMALL, "loss=wgan_gp", "train.total_seconds=40", "train.sample_every_images=200", "metric=pixel_fid"
    )
    found = concluded(run, 0, 5.0, Lap(1, 80, 1.0, 0.0), dict.fromkeys(SECTIONS, 0.0))
    assert (found.steps, found.to_end) == (None, 45.0)
    assert (found.picture_step, found.to_first_picture) == (3, pytest.approx(5 + 2 * 1.0))
    assert found.evaluations == 2


def test_the_estimate_of_the_command(show: Command, in_tmp: Path):
    answer = show(*SMALL, "train.total_steps=100", "metric=pixel_fid", "--estimate", "--seconds", "0.05")
    assert answer.code == 0, answer.err
    heads = ("first step after", "first picture after", "end of the run after", "peak memory", "measured")
    assert all(head in answer.out for head in heads)
    assert "(100 steps)" in answer.out
    assert "not counted: 2 evaluations of pixel_fid" in answer.out
    assert list((in_tmp / "outputs" / ".benchmarks").iterdir()) == []  # nothing is saved, and the run is gone


@pytest.mark.long
@pytest.mark.timed
def test_an_estimate_is_near_the_time_of_the_run(in_tmp: Path):
    def seconds(*command: str) -> tuple[float, str]:
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=True)
        return time.perf_counter() - began, done.stdout

    overrides = ("loss=wgan_gp", "train.total_steps=1000", "device=cpu")
    _, text = seconds("gan_runner.benchmark", *overrides, "--estimate")
    taken, _ = seconds("gan_runner", *overrides)
    (line,) = (line for line in text.splitlines() if line.startswith("end of the run"))
    minutes, rest = re.search(r"(?:(\d+) min )?(\d+) s", line).groups()
    assert 0.7 * taken < 60 * int(minutes or 0) + int(rest) < 1.4 * taken
