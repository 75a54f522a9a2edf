"""The stock datasets: their content, and their messages about missing files."""

import io
import pickle
import struct
from pathlib import Path

import lmdb
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from sklearn.datasets import load_digits

from gan_runner.dataset.arrays import resized
from gan_runner.dataset.celeba import CelebA
from gan_runner.dataset.cifar import CIFAR10, CIFAR100
from gan_runner.dataset.digits import Digits
from gan_runner.dataset.lsun import LSUN
from gan_runner.dataset.mnist import EMNIST, KMNIST, MNIST, FashionMNIST
from gan_runner.dataset.point_masses import PointMasses
from gan_runner.dataset.stacked_mnist import StackedMNIST
from gan_runner.dataset.stl10 import STL10
from gan_runner.dataset.svhn import SVHN
from gan_runner.errors import ConfigError


def test_digits_are_those_of_scikit_learn():
    data = Digits()
    assert data.images.shape == (1797, 1, 8, 8)
    assert data.spec.num_classes == 10
    assert sum(data.splits.values()) == 1797
    assert data.images.max() == 255
    assert set(data.images.unique().tolist()) == {round(level * 255 / 16) for level in range(17)}
    theirs = load_digits()
    levels = {
        image.tobytes(): label for image, label in zip(theirs.images.astype(np.uint8), theirs.target, strict=True)
    }
    for image, label in zip(data.images[:, 0], data.labels, strict=True):
        assert levels[np.round(image.numpy() * (16 / 255)).astype(np.uint8).tobytes()] == label
    assert data.labels.tolist() != theirs.target.tolist()  # shuffled: the originals are sorted by writer


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


def pictured(seed: int, *shape: int) -> np.ndarray:
    """Random pixels, so that exchanged axes are detected."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_mnist(raw: Path, prefix: str = "") -> dict[str, np.ndarray]:
    """Five training and three test images with the labels 3, 1, 4, 1, 5 and 9, 2, 6."""
    raw.mkdir(parents=True)
    images = {"train": pictured(0, 5, 28, 28), "t10k": pictured(1, 3, 28, 28)}
    labels = {"train": [3, 1, 4, 1, 5], "t10k": [9, 2, 6]}
    for part in ("train", "t10k"):
        write_idx(raw / f"{prefix}{part}-images-idx3-ubyte", images[part])
        write_idx(raw / f"{prefix}{part}-labels-idx1-ubyte", np.array(labels[part], np.uint8))
    return images


@pytest.mark.parametrize("source", [MNIST, FashionMNIST, KMNIST])
def test_files_are_read_where_they_are_upright_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: type
):
    images = write_mnist(tmp_path / source.__name__ / "raw")
    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", None)
    monkeypatch.setattr("gan_runner.dataset.mnist.HELD_OUT", 2)
    data = source(str(tmp_path))
    assert np.array_equal(data.images[:, 0], np.concatenate([images["train"], images["t10k"]]))
    assert {name: data.split(name).labels.tolist() for name in data.splits} == {
        "train": [3, 1, 4],
        "validation": [1, 5],
        "test": [9, 2, 6],
    }
    assert data.spec.num_classes == 10


def test_stacked_digits_are_three_of_the_same_split_that_spell_their_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Each channel is an image of the same split of MNIST, byte for byte, with the digit in the label."""
    write_mnist(tmp_path / "MNIST" / "raw")
    monkeypatch.setattr("gan_runner.dataset.mnist.HELD_OUT", 2)
    monkeypatch.setattr("gan_runner.dataset.stacked_mnist.JUDGED", 40)
    digits, stacked = MNIST(str(tmp_path)), StackedMNIST(str(tmp_path), count=60)
    assert stacked.splits == {"train": 60, "validation": 40, "test": 40}
    assert stacked.spec.shape == (3, 28, 28)
    assert stacked.spec.names(torch.tensor([7, 407])) == ["007", "407"]
    for name in stacked.splits:
        source, split = digits.split(name), stacked.split(name)
        known = {pixels.numpy().tobytes(): int(k) for pixels, k in zip(source.images, source.labels, strict=True)}
        spelt = ["".join(str(known[channel.numpy().tobytes()]) for channel in image) for image in split.images]
        assert spelt == [f"{int(label):03d}" for label in split.labels]
        assert len(set(spelt)) > 5


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


@pytest.mark.parametrize("source", [MNIST, FashionMNIST, KMNIST])
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


def write_cifar10(folder: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """The files of the set with two images in each, the n-th with label n % 10; the test images come last."""
    folder.mkdir(parents=True)
    images = pictured(0, 12, 3, 32, 32)  # a file has all of red, then green, then blue, row by row
    names = [f"data_batch_{n}" for n in range(1, 6)] + ["test_batch"]
    for number, name in enumerate(names):
        rows = range(2 * number, 2 * number + 2)
        content = {"data": images[list(rows)].reshape(2, -1), "labels": [row % 10 for row in rows]}
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"class {n}" for n in range(10)]}))
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda path, md5: Path(path).exists())
    return images


