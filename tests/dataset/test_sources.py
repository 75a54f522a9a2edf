"""The datasets that ship: what they hold, and what they say when it is missing."""

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gan_runner.dataset.celeba import CelebA
from gan_runner.dataset.cifar10 import CIFAR10, SPLITS
from gan_runner.dataset.digits import Digits
from gan_runner.dataset.mnist import MNIST, FashionMNIST
from gan_runner.dataset.point_masses import PointMasses
from gan_runner.dataset.stacked_mnist import StackedMNIST
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


def test_stacked_digits_are_three_of_mnist_that_spell_their_label(real_mnist: Path):
    """Each channel is found again, byte for byte, in the same split of MNIST, with the digit that the label names."""
    digits, stacked = MNIST(str(real_mnist)), StackedMNIST(str(real_mnist), count=500)
    assert stacked.spec.shape == (3, 28, 28)
    assert stacked.spec.names(torch.tensor([7, 407])) == ["007", "407"]
    assert stacked.spec.num_classes == 1000
    for name in ("train", "validation", "test"):
        source = digits.split(name)
        known = {pixels.numpy().tobytes(): int(k) for pixels, k in zip(source.images, source.labels, strict=True)}
        split = stacked.split(name)
        for image, label in zip(split.images[:200], split.labels[:200], strict=True):
            assert f"{int(label):03d}" == "".join(str(known[channel.numpy().tobytes()]) for channel in image)


def test_stacked_digits_have_all_thousand_modes_alike_and_the_same_at_every_start(real_mnist: Path):
    stacked = StackedMNIST(str(real_mnist))
    assert {name: len(stacked.split(name)) for name in stacked.splits} == {
        "train": 128_000,
        "validation": 26_000,
        "test": 26_000,
    }
    counts = torch.bincount(stacked.split("train").labels, minlength=1000)
    assert counts.min() > 0.5 * 128
    assert counts.max() < 2 * 128  # a digit is up to 1.13 times as frequent as a tenth
    assert torch.equal(stacked.labels[:100], StackedMNIST(str(real_mnist), count=128_000).labels[:100])


def test_no_stacked_digit_at_all_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="count=0 must be at least 1"):
        StackedMNIST(str(tmp_path), count=0)


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


def write_cifar10(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of the set with two images in each, the n-th of value n and label n % 10."""
    folder.mkdir(parents=True)
    names = [f"data_batch_{n}" for n in range(1, 6)] + ["test_batch"]
    for number, name in enumerate(names):
        values = np.array([2 * number, 2 * number + 1], np.uint8)
        content = {"data": np.repeat(values[:, None], 3072, axis=1), "labels": (values % 10).tolist()}
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"class {n}" for n in range(10)]}))
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda path, md5: Path(path).exists())


def test_cifar10_in_its_original_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_cifar10(tmp_path / "cifar-10-batches-py", monkeypatch)
    monkeypatch.setattr("gan_runner.dataset.cifar10.SPLITS", {"train": 9, "validation": 1, "test": 2})
    data = CIFAR10(str(tmp_path))
    assert data.images.shape == (12, 3, 32, 32)
    assert data.images[:, 1, 5, 7].tolist() == list(range(12))
    assert data.split("test").labels.tolist() == [0, 1]
    assert data.spec.class_names[3] == "class 3"
    assert sum(SPLITS.values()) == 60_000


def test_faces_are_cropped_in_the_middle_and_shrunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "celeba" / "img_align_celeba"
    folder.mkdir(parents=True)
    face = np.zeros((218, 178, 3), np.uint8)
    face[20:198, :89] = 255  # the left half of the middle square
    for n in range(6):
        Image.fromarray(face).save(folder / f"{n}.png")

    splits = {"train": ["0.png", "1.png", "2.png"], "valid": ["3.png"], "test": ["4.png", "5.png"]}

    class Lists:
        def __init__(self, root: str, split: str, download: bool):
            self.filename = splits[split]

    monkeypatch.setattr("torchvision.datasets.CelebA", Lists)
    data = CelebA(str(tmp_path), size=8)
    assert data.images.shape == (6, 3, 8, 8)
    assert data.splits == {"train": 3, "validation": 1, "test": 2}
    assert data.images[0, 0, :, :3].min() > 245  # no black of the margins above and below
    assert data.images[0, 0, :, 5:].max() < 10
    with pytest.raises(ValueError, match="size=200"):
        CelebA(str(tmp_path), size=200)


@pytest.mark.parametrize(("source", "file"), [(CIFAR10, "data_batch_1"), (CelebA, "img_align_celeba")])
def test_offline_the_files_of_colour_sets_are_named(tmp_path: Path, monkeypatch, source: type, file: str):
    def refuse(*arguments: object, **named: object) -> None:
        raise OSError("no route to host")

    for way in ("urllib.request.urlopen", "torchvision.datasets.utils.download_file_from_google_drive"):
        monkeypatch.setattr(way, refuse)
    monkeypatch.setattr("torchvision.datasets.celeba.download_file_from_google_drive", refuse)
    with pytest.raises(ConfigError) as caught:
        source(str(tmp_path / "absent"))
    for word in (str(tmp_path / "absent"), file, "dataset.root", "GAN_RUNNER_DATA"):
        assert word in str(caught.value)
    assert not (tmp_path / "absent").exists()
