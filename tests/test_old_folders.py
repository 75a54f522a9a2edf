"""Run folders of older versions open, go on, and give the same images.

tests/fixtures/format5 holds folders that commit bb18a68 left at step 4, with the samples that it made at step 8.
"""

import copy
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from gan_runner import compare, evaluate, sample
from gan_runner.assembly.build import build
from gan_runner.records import checkpoint
from gan_runner.records.identity import ADDED, differences, identity
from tests.conftest import Command, configure, some

ROOT = Path(__file__).parents[1]
FOLDERS = Path(__file__).parent / "fixtures" / "format5"
BEFORE = "bb18a68"  # the last commit that wrote format 5
LOSSES = ("gan", "wgan_gp", "acgan", "semi_supervised")
NEW_TAG = "health/neighbour_ratio"  # which the old code does not log
NORMS = {"gan": "batch", "wgan_gp": "layer", "acgan": "batch", "semi_supervised": "weight"}  # by default, then
TYPED = (
    *("model.generator.widths=[16,16]", "model.discriminator.widths=[16,16]", "model.latent.dim=8", "device=cpu"),
    *("train.batch_size=16", "train.grid=16", "train.log_every=2", "train.sample_every=4", "train.checkpoint_every=4"),
    *("train.keep_checkpoints=9", "optimizer.lr=0.005", "train.ema_half_life_images=50", "metric=[]"),
)


def pixels(path: Path) -> np.ndarray:
    return np.array(Image.open(path)).astype(int)


@pytest.fixture
def old(in_tmp: Path, loss: str) -> Path:
    folder = in_tmp / "outputs" / loss
    shutil.copytree(FOLDERS / loss, folder)
    return folder


@pytest.mark.parametrize("loss", LOSSES)
def test_a_folder_of_format_5_goes_on_to_the_images_of_the_code_that_began_it(old: Path, command: Command, loss: str):
    typed = (f"loss={loss}", *TYPED, f"name={loss}", "train.total_steps=8")
    refused = command(*typed)
    assert refused.code == 2
    assert f"model.discriminator.norm was {NORMS[loss]}, the default is now none; go on with `" in refused.err
    answer = command(*typed, *shlex.split(refused.err.split("`")[1]))
    assert answer.code == 0, answer.err
    assert "going on from step 4" in answer.out
    made = pixels(old / "samples" / "step-00000008.png")
    assert np.abs(made - pixels(old / "later" / "step-00000008.png")).max() <= 1
    assert np.abs(made - pixels(old / "samples" / "step-00000004.png")).max() > 9


@pytest.mark.parametrize("study", some({"alone": (), "in a study": ("study=first",)}, ["in a study"]))
def test_a_folder_begun_under_another_default_says_how_to_go_on(in_tmp: Path, command: Command, study: tuple[str, ...]):
    short = ("device=cpu", "train.batch_size=16", *study)
    typed = (*short, "train.total_steps=4")
    old = command(*typed, "model.discriminator.norm=batch")
    assert old.code == 0, old.err
    (begun,) = (path.parent for path in Path("outputs").glob("**/config.yaml"))
    begun.rename(begun.with_name(begun.name.replace("model.discriminator.norm=batch,", "")))
    refused = command(*typed)
    assert refused.code == 2
    way = shlex.split(refused.err.split("`")[1])
    assert way[0].startswith("name=")
    assert way[1:] == ["model.discriminator.norm=batch"]
    answer = command(*short, "train.total_steps=6", *way)
    assert answer.code == 0, answer.err
    assert "going on from step 4" in answer.out
    assert command(*typed, "train.fresh=true").code == 0


@pytest.mark.parametrize("loss", LOSSES)
def test_a_folder_of_format_5_is_sampled_evaluated_and_compared(old: Path, entry_point: Command, loss: str):
    answer = entry_point(sample.main, old, "--count", "16", "--format", "npz", "--out", "samples.npz")
    assert answer.code == 0, answer.err
    with np.load("samples.npz") as made:
        assert made["images"].shape == (16, 8, 8, 1)
        assert made["images"].std() > 1
    answer = entry_point(evaluate.main, old, "--metric", "pixel_fid", "--n-fake", "32")
    assert answer.code == 0, answer.err
    assert "pixel_fid" in answer.out
    answer = entry_point(compare.main, old)
    assert answer.code == 0, answer.err
    assert f"1  {loss}" in answer.out