def test_cifar10_is_upright_in_its_colours_and_in_its_original_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    images = write_cifar10(tmp_path / "cifar-10-batches-py", monkeypatch)
    monkeypatch.setattr("gan_runner.dataset.cifar.HELD_OUT", 3)
    data = CIFAR10(str(tmp_path))
    assert np.array_equal(data.images, images)
    assert {name: data.split(name).labels.tolist() for name in data.splits} == {
        "train": [0, 1, 2, 3, 4, 5, 6],
        "validation": [7, 8, 9],
        "test": [0, 1],
    }
    assert data.spec.class_names[3] == "class 3"
    assert not data.flip
    small = CIFAR10(str(tmp_path), size=[16, 8], flip=True)
    assert small.spec.shape == (3, 16, 8)
    assert np.array_equal(small.images, resized(images, [16, 8]))
    assert small.split("train").flip


def test_cifar100_has_the_fine_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    images = pictured(0, 6, 3, 32, 32)
    for name, some, labels in (("train", images[:4], [99, 98, 97, 96]), ("test", images[4:], [42, 7])):
        (folder / name).write_bytes(pickle.dumps({"data": some.reshape(len(some), -1), "fine_labels": labels}))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [f"fine {n}" for n in range(100)]}))
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda path, md5: Path(path).exists())
    monkeypatch.setattr("gan_runner.dataset.cifar.HELD_OUT", 1)
    data = CIFAR100(str(tmp_path))
    assert np.array_equal(data.images, images)
    assert data.labels.tolist() == [99, 98, 97, 96, 42, 7]
    assert data.spec.class_names[42] == "fine 42"
    assert data.splits == {"train": 3, "validation": 1, "test": 2}


def test_letters_are_upright_and_count_from_a(tmp_path: Path):
    raw = tmp_path / "EMNIST" / "raw"
    raw.mkdir(parents=True)
    drawn = np.zeros((28, 28), np.uint8)
    drawn[3, 20] = 255  # row 3, column 20
    for part, count in (("train", 5), ("test", 2)):
        write_idx(raw / f"emnist-letters-{part}-images-idx3-ubyte", np.stack([drawn.T] * count))  # stored transposed
        write_idx(raw / f"emnist-letters-{part}-labels-idx1-ubyte", np.arange(1, count + 1, dtype=np.uint8))
    data = EMNIST(str(tmp_path), part="letters")
    assert (data.images[:, 0, 3, 20] == 255).all()
    assert data.labels.tolist() == [0, 1, 2, 3, 4, 0, 1]
    assert data.spec.class_names == tuple("abcdefghijklmnopqrstuvwxyz")
    assert data.splits == {"train": 3, "validation": 2, "test": 2}
    with pytest.raises(ValueError, match=r"part='letter' is none of .*did you mean 'letters'"):
        EMNIST(str(tmp_path), part="letter")


def test_house_numbers_with_and_without_the_easier_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "svhn").mkdir()
    images = {name: pictured(n, count, 3, 32, 32) for n, (name, count) in enumerate(SVHN_FILES.items())}
    for name, some in images.items():
        content = {
            "X": some.transpose(2, 3, 1, 0),
            "y": np.array([[10]] + [[1]] * (len(some) - 1)),
        }  # 10 is the digit 0
        savemat(tmp_path / "svhn" / f"{name}_32x32.mat", content)
    monkeypatch.setattr("torchvision.datasets.svhn.check_integrity", lambda path, md5: True)
    monkeypatch.setattr("torchvision.datasets.svhn.download_url", lambda *arguments: None)
    monkeypatch.setattr("gan_runner.dataset.svhn.HELD_OUT", 1)
    plain, more = SVHN(str(tmp_path)), SVHN(str(tmp_path), extra=True)
    assert np.array_equal(plain.images, np.concatenate([images["train"], images["test"]]))
    assert plain.labels.tolist() == [0, 1, 1, 1, 0, 1]
    assert plain.splits == {"train": 3, "validation": 1, "test": 2}
    assert np.array_equal(more.images, np.concatenate([images["extra"], images["train"], images["test"]]))
    assert more.splits == {"train": 6, "validation": 1, "test": 2}


SVHN_FILES = {"train": 4, "test": 2, "extra": 3}


def test_stl10_labelled_and_with_the_unlabelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    for name, count, value in (("train", 20, 1), ("test", 3, 2), ("unlabeled", 22, 3)):
        image = np.full((3, 96, 96), value, np.uint8)
        image[:, 5, 70] = 99  # column 5, row 70: the file goes down the columns first
        (folder / f"{name}_X.bin").write_bytes(np.stack([image] * count).tobytes())
        (folder / f"{name}_y.bin").write_bytes(bytes([10] * count))
    (folder / "class_names.txt").write_text("\n".join(f"class {n}" for n in range(10)))
    monkeypatch.setattr("torchvision.datasets.stl10.check_integrity", lambda path, md5: True)
    labelled, all_of_them = STL10(str(tmp_path)), STL10(str(tmp_path), labels=False, size=32)
    assert (labelled.images[:, :, 70, 5] == 99).all()
    assert labelled.labels.tolist() == [9] * 23
    assert labelled.splits == {"train": 18, "validation": 2, "test": 3}
    assert all_of_them.labels is None
    assert all_of_them.splits == {"train": 40, "validation": 2, "test": 3}
    assert all_of_them.images[:, 0, 0, 0].tolist() == [1] * 20 + [3] * 22 + [2] * 3
    assert all_of_them.spec.shape == (3, 32, 32)


