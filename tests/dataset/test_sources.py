"""The datasets that ship: what they hold, and what they say when it is missing."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from gan_runner.dataset.digits import Digits
from gan_runner.dataset.mnist import MNIST, FashionMNIST
from gan_runner.dataset.point_masses import PointMasses
from gan_runner.errors import ConfigError


def test_digits_are_those_of_scikit_learn():
    data = Digits()
    assert data.images.shape == (1797, 1, 8, 8)
    assert data.spec.num_classes == 10
    assert sum(data.splits.values()) == 1797
    assert data.images.max() == 255
    assert set(data.images.unique().tolist()) == {round(level * 255 / 16) for level in range(17)}
    assert np.bincount(data.labels.numpy()).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_every_split_of_digits_has_every_class():
    for name in ("train", "validation", "test"):
        assert Digits().split(name).labels.unique().tolist() == list(range(10))


def test_the_real_mnist_in_its_original_order(real_mnist: Path):
    data = MNIST(str(real_mnist))
    assert data.images.shape == (70_000, 1, 28, 28)
    assert {name: len(data.split(name)) for name in data.splits} == {
        "train": 50_000,
        "validation": 10_000,
        "test": 10_000,
    }
    assert data.split("train").labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.split("test").labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert data.images.float().mean().item() / 255 == pytest.approx(0.1307, abs=0.0005)


def write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(header + array.tobytes())


@pytest.mark.parametrize("source", [MNIST, FashionMNIST])
def test_files_are_read_where_they_are_and_not_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: type
):
    raw = tmp_path / source.__name__ / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 60_000), ("t10k", 10_000)):
        write_idx(raw / f"{part}-images-idx3-ubyte", np.zeros((count, 28, 28), np.uint8))
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.zeros(count, np.uint8))
    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", None)
    data = source(str(tmp_path))
    assert len(data) == 70_000
    assert data.spec.num_classes == 10


def test_mnist_is_downloaded_through_torchvision_where_files_are_absent(tmp_path: Path, monkeypatch):
    asked = []

    def download(url: str, download_root: str, filename: str, md5: str) -> None:
        asked.append(filename)
        kind = 3 if "images" in filename else 1
        count = 60_000 if "train" in filename else 10_000
        array = np.zeros((count, 28, 28) if kind == 3 else count, np.uint8)
        write_idx(Path(download_root) / filename.removesuffix(".gz"), array)

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", download)
    assert len(MNIST(str(tmp_path))) == 70_000
    assert len(asked) == 4


@pytest.mark.parametrize("source", [MNIST, FashionMNIST])
def test_offline_one_sentence_names_the_folder_the_files_and_the_setting(tmp_path: Path, monkeypatch, source: type):
    def refuse(*arguments: object, **named: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(ConfigError) as caught:
        source(str(tmp_path))
    sentence = str(caught.value)
    assert "\n" not in sentence
    for word in (str(tmp_path / source.__name__ / "raw"), "train-images-idx3-ubyte", "dataset.root", "GAN_RUNNER_DATA"):
        assert word in sentence


def test_point_masses_are_at_their_distance_from_the_origin():
    data = PointMasses(3.0)
    assert data.spec.value_range is None
    assert torch.equal(data.images.flatten(1).unique(dim=0), torch.tensor([[3.0, 0.0]]))
    with pytest.raises(ValueError, match="distance=-1"):
        PointMasses(-1.0)
