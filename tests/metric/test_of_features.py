"""Metrics on features by brute force: which set is which, how many of each, and which way is better."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from sklearn.metrics.pairwise import polynomial_kernel
from torch import Tensor

from gan_runner.errors import ConfigError
from gan_runner.metric import of_features, of_images, of_players
from gan_runner.metric.inputs import Subject, View, declared
from gan_runner.spec import ImageSpec
from tests.metric.views import Named, view_of

N_REAL, N_FAKE, K = 60, 50, 4


def points(seed: int, count: int, spread: float) -> Tensor:
    """Four numbers of unlike deviation, as points."""
    scales = np.array([1.0, 2.0, 0.5, 1.5])
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, 4)) * scales * spread)[..., None, None]


REAL, FAKE = points(0, 80, 1.0), points(1, 70, 0.5) + 0.4
TRAIN = points(2, 90, 3.0)


def view() -> View:
    return view_of({"train": (TRAIN.float(), None), "test": (REAL.float(), None)}, (FAKE.float(), None))


def rows(images: Tensor, count: int) -> np.ndarray:
    return images[:count].flatten(1).float().double().numpy()


def balls(centers: np.ndarray, others: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(others, centers) distances, and the centers' radii: to the k-th nearest other center."""
    own = np.linalg.norm(centers[:, None] - centers, axis=2)
    return np.linalg.norm(others[:, None] - centers, axis=2), np.sort(own, axis=1)[:, k]


def test_precision_is_of_samples_in_real_balls_and_recall_of_real_images_in_sampled_ones():
    real, fake = rows(REAL, N_REAL), rows(FAKE, N_FAKE)
    found = of_features.PrecisionRecall("pixels", N_REAL, N_FAKE, k=K)(view())
    to_real, to_fake = balls(real, fake, K), balls(fake, real, K)
    precision, recall = ((distances <= radii).any(1).mean() for distances, radii in (to_real, to_fake))
    assert found == pytest.approx({"pixel_precision": precision, "pixel_recall": recall})
    assert precision > recall + 0.1


def test_density_and_coverage_are_of_real_balls():
    distances, radii = balls(rows(REAL, N_REAL), rows(FAKE, N_FAKE), K)
    found = of_features.DensityCoverage("pixels", N_REAL, N_FAKE, k=K)(view())
    inside = distances < radii
    expected = {"pixel_density": inside.sum() / (K * N_FAKE), "pixel_coverage": inside.any(0).mean()}
    assert found == pytest.approx(expected)


def test_the_frechet_distance_is_of_as_many_images_as_were_requested():
    real, fake = rows(REAL, N_REAL), rows(FAKE, N_FAKE)
    one, other = np.cov(real.T), np.cov(fake.T)
    expected = ((real.mean(0) - fake.mean(0)) ** 2).sum() + np.trace(one + other - 2 * sqrtm(one @ other).real)
    found = of_features.FrechetDistance("pixels", N_REAL, N_FAKE)(view())
    assert found == {"pixel_fid": pytest.approx(expected, rel=1e-5)}


def test_the_kernel_distance_is_a_thousand_times_the_unbiased_square():
    real, fake = rows(REAL, N_FAKE), rows(FAKE, N_FAKE)
    xx, yy, xy = (polynomial_kernel(*pair, degree=3, coef0=1) for pair in ((real, real), (fake, fake), (real, fake)))
    within = sum((kernel.sum() - np.trace(kernel)) / (N_FAKE * (N_FAKE - 1)) for kernel in (xx, yy))
    found = of_features.KernelDistance("pixels", N_FAKE, N_FAKE, subsets=1)(view())
    assert found["pixel_kid"] == pytest.approx(1000 * (within - 2 * xy.mean()), rel=1e-5)


def test_the_inception_score_is_of_the_samples():
    """Logits of 10 for one class of three: nearly one-hot; real images of a single class would score 1."""
    seen = torch.tensor([0, 1, 2] * 20).float().view(-1, 1, 1, 1)
    one_class = torch.zeros(60, 1, 1, 1)
    judged = view_of({"test": (one_class, None)}, (seen, None), extractor=Named(3))
    found = of_features.InceptionScore("classifier", n_fake=60, splits=1)(judged)
    p = np.exp([10.0, 0.0, 0.0]) / np.exp([10.0, 0.0, 0.0]).sum()
    assert found["classifier_score"] == pytest.approx(np.exp((p * np.log(3 * p)).sum()), rel=1e-6)


def test_more_real_images_than_there_are_is_refused():
    with pytest.raises(ConfigError, match="n_real=81 is more than the 80 images of the test split"):
        of_features.FrechetDistance("pixels", 81, N_FAKE)(view())


PICTURES = Subject(ImageSpec(1, 28, 28, 10), {"train": 9, "validation": 9, "test": 9}, labelled=True)
BETTER = {
    "fid": (of_features.FrechetDistance("inception"), {"fid": "low"}),
    "a fid of pixels": (of_features.FrechetDistance("pixels"), {"pixel_fid": "low"}),
    "kid": (of_features.KernelDistance("classifier"), {"classifier_kid": "low"}),
    "score": (of_features.InceptionScore(), {"inception_score": "high"}),
    "precision": (of_features.PrecisionRecall("vgg16"), {"precision": "high", "recall": "high"}),
    "density": (of_features.DensityCoverage(), {"density": "high", "coverage": "high"}),
    "sliced": (of_images.SlicedWasserstein(), {"sliced_wasserstein": "low"}),
    "pyramid": (
        of_images.SlicedWasserstein(pyramid=True),
        {"sliced_wasserstein": "low", "sliced_wasserstein_pyramid": "low"},
    ),
    "parzen": (of_images.Parzen(), {"parzen": "high"}),
    "modes": (of_images.Modes(), {"modes": "high", "reverse_kl": "low", "total_variation": "low"}),
    "memorization": (of_images.Memorization(), {"classifier_mifid": "low"}),
    "conditional": (of_images.Conditional(), {"conditional_agreement": "high", "classifier_intra_fid": "low"}),
    "errors": (of_players.ErrorRate(), {"validation_error": "low"}),
    "held out": (of_players.HeldOutWasserstein(), {}),
    "gap": (of_players.DiscriminatorGap(), {"discriminator_gap_share": "low"}),
    "probe": (of_players.LinearProbe(), {"linear_probe": "high"}),
}


@pytest.mark.parametrize("name", BETTER)
def test_which_way_a_value_is_better(name: str):
    metric, expected = BETTER[name]
    assert declared(metric, "better", PICTURES, {}) == expected