def test_a_setting_that_a_folder_lacks_is_equal_while_it_keeps_the_behaviour_of_before():
    now = configure()
    lacking: dict[str, Any] = json.loads(json.dumps(now))
    for key, value in ADDED.items():
        *path, last = key.split(".")
        node = lacking
        for part in path:
            node = node[part]
        assert node.pop(last) == value == now_at(now, key)
    assert lacking["train"].pop("freeze") == {}  # a group of its own, which older folders lack too
    assert differences(lacking, now) == []
    assert identity(lacking) == identity(now)
    other = configure("loss.instance_noise=0.1")
    assert differences(lacking, other) == ["loss.instance_noise was 0, now 0.1"]
    del lacking["seed"]
    assert differences(lacking, now) == ["seed was absent, now 0"]


def now_at(config: dict[str, Any], key: str) -> Any:
    for part in key.split("."):
        config = config[part]
    return config


def test_each_format_has_a_step_to_the_next():
    assert sorted(checkpoint.UPGRADES) == list(range(min(checkpoint.UPGRADES), checkpoint.FORMAT))


@pytest.mark.parametrize(
    "settings",
    {
        "plain": (),
        "another optimizer": ("optimizer=rmsprop",),
        "spectral norm": ("loss=sngan",),
        "weight normalisation": ("model.weights.discriminator=weight",),
        "packed": ("model.pack=2", "loss=wgan"),
        "labels": ("model.discriminator.conditioning=embedding", "model.generator.conditioning=embedding"),
        "an averaged discriminator": ("loss=semi_supervised",),
    }.values(),
)
@pytest.mark.parametrize("steps", [0, 1])
def test_an_older_dcgan_for_8x8_images_gets_a_bias_of_0(settings: tuple[str, ...], steps: int):
    config = configure(*DCGAN, *settings)
    run = build(config)
    for _ in range(steps):
        run.step()
    state = run.state()
    (name,) = (name for name in state["discriminator"]["network"] if name.endswith("layers.0.bias"))
    number = [name for name, _ in run.discriminator.network.named_parameters()].index(name)
    expected = copy.deepcopy(state)
    zero(expected, name, number)
    found = checkpoint.from_7(without(state, name, number), config)
    assert_close(found["discriminator"], expected["discriminator"])
    if "classifier" in state:
        assert_close(found["classifier"], expected["classifier"])
    build(config).load_state(found)


DCGAN = ("model=dcgan", "dataset=digits", "model.generator.width=4", "model.discriminator.width=4", "device=cpu")


def networks_of(state: dict[str, Any]) -> list[dict[str, Any]]:
    return [state["discriminator"]["network"], *([state["classifier"]] if "classifier" in state else [])]


def zero(state: dict[str, Any], name: str, number: int) -> None:
    """Sets a parameter of the discriminator and its statistics to 0."""
    for network in networks_of(state):
        network[name].zero_()
    for entry in state["discriminator"]["optimizer"]["state"].get(number, {}).values():
        if entry.dim():
            entry.zero_()


def without(state: dict[str, Any], name: str, number: int) -> dict[str, Any]:
    """The state as it was before the parameter existed."""
    state = copy.deepcopy(state)
    for network in networks_of(state):
        del network[name]
    optimizer = state["discriminator"]["optimizer"]
    kept = [entries for index, entries in optimizer["state"].items() if index != number]
    optimizer["state"] = dict(enumerate(kept))
    optimizer["param_groups"][0]["params"].pop()
    return state


@pytest.mark.parametrize(
    "settings",
    [("model=mlp",), ("model=dcgan", "dataset=synthetic", "dataset.height=16", "dataset.width=16")],
)
def test_a_state_of_another_network_or_size_is_left_alone(settings: tuple[str, ...]):
    config = configure(*settings, "device=cpu")
    state = build(config).state()
    assert checkpoint.from_7(state, config) is state


# ---- beside the code of that commit, on this machine


