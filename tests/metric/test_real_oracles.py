"""Metrics with training images of MNIST in place of samples, compared with published values for real data."""

from pathlib import Path

import pytest

from gan_runner.dataset.mnist import MNIST
from gan_runner.metric.neighbours import nearest
from gan_runner.metric.of_images import in_unit_range
from gan_runner.metric.parzen import parzen_log_likelihood


@pytest.mark.long
def test_parzen_of_real_images_is_that_of_theis_et_al(real_mnist: Path):
    """243 nats for 10,000 training images (Theis et al. 2016); the error of the mean over test images is 2."""
    data = MNIST(root=str(real_mnist))
    centres, validation, test = (in_unit_range(data.split(name).images) for name in ("train", "validation", "test"))
    found = parzen_log_likelihood(centres[:10_000], validation[:1000], test)
    print(f"{found.mean:.1f} +- {found.standard_error:.1f} nats, sigma {found.sigma:.4f}")  # noqa: T201
    assert found.mean == pytest.approx(243, abs=3 * 2.0)


@pytest.mark.long
def test_the_nearest_neighbour_error_of_real_images_is_three_percent(real_mnist: Path):
    """3.1 % published for 60,000 training images (Radford et al. 2016, table 3); here are 50,000."""
    data = MNIST(root=str(real_mnist))
    train, test = data.split("train"), data.split("test")
    closest = nearest(in_unit_range(test.images), in_unit_range(train.images)).indices[:, 0]
    error = (train.labels[closest] != test.labels).double().mean().item()
    print(f"{100 * error:.2f} %, of {len(train.images)} training images")  # noqa: T201
    assert error == pytest.approx(0.0334, abs=0.0005)
