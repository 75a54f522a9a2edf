import threading
from itertools import islice
from pathlib import Path

import pytest
import torch

from gan_runner.dataset.digits import Digits
from gan_runner.dataset.image_folder import ImageFolder
from gan_runner.dataset.images import ImageDataset
from gan_runner.device import Device
from gan_runner.spec import Share
from tests.dataset.pictures import encoded, pixels, write_folder

CPU = torch.device("cpu")


def dataset(count: int = 10) -> ImageDataset:
    """Image i is filled with the value i and has label i."""
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 3, 2, 2)
    splits = {"train": count - 4, "validation": 2, "test": 2}
    return ImageDataset(images, torch.arange(count), splits, tuple(map(str, range(count))))


def labels(data: ImageDataset, size: int, start: int, count: int, seed: int = 0) -> list[int]:
    batches = islice(data.batches(size, CPU, start, seed), count)
    return torch.cat([batch.labels for batch in batches]).tolist()


def test_every_image_comes_once_an_epoch_in_a_new_order():
    seen = labels(dataset(), 5, 0, 6)
    epochs = [seen[:10], seen[10:20], seen[20:]]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("start", [0, 3, 10, 17, 40])
def test_the_stream_is_a_function_of_its_position(start: int):
    assert labels(dataset(), 3, start, 4) == labels(dataset(), 1, 0, 60)[start : start + 12]


def test_a_batch_may_be_larger_than_the_dataset():
    assert sorted(labels(dataset(), 30, 0, 1)) == sorted(list(range(10)) * 3)


def test_seeds_give_other_orders():
    assert labels(dataset(), 10, 0, 1, seed=0) != labels(dataset(), 10, 0, 1, seed=1)


def test_pixels_fill_the_range_exactly_and_go_with_their_labels():
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1)
    data = ImageDataset(pixels, torch.arange(3), {"train": 3}, ("a", "b", "c"))
    batch = next(data.batches(3, CPU, 0, 0))
    assert batch.images.dtype == torch.float32
    by_label = batch.images.flatten()[batch.labels.argsort()]
    assert by_label[0] == -1
    assert by_label[1].item() == pytest.approx(-0.6)
    assert by_label[2] == 1


def test_splits_are_disjoint_and_whole():
    data = dataset()
    parts = {name: data.split(name).labels.tolist() for name in ("train", "validation", "test")}
    assert parts == {"train": [0, 1, 2, 3, 4, 5], "validation": [6, 7], "test": [8, 9]}
    assert data.split("test").spec == data.spec
    with pytest.raises(ValueError, match="split='valid' is none of train, validation, test"):
        data.split("valid")


MODES = ("resident", "mapped", "prefetched")


@pytest.fixture
def on_disk(tmp_path: Path) -> ImageFolder:
    """Fifty images of random pixels with three classes, mapped from the cache."""
    files = {f"{'abc'[n % 3]}/{n}.png": encoded(pixels(n)) for n in range(50)}
    root = write_folder(tmp_path / "images", files)
    return ImageFolder(str(root), flip=True, held_out=0.0, cache_dir=str(tmp_path / "cache"))


@pytest.mark.parametrize("keep", MODES)
@pytest.mark.parametrize("start", [0, 17, 130])
def test_wherever_images_are_kept_the_batches_are_the_same(on_disk: ImageFolder, keep: str, start: int):
    train = on_disk.split("train")
    asked = list(islice(train.batches(16, CPU, start, 3, keep), 8))
    plain = ImageDataset(train.images.clone(), train.labels, {"train": 50}, train.spec.class_names, flip=True)
    for batch, expected in zip(asked, plain.batches(16, CPU, start, 3, "mapped"), strict=False):
        assert torch.equal(batch.images, expected.images)
        assert torch.equal(batch.labels, expected.labels)


