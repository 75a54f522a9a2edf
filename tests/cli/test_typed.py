"""Rules that depend on which settings were typed: totals of a run, and forms that exclude each other."""

from pathlib import Path

import pytest
import yaml

from gan_runner.cli.compose import compose
from gan_runner.records.folder import RunFolder
from tests.conftest import SMALL, Command, metrics

TOTALS = ("total_steps", "total_images", "total_seconds", "schedule_steps", "schedule_images")
CASES = {
    "nothing": ([], [5000, None, None, None, None]),
    "seconds": (["train.total_seconds=600"], [None, None, 600, 5000, None]),
    "images": (["train.total_images=2000"], [None, 2000, None, None, None]),
    "steps": (["train.total_steps=7"], [7, None, None, None, None]),
    "two": (["train.total_steps=7", "train.total_seconds=60"], [7, None, 60, None, None]),
    "all": (
        ["train.total_steps=7", "train.total_images=8", "train.total_seconds=9"],
        [7, 8, 9, None, None],
    ),
    "a dictionary": (["train={total_seconds:600}"], [None, None, 600, 5000, None]),
    "null is no total": (["train.total_images=null"], [5000, None, None, None, None]),
    "one of several typed twice": (["train.total_seconds=5", "train.total_seconds=6"], [None, None, 6, 5000, None]),
    "a length of one's own": (["train.total_seconds=6", "train.schedule_steps=9"], [None, None, 6, 9, None]),
    "an experiment in steps": (["experiment=ring8", "train.total_images=9"], [None, 9, None, None, None]),
    "an experiment's length": (["experiment=ring8", "train.total_seconds=9"], [None, None, 9, 20000, None]),
    "an experiment in images": (["experiment=r3gan_cifar10", "train.total_steps=9"], [9, None, None, None, None]),
    "its length": (["experiment=r3gan_cifar10", "train.total_seconds=9"], [None, None, 9, None, 250000000]),
    "an experiment alone": (["experiment=ring8"], [20000, None, None, None, None]),
}


@pytest.mark.parametrize(("typed", "expected"), CASES.values(), ids=CASES)
def test_a_typed_total_removes_those_that_were_not_typed(typed: list[str], expected: list[float | None]):
    for order in (typed, typed[::-1]):
        if len({word.split("=")[0] for word in typed}) == len(typed) or order is typed:
            assert [compose(order)["train"][name] for name in TOTALS] == expected


def test_the_job_of_a_command_a_sweep_and_cfg_have_the_same_totals(command: Command):
    shown = command("--cfg", "job", "train.total_seconds=9")
    assert [yaml.safe_load(shown.out)["train"][name] for name in TOTALS] == [None, None, 9, 5000, None]
    one = (*SMALL, "train.log_every=1")
    answer = command(*one, "train.total_images=48", "name=alone")
    assert "done: 3 steps in 0 s (train.total_images=48)" in answer.out
    answer = command("-m", *one, "train.total_images=48", "seed=1", "name=swept")
    assert "done: 3 steps in 0 s (train.total_images=48)" in answer.out
    assert [answer.code, shown.code] == [0, 0]


def test_of_several_totals_the_first_that_is_reached_ends_the_run(command: Command):
    typed = (*SMALL, "train.total_seconds=600", "train.total_images=64", "train.total_steps=3")
    assert "done: 3 steps in 0 s (train.total_steps=3)" in command(*typed).out
    assert "done: 4 steps in 0 s (train.total_images=64)" in command(*typed[:-1], "train.total_steps=30").out


def test_a_run_cut_by_the_clock_is_the_beginning_of_the_whole_one(command: Command, in_tmp: Path):
    """roth's schedule falls over the length of the run: 8 steps without the seconds."""
    run = (*SMALL, "loss=roth", "train.log_every=1")
    assert command(*run, "train.total_steps=8", "name=whole").code == 0
    answer = command(*run, "train.schedule_steps=8", "train.total_seconds=0.000001", "name=cut")
    assert "done: 1 steps in 0 s (train.total_seconds=1e-06)" in answer.out
    assert command(*run, "train.total_steps=4", "name=cut").code == 0
    whole, cut = (metrics(RunFolder(in_tmp / "outputs" / name)) for name in ("whole", "cut"))
    assert cut == whole[:4]
    weights = [line["schedule/js"] for line in cut]
    assert weights == sorted(weights, reverse=True)
    assert len(set(weights)) == 4


def test_a_run_that_outlasts_its_schedule_says_so_once(command: Command):
    run = (*SMALL, "loss=roth", "train.schedule_steps=2", "train.log_every=1")
    answer = command(*run, "train.total_seconds=0.5")
    assert answer.out.count("ended at step 2") == 1
    longer = command(*run, "train.total_seconds=0.7")
    assert longer.code == 0
    assert "ended at step 2" not in longer.out


def test_a_resume_with_seconds_keeps_the_length_of_the_first_start(command: Command):
    run = (*SMALL, "loss=roth", "train.log_every=1", "name=a")
    assert command(*run, "train.total_steps=3").code == 0
    answer = command(*run, "train.total_seconds=0.6")
    assert answer.code == 0
    assert "going on from step 3" in answer.out
    refused = command(*run, "train.total_steps=100000")
    assert "the length that this run was started with" in refused.err


@pytest.mark.parametrize("what", ["sample", "evaluate"])
def test_a_cadence_in_steps_and_in_images_exclude_each_other(command: Command, what: str):
    answer = command(*SMALL, f"train.{what}_every=5", f"train.{what}_every_images=80")
    assert answer.code == 2
    assert f"train.{what}_every and train.{what}_every_images" in answer.err


def test_looks_in_images_are_equally_many_for_any_n_critic(command: Command, in_tmp):
    run = (*SMALL, "train.sample_every_images=96", "train.total_images=240", "device=cpu")
    for loss, critic in (("gan", 1), ("wgan_gp", 5)):
        assert command(*run, f"loss={loss}", f"name={loss}").code == 0
        pictures = sorted(path.name for path in (in_tmp / "outputs" / loss / "samples").glob("step-*"))
        steps = {1: (6, 12, 15), 5: (2, 3)}[critic]  # at 96 and 192 images, and the end
        assert pictures == [f"step-{step:08d}.png" for step in steps]
