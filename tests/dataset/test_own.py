"""The user's own arrays and Datasets of torch: what is read, how it is split, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import IterableDataset

from gan_runner.dataset.array_file import ArrayFile
from gan_runner.dataset.torch_dataset import TorchDataset
from tests.conftest import SMALL, Command

HERE = "tests.dataset.test_own"
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (40, 6, 5), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (40, 6, 5, 3), dtype=np.uint8)
LABELS = np.arange(40) % 4
FLOATS = PIXELS / np.float32(255)


def written(folder: Path, **arrays: Any) -> str:
    np.savez(folder / "my.npz", **arrays)
    return str(folder / "my.npz")


def sorted_images(dataset: torch.Tensor) -> np.ndarray:
    """Rows in an order that does not depend on that of the dataset."""
    rows = dataset.numpy().reshape(len(dataset), -1)
    return rows[np.lexsort(rows.T)]


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        pytest.param(PIXELS, PIXELS[:, None], id="gray pixels"),
        pytest.param(PIXELS[:, None], PIXELS[:, None], id="gray pixels, channel first"),
        pytest.param(COLOUR, COLOUR.transpose(0, 3, 1, 2), id="colours last"),
        pytest.param(COLOUR.transpose(0, 3, 1, 2), COLOUR.transpose(0, 3, 1, 2), id="colours first"),
        pytest.param(PIXELS.astype(np.int64), PIXELS[:, None], id="whole numbers of 64 bits"),
        pytest.param(FLOATS, PIXELS[:, None], id="floats from 0 to 1"),
        pytest.param(2 * FLOATS - 1, PIXELS[:, None], id="floats from -1 to 1"),
        pytest.param(PIXELS > 127, (PIXELS > 127)[:, None] * 255, id="true and false"),
    ],
)
def test_images_of_every_kind_are_read_as_the_same_pixels(tmp_path: Path, images: np.ndarray, expected: np.ndarray):
    dataset = ArrayFile(written(tmp_path, images=images))
    assert dataset.images.dtype == torch.uint8
    assert np.array_equal(sorted_images(dataset.images), sorted_images(torch.from_numpy(expected.astype(np.uint8))))


def test_an_array_of_two_dimensions_holds_points(tmp_path: Path):
    points = RNG.normal(size=(50, 2))
    np.save(tmp_path / "points.npy", points)
    dataset = ArrayFile(str(tmp_path / "points.npy"), held_out=0)
    assert dataset.spec.shape == (2, 1, 1)
    assert dataset.spec.value_range is None
    np.testing.assert_allclose(np.sort(dataset.images[:, 0, 0, 0].numpy()), np.sort(points[:, 0]), rtol=1e-6)


def test_labels_stay_with_their_images_and_splits_are_a_random_share(tmp_path: Path):
    marked = np.repeat(LABELS.astype(np.uint8) * 50, 30).reshape(40, 6, 5)
    dataset = ArrayFile(written(tmp_path, images=marked, labels=LABELS), held_out=0.2)
    assert dataset.splits == {"train": 24, "validation": 8, "test": 8}
    assert torch.equal(dataset.images[:, 0, 0, 0].long(), dataset.labels * 50)
    assert len(set(dataset.split("train").labels.tolist())) == 4
    again = ArrayFile(str(tmp_path / "my.npz"), held_out=0.2)
    assert torch.equal(again.images, dataset.images)


def test_labels_may_be_names_and_splits_may_be_given(tmp_path: Path):
    names = np.array(["owl", "cat"])[LABELS % 2]
    path = written(tmp_path, x_train=PIXELS, y_train=names[:, None], x_test=PIXELS[:10], y_test=names[:10])
    dataset = ArrayFile(path, held_out=0.1)
    assert dataset.spec.class_names == ("cat", "owl")
    assert dataset.splits == {"train": 36, "validation": 4, "test": 10}
    assert torch.equal(dataset.split("test").images, torch.from_numpy(PIXELS[:10, None]))
    assert dataset.split("test").labels.tolist() == [1, 0] * 5


def test_the_samples_of_a_run_can_be_trained_on(command: Command, entry_point: Command):
    from gan_runner import sample

    assert command(*SMALL, "train.total_steps=1", "name=a").code == 0
    answer = entry_point(sample.main, "outputs/a", "--format", "npz", "--out", "made.npz", "--count", 40)
    assert answer.code == 0
    answer = command(*SMALL, "train.total_steps=1", "dataset=arrays", "dataset.path=made.npz")
    assert answer.code == 0, answer.err
    assert "40 of 1x8x8" in answer.out or "36 of 1x8x8" in answer.out


WRONG = {
    "no path": (None, "path=null names no file"),
    "an absent file": ("absent.npz", "absent.npz does not exist; name an .npz or .npy file"),
    "no array at all": ({"images": "text"}, "images of shape () and type <U4 should hold numbers"),
    "floats from 0 to 255": ({"images": PIXELS.astype(float)}, r"convert pixels from 0 to 255 with .astype('uint8')"),
    "floats beyond 1": ({"images": FLOATS - 3}, "floats should be within 0 to 1, or within -1 to 1"),
    "numbers that are not finite": ({"images": FLOATS * np.nan}, "holds numbers that are not finite"),
    "whole numbers beyond 255": ({"images": PIXELS.astype(int) + 9}, "whole numbers should be within 0 to 255"),
    "four channels": ({"images": np.zeros((9, 6, 5, 4), np.uint8)}, "should have the shape (N, H, W), (N, H, W, C)"),
    "one dimension": ({"images": np.zeros(9, np.uint8)}, "should have the shape"),
    "complex numbers": ({"images": PIXELS.astype(complex)}, "should hold numbers"),
    "too few labels": ({"images": PIXELS, "labels": LABELS[:-1]}, "labels are 39, and the images are 40"),
    "labels of a half": ({"images": PIXELS, "labels": LABELS / 2}, "labels of type float64 should be whole numbers"),
    "negative labels": ({"images": PIXELS, "labels": LABELS - 1}, "labels go from -1 to 2; number the classes from 0"),
    "labels without end": ({"images": PIXELS, "labels": LABELS * 10**6}, "labels go up to 3000000"),
    "one-hot labels": ({"images": PIXELS, "labels": np.eye(4)[LABELS]}, "labels of shape (40, 4) should be one number"),
    "an unknown array": ({"images": PIXELS, "label": LABELS}, "'label' is none of images, labels"),
    "no training images": ({"test_images": PIXELS, "test_labels": LABELS}, "the file has no array named images"),
    "test images of another size": ({"images": PIXELS, "test_images": PIXELS[:, 1:]}, "should have one shape"),
    "labels of one split": (
        {"images": PIXELS, "labels": LABELS, "test_images": PIXELS},
        "test_labels is missing, and other splits have labels",
    ),
    "pickled objects": ({"images": np.array([{}], dtype=object)}, "holds pickled objects, which are never read"),
}


@pytest.mark.parametrize(("content", "sentence"), WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_refused_in_one_sentence(command: Command, content: Any, sentence: str):
    path = content if not isinstance(content, dict) else written(Path(), **content)
    answer = command("dataset=arrays", *([f"dataset.path={path}"] if path else []), "device=cpu")
    assert answer.code == 2
    assert sentence in answer.err
    assert answer.err.strip().count("\n") == 0
    assert not Path("outputs").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"plain text"], ids=["empty", "a broken zip", "a text"])
def test_a_file_of_another_kind_is_refused(command: Command, content: bytes):
    Path("my.npz").write_bytes(content)
    answer = command("dataset=arrays", "dataset.path=my.npz", "device=cpu")
    assert answer.code == 2
    assert "is no .npz or .npy file that can be read" in answer.err or "pickled" in answer.err
    assert answer.err.strip().count("\n") == 0


def test_a_run_goes_on_only_with_the_images_that_it_began_with(command: Command):
    run = (*SMALL, "dataset=arrays", "dataset.path=my.npz", "name=a")
    written(Path(), images=PIXELS)
    assert command(*run, "train.total_steps=1").code == 0
    assert command(*run, "train.total_steps=2").code == 0
    written(Path(), images=PIXELS[::-1])
    answer = command(*run, "train.total_steps=3")
    assert answer.code == 2
    assert "its images are not those that this run began with" in answer.err


# ---- Datasets of torch


class Items:
    """A Dataset whose items are made by a function of their number."""

    count = 20

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Any:
        return self.item(number)


class Pairs(Items):
    classes = ("even", "odd")

    def item(self, number: int) -> Any:
        return torch.full((1, 4, 4), number / 255), torch.tensor(number % 2)


class Pictures(Items):
    def item(self, number: int) -> Any:
        return Image.new("RGBA", (5, 4), (number, 0, 0, 255)), np.int64(number % 2)


class Alone(Items):
    def item(self, number: int) -> Any:
        return np.full((4, 5), number, np.uint8)


class Varying(Items):
    def item(self, number: int) -> Any:
        return torch.zeros(1, 4, 4 + number // 7)


class Words(Items):
    def item(self, number: int) -> Any:
        return "a picture", 0


class WrongLabels(Items):
    def item(self, number: int) -> Any:
        return torch.zeros(1, 4, 4), 0.5


class Failing(Items):
    def item(self, number: int) -> Any:
        raise KeyError(f"no {number}")


class Nothing(Items):
    count = 0


class Stream(IterableDataset):
    def __iter__(self) -> Any:
        return iter(())


def made(count: int = 20) -> Items:
    pairs = Pairs()
    pairs.count = count
    return pairs


A_NUMBER = 3


def test_pairs_of_a_tensor_and_a_label_are_read_with_their_classes():
    dataset = TorchDataset(f"{HERE}.Pairs", held_out=0.1)
    assert dataset.splits == {"train": 16, "validation": 2, "test": 2}
    assert dataset.spec.class_names == ("even", "odd")
    values = dataset.images[:, 0, 0, 0].long()
    assert sorted(values.tolist()) == list(range(20))
    assert torch.equal(values % 2, dataset.labels)


def test_pictures_and_arrays_are_read_and_a_function_is_called_with_arguments():
    assert TorchDataset(f"{HERE}.Pictures").images[:, 0].amax((1, 2)).sort().values.tolist() == list(range(20))
    assert TorchDataset(f"{HERE}.Pictures").spec.shape == (3, 4, 5)
    alone = TorchDataset(f"{HERE}.Alone")
    assert alone.spec.shape == (1, 4, 5)
    assert alone.labels is None
    assert len(TorchDataset(f"{HERE}.made", {"count": 7}, held_out=0)) == 7


REFUSED = {
    "no source": (None, "source=null names no Dataset"),
    "an absent class": (f"{HERE}.Absent", "cannot be found (module"),
    "no module": ("Absent", "cannot be found"),
    "a number": (f"{HERE}.A_NUMBER", "is no class and no function"),
    "a stream": (f"{HERE}.Stream", "lacks __len__ or __getitem__"),
    "an empty Dataset": (f"{HERE}.Nothing", "has no item"),
    "images of several sizes": (f"{HERE}.Varying", "item 7 is float32 (1, 4, 5) and item 0 is float32 (1, 4, 4)"),
    "words": (f"{HERE}.Words", "item 0 is str, not an image, array or tensor"),
    "labels of a half": (f"{HERE}.WrongLabels", "the label of item 0 is 0.5, no whole number"),
    "an error of its own": (f"{HERE}.Failing", ": item 0 raised KeyError: 'no 0'"),
}


@pytest.mark.parametrize(("source", "sentence"), REFUSED.values(), ids=REFUSED)
def test_a_dataset_that_cannot_be_read_is_refused_in_one_sentence(command: Command, source: str | None, sentence: str):
    answer = command("dataset=torch", *([f"dataset.source={source}"] if source else []), "device=cpu")
    assert answer.code == 2
    assert sentence in answer.err
    assert answer.err.strip().count("\n") == 0


def test_a_command_that_reads_a_run_folder_calls_no_source_that_is_not_trusted(command: Command, entry_point: Command):
    from gan_runner import evaluate

    assert command(*SMALL, "dataset=torch", f"dataset.source={HERE}.Pairs", "name=a", "train.total_steps=1").code == 0
    typed = ("outputs/a", "--metric", "pixel_fid", "--n-fake", 100, "--split", "train")
    answer = entry_point(evaluate.main, *typed)
    assert answer.code == 2
    assert f"--trust {HERE}.Pairs" in answer.err
    assert entry_point(evaluate.main, *typed, "--trust", f"{HERE}.Pairs").code == 0
