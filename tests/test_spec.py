import torch

from gan_runner.spec import Batch, ImageSpec, full_precision


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
