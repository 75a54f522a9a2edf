"""The data command, and runs on user images."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gan_runner.data import main
from gan_runner.errors import ConfigError
from gan_runner.records import checkpoint
from gan_runner.records.folder import RunFolder
from tests.conftest import SMALL, Command, configure, make_run, metrics, train_in
from tests.dataset.pictures import encoded, pixels, write_folder, write_zip


@pytest.fixture
def show(in_tmp: Path, monkeypatch: pytest.MonkeyPatch, entry_point: Command) -> Command:
    monkeypatch.setenv("GAN_RUNNER_CACHE", str(in_tmp / "cache"))
    return partial(entry_point, main)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sixty images in three classes."""
    monkeypatch.setenv("GAN_RUNNER_CACHE", str(tmp_path / "cache"))
    return write_folder(tmp_path / "photos", {f"{'abc'[n % 3]}/{n}.png": encoded(pixels(n)) for n in range(60)})


def of(photos: Path) -> tuple[str, ...]:
    return ("dataset=image_folder", f"dataset.path={photos}")


def test_a_folder_is_shown_with_its_classes_and_what_is_left_out(show: Command, photos: Path):
    write_folder(photos, {"a/bad.png": b"", "notes.txt": b"x"})
    first, again = (show(*of(photos), "dataset.max_broken=0.1", "dataset.held_out=0") for _ in range(2))
    assert (first.code, first.err) == (0, "")
    for line in (
        "dataset   ImageFolder, 60 of 3x8x8, pixels of 8 bits, scaled to (-1.0, 1.0)",
        "splits    train 60",
        "left out  a/bad.png (no image of a known format)",
        "left out  .txt: 1",
        "b         20",
    ):
        assert line in first.out.splitlines()
    assert "cache     packed now into" in first.out
    assert "cache     found in" in again.out
    picture = Image.open(again.out.splitlines()[-1].removeprefix("grid      "))
    assert picture.size[0] > 8 * 33


def test_statistics_are_those_of_numpy(show: Command, in_tmp: Path):
    images = np.stack([pixels(n) for n in range(30)]) / 127.5 - 1
    path = write_zip(in_tmp / "a.zip", {f"{n}.png": encoded(pixels(n)) for n in range(30)})
    out = show("dataset=image_folder", f"dataset.path={path}", "dataset.held_out=0").out
    for name, values in (("mean", images.mean((0, 1, 2))), ("std", images.std((0, 1, 2)))):
        assert f"{name:<9} {', '.join(f'{value:.3f}' for value in values)}" in out.splitlines()


@pytest.mark.parametrize("dataset", ["digits", "ring8", "synthetic", "point_masses"])
def test_every_dataset_that_needs_no_download_is_shown(show: Command, dataset: str):
    answer = show(f"dataset={dataset}")
    assert answer.code == 0
    assert "cache     not needed" in answer.out
    assert ("grid      " in answer.out) == (dataset in ("digits", "synthetic"))


def test_mistakes_are_told_in_one_sentence(show: Command):
    for typed, sentence in (
        (["dataset=image_folder"], "dataset.path=null names no images; give a folder or a zip archive of them\n"),
        (["dataset=image_folder", "dataset.path=absent"], "dataset.path=absent does not exist"),
        (["dataset=image_folder", "dataset.path=~/photos"], "dataset.path=~/photos; a value with blanks"),
        (["-m", "dataset=digits,ring8"], "-m is for sweeps"),
    ):
        answer = show(*typed)
        assert answer.code == 2
        assert answer.err.startswith(sentence)
        assert answer.err.count("\n") == 1


# ---- runs

FEW = ("train.log_every=1", "train.sample_every=4", "train.checkpoint_every=4", "dataset.flip=true")


def final(folder: RunFolder) -> dict[str, Any]:
    state = checkpoint.load(checkpoint.checkpoints(folder.checkpoints)[-1]).state
    return {name: state[name] for name in ("generator", "discriminator", "ema")}


@pytest.mark.parametrize("keep", ["resident", "mapped", "prefetched", "auto"])
def test_a_run_is_the_same_wherever_its_images_are_kept_and_resumes_bit_for_bit(
    tmp_path: Path, photos: Path, keep: str
):
    settings = (*SMALL, *of(photos), *FEW)
    uncut = train_in(tmp_path / "uncut", *settings, "device.data=mapped", "train.total_steps=12")
    train_in(tmp_path / "cut", *settings, f"device.data={keep}", "train.total_steps=5")
    cut = train_in(tmp_path / "cut", *settings, f"device.data={keep}", "train.total_steps=12")
    assert metrics(cut) == metrics(uncut)
    assert_equal(final(cut), final(uncut))


def assert_equal(one: Any, other: Any) -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    else:
        assert one == other


def test_a_run_does_not_go_on_with_other_images(tmp_path: Path, photos: Path):
    settings = (*SMALL, *of(photos), *FEW)
    train_in(tmp_path / "run", *settings, "train.total_steps=2")
    (photos / "a" / "0.png").write_bytes(encoded(pixels(999)))
    with pytest.raises(ConfigError, match=r"^dataset: its images are not those that this run began with; .*fresh=true"):
        train_in(tmp_path / "run", *settings, "train.total_steps=4")


@pytest.mark.parametrize("labels", [True, False])
def test_convolutions_train_on_a_folder_with_and_without_labels(photos: Path, labels: bool):
    conditioning = [f"model.{player}.conditioning={'one_hot' if labels else 'none'}" for player in PLAYERS]
    narrow = [f"model.{player}.width=8" for player in PLAYERS]
    run = make_run(*of(photos), f"dataset.labels={labels}", "model=dcgan", "train.batch_size=8", *narrow, *conditioning)
    assert (run.real.labels is not None) == labels
    assert all(value.isfinite() for value in run.step().values())


PLAYERS = ("generator", "discriminator")


@pytest.mark.parametrize("model", ["mlp", "dcgan", "resnet"])
def test_images_that_are_not_square_train_or_are_refused_in_one_sentence(photos: Path, model: str):
    typed = (*of(photos), "dataset.size=[16,32]", f"model={model}", "train.batch_size=8")
    if model == "mlp":
        assert all(value.isfinite() for value in make_run(*typed).step().values())
    else:
        with pytest.raises(ConfigError, match=r"16x32; set dataset\.size="):
            make_run(*typed)


def test_a_run_does_not_go_on_with_other_classes(tmp_path: Path, photos: Path):
    settings = (*SMALL, *of(photos), *FEW)
    train_in(tmp_path / "run", *settings, "train.total_steps=2")
    for old, new in (("a", "z"), ("b", "a")):  # the same images, otherwise numbered
        (photos / old).rename(photos / new)
    with pytest.raises(ConfigError, match="images are not those that this run began with"):
        train_in(tmp_path / "run", *settings, "train.total_steps=4")


def test_where_images_are_kept_is_no_part_of_a_runs_identity(photos: Path):
    from gan_runner.records.identity import config_hash

    one, other = (
        configure(*of(photos), f"device.data={keep}", f"dataset.cache_dir={keep}") for keep in ("auto", "mapped")
    )
    assert config_hash(one) == config_hash(other)