def test_faces_are_cropped_in_the_middle_and_shrunk(tmp_path: Path):
    folder = tmp_path / "celeba" / "img_align_celeba"
    folder.mkdir(parents=True)
    for n in range(6):
        face = np.full((218, 178, 3), 10 * n, np.uint8)
        face[20:198, :89] = 255  # the left half of the middle square
        face[20:109, 89:] = 200  # the upper right quarter
        Image.fromarray(face).save(folder / f"{n}.png")
    parts = "".join(f"{n}.png {part}\n" for n, part in enumerate((0, 2, 0, 1, 0, 2)))
    (tmp_path / "celeba" / "list_eval_partition.txt").write_text(parts)
    data = CelebA(str(tmp_path), size=8, cache_dir=str(tmp_path / "cache"))
    assert data.images.shape == (6, 3, 8, 8)
    assert data.splits == {"train": 3, "validation": 1, "test": 2}
    assert data.images[:, 0, 6, 6].tolist() == pytest.approx([0, 20, 40, 30, 10, 50], abs=3)  # Lanczos overshoots
    assert (data.images[:, 0, 1, 6].int() - 200).abs().max() <= 3
    assert data.images[:, 0, :, :3].min() > 240  # no margins above and below
    with pytest.raises(ValueError, match="size=9000"):
        CelebA(str(tmp_path), size=9000)


def write_lmdb(path: Path, colours: list[int]) -> None:
    path.mkdir(parents=True)
    with lmdb.open(str(path)) as database, database.begin(write=True) as transaction:
        for number, colour in enumerate(colours):
            file = io.BytesIO()
            Image.new("RGB", (30, 20), (colour,) * 3).save(file, "WEBP", lossless=True)
            transaction.put(b"key %03d" % number, file.getvalue())


def test_scenes_are_read_from_their_databases(tmp_path: Path):
    for number, name in enumerate(("tower", "bridge")):
        write_lmdb(tmp_path / "lsun" / f"{name}_train_lmdb", [100 * number + n for n in range(10)])
        write_lmdb(tmp_path / "lsun" / f"{name}_val_lmdb", [100 * number + 50])
    cache = str(tmp_path / "cache")
    one = LSUN(str(tmp_path), ["tower"], size=8, held_out=0.2, cache_dir=cache)
    assert one.images[:, 2, 3, 3].tolist() == [*range(10), 50]
    assert one.splits == {"train": 8, "validation": 2, "test": 1}
    assert one.labels is None
    both = LSUN(str(tmp_path), ["tower", "bridge"], size=[4, 8], count=3, held_out=0.0, cache_dir=cache)
    assert both.images[:, 0, 3, 3].tolist() == [0, 1, 2, 100, 101, 102, 50, 150]
    assert both.spec.names(both.labels) == ["tower"] * 3 + ["bridge"] * 3 + ["tower", "bridge"]
    assert both.spec.shape == (3, 4, 8)
    with pytest.raises(ConfigError, match=r"LSUN needs .*cat_train_lmdb/data.mdb.*dataset.root="):
        LSUN(str(tmp_path), ["cat"], cache_dir=cache)
    with pytest.raises(ValueError, match=r"categories='../x' is no name"):
        LSUN(str(tmp_path), ["../x"], cache_dir=cache)


def test_another_size_is_the_middle_resized_as_an_image_folder_would():
    rng = np.random.default_rng(0)
    for channels in (1, 3):
        images = rng.integers(0, 256, (5, channels, 28, 40), dtype=np.uint8)
        got = resized(images, 14)
        for before, after in zip(images, got, strict=True):
            whole = Image.fromarray(before[:, :, 6:34].transpose(1, 2, 0).squeeze())
            expected = np.asarray(whole.resize((14, 14), Image.Resampling.LANCZOS)).reshape(14, 14, -1)
            assert np.array_equal(after.transpose(1, 2, 0), expected)
        assert resized(images, [28, 40]) is images


@pytest.mark.long
def test_mnist_at_another_size(real_mnist: Path):
    data = MNIST(str(real_mnist), size=32)
    assert data.images.shape == (70_000, 1, 32, 32)
    assert data.images.float().mean().item() / 255 == pytest.approx(0.1307, abs=0.005)


OFFLINE = [
    *((CIFAR10, "data_batch_1"), (CIFAR100, "train, test and meta"), (SVHN, "train_32x32.mat")),
    *((STL10, "unlabeled_X.bin"), (EMNIST, "gzip.zip"), (CelebA, "img_align_celeba")),
]


@pytest.mark.parametrize(("source", "file"), OFFLINE)
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
