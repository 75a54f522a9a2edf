import torch

from gan_runner.spec import Batch, ImageSpec, Share, full_precision, joined, scores, to_levels


def test_a_batch_splits_into_equal_parts_with_all_that_belongs_to_them():
    labelled = Batch(torch.arange(6.0).view(6, 1, 1, 1), torch.arange(6))
    batch = Batch(torch.arange(12.0).view(12, 1, 1, 1), torch.arange(12), labelled)
    parts = batch.split(3)
    assert [len(part.images) for part in parts] == [4, 4, 4]
    assert torch.equal(torch.cat([part.labels for part in parts]), batch.labels)
    assert parts[1].labelled is not None
    assert parts[1].labelled.labels.tolist() == [2, 3]


def test_a_batch_without_labels_splits_too():
    assert [part.labels for part in Batch(torch.zeros(4, 1, 1, 1)).split(2)] == [None, None]


def test_full_precision_lifts_16_bits_and_leaves_64():
    dtypes = [full_precision(torch.zeros(1, dtype=d)).dtype for d in (torch.bfloat16, torch.float16, torch.float64)]
    assert dtypes == [torch.float32, torch.float32, torch.float64]


def test_the_size_of_an_image():
    assert ImageSpec(3, 4, 5).size == 60
    assert ImageSpec(3, 4, 5).shape == (3, 4, 5)


def test_batches_are_joined_with_their_labels():
    one, other = Batch(torch.zeros(2, 1, 1, 1), torch.tensor([3, 4])), Batch(torch.ones(1, 1, 1, 1), torch.tensor([5]))
    both = joined(one, other)
    assert both.images.flatten().tolist() == [0, 0, 1]
    assert both.labels.tolist() == [3, 4, 5]
    assert joined(one, other._replace(labels=None)).labels is None


def test_a_share_is_one_of_the_equal_parts_in_order():
    assert [Share(part, 3).of(torch.arange(6)).tolist() for part in range(3)] == [[0, 1], [2, 3], [4, 5]]
    assert Share().of(torch.arange(6)).tolist() == [0, 1, 2, 3, 4, 5]


def test_labels_have_the_names_of_their_classes_or_their_numbers():
    spec = ImageSpec(1, 2, 2, num_classes=3, class_names=("cat", "dog"))
    assert spec.names(torch.tensor([1, 0, 2])) == ["dog", "cat", "2"]


def test_levels_are_the_nearest_of_256_and_points_have_none():
    """0.9 of a level is rounded up, and what lies outside the range is clipped."""
    level = 2 / 255
    images = torch.tensor([-1.0, -1 + 0.9 * level, 1 - 0.9 * level, 1.0, 3.0, -3.0]).view(6, 1, 1, 1)
    assert to_levels(images, ImageSpec(1, 1, 1)).flatten().tolist() == [0, 1, 254, 255, 255, 0]
    assert to_levels(images, ImageSpec(1, 1, 1, value_range=None)) is images
    assert to_levels(torch.full((1, 1, 1, 1), 0.2), ImageSpec(1, 1, 1, value_range=(0.0, 1.0))).item() == 51


def test_scores_are_asked_with_the_labels_and_are_in_full_precision():
    found = scores(
        lambda images, labels: (images.flatten() + labels).bfloat16(), Batch(torch.zeros(2), torch.tensor([1, 2]))
    )
    assert found.tolist() == [1, 2]
    assert found.dtype == torch.float32