SCRIPT = """
import shutil, sys
from gan_runner import evaluate, main, sample

def call(command, *typed):
    sys.argv = ["gan_runner", *typed]
    command.main()

norms = {norms}
for loss in {losses}:
    for total in ("4", "8"):
        chosen = (f"loss={{loss}}", f"model.discriminator.norm={{norms[loss]}}", *{typed})
        call(main, *chosen, f"name={{loss}}-{{total}}", f"train.total_steps={{total}}")
    run = f"outputs/{{loss}}-8"
    call(sample, run, "--count", "16", "--format", "npz", "--out", f"{{loss}}.npz")
    shutil.copytree(run, f"judged/{{loss}}")
    call(evaluate, f"judged/{{loss}}", *{metrics}, "--out", f"{{loss}}.json")
"""
METRICS = ("--metric", "pixel_fid", "density_coverage", "--n-fake", "64")


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs of the old code: each loss to step 4 and, uncut, to step 8."""
    code, work = tmp_path_factory.mktemp("code"), tmp_path_factory.mktemp("work")
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", BEFORE], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(code, filter="data")
    env = {**os.environ, "PYTHONPATH": str(code), "OMP_NUM_THREADS": "1"}
    script = SCRIPT.format(losses=LOSSES, norms=NORMS, typed=TYPED, metrics=METRICS)
    subprocess.run([sys.executable, "-c", script], cwd=work, env=env, check=True, capture_output=True)
    return work


def parted(state: dict[str, Any]) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Plain values and tensors by their path, without the seconds and the length, which was another's at its start."""
    leaves = {key: value for key, value in flatten(state).items() if "health.peaks" not in key and NEW_TAG not in key}
    tensors = {key: value for key, value in leaves.items() if isinstance(value, torch.Tensor)}
    apart = {*tensors, "counters.seconds", "counters.length"}
    return {key: value for key, value in leaves.items() if key not in apart}, tensors


def flatten(value: Any, path: str = "") -> dict[str, Any]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else None
    if items is None:
        return {path: value}
    return {key: leaf for name, item in items for key, leaf in flatten(item, f"{path}.{name}".lstrip(".")).items()}


def logged(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith(("speed/", "memory/", NEW_TAG))} for line in lines]


@pytest.mark.long
@pytest.mark.parametrize("loss", LOSSES)
def test_a_run_that_the_old_code_began_goes_on_bit_for_bit(before: Path, in_tmp: Path, command: Command, loss: str):
    folder = in_tmp / "outputs" / f"{loss}-4"
    shutil.copytree(before / "outputs" / f"{loss}-4", folder)
    norm = f"model.discriminator.norm={NORMS[loss]}"
    answer = command(f"loss={loss}", norm, *TYPED, f"name={loss}-4", "train.total_steps=8")
    assert answer.code == 0, answer.err
    uncut = before / "outputs" / f"{loss}-8"
    states = [checkpoint.load(each / "checkpoints" / "step-00000008.pt").state for each in (folder, uncut)]
    plain, tensors = zip(*(parted(state) for state in states), strict=True)
    assert plain[0] == plain[1]
    assert_close(*tensors, rtol=0, atol=0)
    assert logged(folder) == logged(uncut)
    for name in ("real.png", "step-00000004.png", "step-00000008.png"):
        pixels = [np.asarray(Image.open(each / "samples" / name)) for each in (folder, uncut)]
        assert np.array_equal(*pixels)  # the files may be compressed otherwise


@pytest.mark.long
@pytest.mark.parametrize("loss", LOSSES)
def test_a_run_from_the_start_has_the_bits_of_the_old_code(before: Path, in_tmp: Path, command: Command, loss: str):
    norm = f"model.discriminator.norm={NORMS[loss]}"
    assert command(f"loss={loss}", norm, *TYPED, f"name={loss}-8", "train.total_steps=8").code == 0
    folder, uncut = in_tmp / "outputs" / f"{loss}-8", before / "outputs" / f"{loss}-8"
    assert logged(folder) == logged(uncut)
    state = torch.load(folder / "checkpoints" / "step-00000008.pt", weights_only=True)["state"]
    assert_close(state["ema"], checkpoint.load(uncut / "checkpoints" / "step-00000008.pt").state["ema"], rtol=0, atol=0)


@pytest.mark.long
@pytest.mark.parametrize("loss", LOSSES)
def test_a_run_of_the_old_code_gives_the_same_samples_and_scores(
    before: Path, in_tmp: Path, entry_point: Command, loss: str
):
    folder = in_tmp / loss
    shutil.copytree(before / "outputs" / f"{loss}-8", folder)
    assert entry_point(sample.main, folder, "--count", "16", "--format", "npz", "--out", "now.npz").code == 0
    with np.load("now.npz") as now, np.load(before / f"{loss}.npz") as then:
        assert {name: now[name].tolist() for name in now} == {name: then[name].tolist() for name in then}
    assert entry_point(evaluate.main, folder, *METRICS, "--out", "now.json").code == 0
    scores = [json.loads(path.read_text()) for path in (Path("now.json"), before / f"{loss}.json")]
    assert scores[0] == scores[1]
    assert entry_point(compare.main, folder).code == 0
