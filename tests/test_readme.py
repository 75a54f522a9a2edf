"""The README's commands run as written (made short), its own loss trains, and its list of tags is the one we log."""

import itertools
import re
import shlex
from pathlib import Path

import pytest

from gan_runner import compare, data, evaluate, sample
from tests.conftest import Command, configure, real_data, some
from tests.dataset.pictures import encoded, pixels, write_zip
from tests.training.test_session import COMMON, OWN

README = (Path(__file__).parents[1] / "README.md").read_text()
COMMANDS = re.findall(r"^python -m gan_runner(?: (.*))?$", README, re.MULTILINE)
SHORT = ("train.log_every=1", "train.grid=4", "train.total_steps=2")
KINDS = (  # of commands, with one example each; the others differ in their settings alone
    *("loss=wgan_gp", "experiment=cgan_mnist", "--cfg job loss=wgan_gp"),
    "-m loss=gan,wgan_gp seed=0,1 study=first",
    "device.precision=bf16 train.batch_size=128 train.accumulate=2",
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_every_kind_of_command_is_in_the_readme():
    assert set(KINDS) <= set(COMMANDS)


@pytest.mark.parametrize("line", [line for line in COMMANDS if "--c" not in line and "hydra" not in line])
def test_the_jobs_of_a_command_of_the_readme_compose(line: str):
    for job in jobs(shlex.split(line)):
        assert configure(*job)["loss"]["_target_"]


def jobs(typed: list[str]) -> list[tuple[str, ...]]:
    """The overrides of each job of a sweep, whose values have commas; those alone of a command without -m."""
    if "-m" not in typed:
        return [tuple(typed)]
    keys, values = zip(*(word.split("=", 1) for word in typed if word != "-m"), strict=True)
    chosen = itertools.product(*(value.split(",") for value in values))
    return [tuple(f"{key}={value}" for key, value in zip(keys, job, strict=True)) for job in chosen]


@pytest.mark.parametrize("line", some({line: line for line in COMMANDS}, KINDS))
def test_a_command_of_the_readme_runs(command: Command, monkeypatch: pytest.MonkeyPatch, line: str):
    if "mnist" in line and real_data() is None:
        pytest.skip("the real MNIST files are not on this machine (../shared/data or GAN_RUNNER_DATA)")
    monkeypatch.setenv("GAN_RUNNER_DATA", str(real_data()))
    monkeypatch.setenv("GAN_RUNNER_CACHE", "cache")
    write_zip(Path("photos.zip"), {f"{n}.png": encoded(pixels(n, 70, 90)) for n in range(4)})
    short = (*SHORT, "metric=[]") if "experiment=" in line else SHORT  # a recipe's metrics take a minute
    answer = command(*shlex.split(line), *short)
    assert answer.code == 0, answer.err
    assert "--cfg" in line or "step 2" in answer.out


@pytest.mark.parametrize("line", re.findall(r"^python -m gan_runner.sample (.*)$", README, re.MULTILINE))
def test_a_sampling_command_of_the_readme_runs(command: Command, monkeypatch: pytest.MonkeyPatch, line: str):
    assert command(*SHORT).code == 0
    monkeypatch.setattr("sys.argv", ["sample", *shlex.split(line)])
    sample.main()


@pytest.mark.parametrize("line", re.findall(r"^python -m gan_runner.evaluate (.*)$", README, re.MULTILINE))
def test_an_evaluation_of_the_readme_runs(command: Command, entry_point: Command, line: str):
    assert command(*SHORT).code == 0
    answer = entry_point(evaluate.main, *shlex.split(line), "--n-fake", 200)
    assert answer.code == 0, answer.err
    assert "memorization_ratio" in answer.out


@pytest.mark.parametrize("line", re.findall(r"^python -m gan_runner.compare (.*)$", README, re.MULTILINE))
def test_a_comparison_of_the_readme_runs(command: Command, entry_point: Command, line: str):
    for loss in ("gan", "wgan_gp"):
        assert command(f"loss={loss}", "study=first", *SHORT).code == 0
    answer = entry_point(compare.main, *shlex.split(line))
    assert answer.code == 0, answer.err
    assert "wgan_gp" in answer.out
    assert Path("outputs/first/compare.html").exists()


@pytest.mark.parametrize("line", re.findall(r"^python -m gan_runner.data (.*)$", README, re.MULTILINE))
def test_a_dataset_of_the_readme_is_shown(
    in_tmp: Path, entry_point: Command, monkeypatch: pytest.MonkeyPatch, line: str
):
    monkeypatch.setenv("GAN_RUNNER_CACHE", "cache")
    write_zip(Path("photos.zip"), {f"{n}.png": encoded(pixels(n, 70, 90)) for n in range(4)})
    assert entry_point(data.main, *shlex.split(line)).code == 0


def test_the_loss_of_the_readme_trains(command: Command, in_tmp: Path):
    (in_tmp / "mine" / "loss").mkdir(parents=True)
    (in_tmp / "mine" / "loss" / "quadratic.yaml").write_text(blocks("yaml")[0])
    (in_tmp / "quadratic.py").write_text(blocks("python")[0])
    answer = command("--config-dir", "mine", "loss=quadratic", *SHORT)
    assert answer.code == 0, answer.err


def test_the_tags_of_the_readme_are_those_that_are_logged():
    table = README.split("## What TensorBoard shows")[1].split("## ")[0]
    told = {
        tag for row in table.splitlines() if row.startswith("| `") for tag in re.findall(r"`(.*?)`", row.split("|")[1])
    }
    logged = COMMON.union(*OWN.values()) | {"samples/fixed", "samples/real", "config", "command", "advice", "protocol"}
    only_sometimes = {
        "schedule/gradient",
        *("schedule/instance_noise", "schedule/ema_half_life_images"),
        *("schedule/momentum/generator", "schedule/betas.1/discriminator"),
        *("loss/class", "loss/supervised", "loss/unsupervised"),
        *("metric/classifier_fid", "metric/test/classifier_fid", "metric/test_error", "metric/validation_error"),
        *("best/classifier_fid", "best/test/classifier_fid"),
        "samples/neighbours",
        "augment/probability",
        "verdict",
        "toy/density",
        "scale/generator",
        "scale/discriminator",
    }
    assert told == logged | only_sometimes


def test_every_setting_of_the_readme_exists():
    configs = [configure("loss=wgan_gp", "dataset=mnist"), configure("loss=fgan"), configure("model=dcgan")]
    configs += [
        configure("dataset=image_folder"),
        configure("loss=semi_supervised"),
        configure("augment=diffaugment"),
        configure("augment=ada"),
        configure("metric=fid"),
    ]
    names = re.findall(r"`((?:train|model|loss|augment|optimizer|device|dataset|metric)\.[a-z_.]+)`", README)
    assert len(names) > 20
    for name in names:
        assert any(has(config, name.split(".")) for config in configs), name


def has(node: object, keys: list[str]) -> bool:
    return not keys or (isinstance(node, dict) and keys[0] in node and has(node[keys[0]], keys[1:]))