@pytest.mark.parametrize("keep", MODES)
def test_the_shares_of_a_batch_are_the_batch(on_disk: ImageFolder, keep: str):
    train = on_disk.split("train")
    whole = islice(train.batches(12, CPU, 5, 3, keep), 9)
    shares = [train.batches(12, CPU, 5, 3, keep, Share(part, 3)) for part in range(3)]
    for expected, *parts in zip(whole, *shares, strict=False):
        assert [len(part.images) for part in parts] == [4, 4, 4]
        assert torch.equal(torch.cat([part.images for part in parts]), expected.images)
        assert torch.equal(torch.cat([part.labels for part in parts]), expected.labels)


@pytest.mark.gpu
@pytest.mark.parametrize("keep", [*MODES, "auto"])
def test_on_a_gpu_the_batches_are_those_of_a_cpu(on_disk: ImageFolder, keep: str):
    train, device = on_disk.split("train"), torch.device("cuda")
    for batch, expected in zip(
        islice(train.batches(16, device, 5, 3, keep), 9), train.batches(16, CPU, 5, 3), strict=False
    ):
        assert batch.images.device.type == "cuda"
        assert torch.equal(batch.images.cpu(), expected.images)
        assert torch.equal(batch.labels.cpu(), expected.labels)


def test_images_are_mirrored_every_other_time_and_otherwise_as_they_are(on_disk: ImageFolder):
    train = on_disk.split("train")
    stored = {image.numpy().tobytes() for image in train.images}
    mirrored = {image.flip(2).numpy().tobytes() for image in train.images}
    seen = torch.cat([batch.images for batch in islice(train.batches(50, CPU, 0, 0), 20)])
    raw = [image.numpy().tobytes() for image in seen.add(1).mul(127.5).round().to(torch.uint8)]
    assert all(image in stored | mirrored for image in raw)
    share = sum(image in mirrored for image in raw) / len(raw)
    assert 0.45 < share < 0.55


def test_only_training_images_are_mirrored(tmp_path: Path):
    files = {f"{split}/{n}.png": encoded(pixels(n)) for split in ("train", "test") for n in range(5)}
    data = ImageFolder(str(write_folder(tmp_path / "a", files)), flip=True, cache_dir=str(tmp_path / "cache"))
    assert data.split("train").flip
    assert not data.split("test").flip


def test_reading_ahead_ends_with_the_stream(on_disk: ImageFolder):
    stream = on_disk.split("train").batches(16, CPU, 0, 0, "prefetched")
    next(stream)
    assert [thread for thread in threading.enumerate() if thread.name.startswith("data")]
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("data")]


def test_another_way_to_keep_images_is_refused():
    with pytest.raises(ValueError, match="data='disk' is none of auto, resident, mapped, prefetched"):
        Device(data="disk")


def test_points_are_handed_out_as_they_are():
    points = torch.tensor([[3.0, -7.0]]).view(1, 2, 1, 1)
    data = ImageDataset(points, None, {"train": 1})
    assert data.spec.value_range is None
    batch = next(data.batches(2, CPU, 0, 0))
    assert batch.images.flatten().tolist() == [3.0, -7.0, 3.0, -7.0]
    assert batch.labels is None


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0]])
def test_a_label_without_a_name_is_refused(labels: list[int]):
    with pytest.raises(ValueError, match=r"labels=.* go beyond the 3 names"):
        ImageDataset(torch.zeros(2, 1, 1, 1, dtype=torch.uint8), torch.tensor(labels), {"train": 2}, ("a", "b", "c"))


def test_a_few_labels_of_each_class_are_chosen_by_the_seed():
    digits = Digits(labels_per_class=7)
    chosen, again, other = (digits.split("train").labelled(seed) for seed in (0, 0, 1))
    assert torch.bincount(chosen.labels).tolist() == [7] * 10
    assert torch.equal(chosen.images, again.images)
    assert not torch.equal(chosen.images, other.images)
    assert pairs(chosen) <= pairs(digits.split("train"))
    assert len(Digits().split("train").labelled(0)) == 1437


