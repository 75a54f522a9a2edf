"""The commands of README and docs/use.md run as written, made short, and the settings that they name exist."""

import itertools
import re
import shlex
from pathlib import Path

import pytest

from gan_runner import compare, data, evaluate, sample
from tests.conftest import Command, configure
from tests.dataset.pictures import encoded, pixels, write_zip

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text() + (ROOT / "docs" / "use.md").read_text()
COMMANDS = list(dict.fromkeys(re.findall(r"^python -m gan_runner(?: (.*))?$", README, re.MULTILINE)))
SHORT = ("train.log_every=1", "train.grid=4", "train.total_steps=2")


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


@pytest.mark.parametrize("line", re.findall(r"^python -m gan_runner.sample (.*)$", README, re.MULTILINE))
def test_a_sampling_command_of_the_readme_runs(command: Command, monkeypatch: pytest.MonkeyPatch, line: str):
    by_class = ("experiment=cgan_mnist", "dataset=digits", "metric=[]") if "--labels" in line else ()
    assert command(*SHORT, *by_class).code == 0
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
    assert len(names) > 10
    for name in (each for each in names if each != "dataset.json"):  # a file
        assert any(has(config, name.split(".")) for config in configs), name


def has(node: object, keys: list[str]) -> bool:
    return not keys or (isinstance(node, dict) and keys[0] in node and has(node[keys[0]], keys[1:]))
