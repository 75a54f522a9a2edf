from itertools import islice

import pytest
import torch

from gan_runner.dataset.digits import Digits
from gan_runner.dataset.images import ImageDataset

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


@pytest.mark.parametrize(("count", "sentence"), [(0, "must be at least 1"), (200, "more than a class has; use 1")])
def test_an_impossible_number_of_labels_is_refused(count: int, sentence: str):
    with pytest.raises(ValueError, match=f"labels_per_class={count} .*{sentence}"):
        Digits(labels_per_class=count)


def test_labels_of_nothing_are_refused():
    with pytest.raises(ValueError, match="labels_per_class=1 needs labels"):
        ImageDataset(torch.zeros(2, 1, 1, 1, dtype=torch.uint8), None, {"train": 2}, (), 1)