def pairs(data: ImageDataset) -> set[tuple[bytes, int]]:
    return {(image.numpy().tobytes(), int(k)) for image, k in zip(data.images, data.labels, strict=True)}


@pytest.mark.parametrize(
    ("count", "sentence"), [(0, "must be at least 1"), (200, "more than class 8 has to train on; use 1")]
)
def test_an_impossible_number_of_labels_is_refused(count: int, sentence: str):
    with pytest.raises(ValueError, match=f"labels_per_class={count} .*{sentence}"):
        Digits(labels_per_class=count)


def test_labels_of_nothing_are_refused():
    with pytest.raises(ValueError, match="labels_per_class=1 needs labels"):
        ImageDataset(torch.zeros(2, 1, 1, 1, dtype=torch.uint8), None, {"train": 2}, (), 1)


PIXELS = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
CLASSES = ("a", "b")
UNFIT = {  # images, labels, splits -> the sentence
    "no tensor": (PIXELS.numpy(), None, {"train": 4}, "images should be a tensor .* and are ndarray"),
    "nothing": (None, None, {"train": 4}, "images should be a tensor .* and are NoneType"),
    "float64": (PIXELS.double(), None, {"train": 4}, r"and are float64 of shape \(4, 1, 2, 2\)"),
    "float16": (PIXELS.half(), None, {"train": 4}, "and are float16"),
    "int64": (PIXELS.long(), None, {"train": 4}, "and are int64"),
    "no channels": (PIXELS[:, 0], None, {"train": 4}, r"and are uint8 of shape \(4, 2, 2\)"),
    "splits of more images": (PIXELS, None, {"train": 3, "test": 2}, r"splits \(train 3, test 2\) are 5 images, .* 4"),
    "a negative split": (PIXELS, None, {"train": 5, "test": -1}, "should all be 0 or more"),
    "no training split": (PIXELS, None, {"valid": 2, "test": 2}, r"splits \(valid 2, test 2\) should have one named"),
    "too few labels": (
        PIXELS,
        torch.zeros(3, dtype=torch.long),
        {"train": 4},
        r"\(3,\) should be one for each of the 4",
    ),
    "labels of another split": (PIXELS, torch.zeros(9, dtype=torch.long), {"train": 4}, r"\(9,\) should be one"),
    "labels in two dimensions": (PIXELS, torch.eye(4, 2).long(), {"train": 4}, r"\(4, 2\) should be one"),
    "labels that are numbers": (PIXELS, torch.zeros(4), {"train": 4}, "whole numbers, and are float32"),
    "labels that are true or false": (PIXELS, torch.zeros(4).bool(), {"train": 4}, "whole numbers, and are bool"),
    "labels in a list": (PIXELS, [0, 1, 0, 1], {"train": 4}, "tensor of whole numbers, and are list"),
}


@pytest.mark.parametrize(("images", "labels", "splits", "sentence"), UNFIT.values(), ids=UNFIT)
def test_images_labels_and_splits_are_counted_against_one_another(images, labels, splits, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        ImageDataset(images, labels, splits, CLASSES)


@pytest.mark.parametrize("kind", [torch.int32, torch.uint8, torch.int16])
def test_labels_of_any_whole_kind_are_taken(kind: torch.dtype):
    data = ImageDataset(PIXELS, torch.tensor([0, 1, 1, 0]).to(kind), {"train": 4}, CLASSES)
    assert data.labels.dtype == torch.int64
    assert data.labels.tolist() == [0, 1, 1, 0]


def test_a_split_of_training_images_alone_is_noticed():
    images = torch.arange(6, dtype=torch.uint8).view(-1, 1, 1, 1).expand(6, 1, 2, 2)
    whole = ImageDataset(images[[0, 1, 2, 0, 1, 5]], None, {"train": 3, "validation": 2, "test": 1})
    assert whole.repeats("validation")
    assert not whole.repeats("test")
    assert not ImageDataset(images[[0, 1, 2, 0, 5]], None, {"train": 3, "validation": 2}).repeats("validation")
