"""Metrics on images: the split, set and labels that each uses, checked with independent code."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu
from sklearn.neighbors import KernelDensity, NearestNeighbors
from torch import Tensor

from gan_runner.metric.of_images import (
    Conditional,
    Memorization,
    Modes,
    NearestNeighbourError,
    Parzen,
    SlicedWasserstein,
)
from gan_runner.metric.of_players import DiscriminatorGap, ErrorRate, HeldOutWasserstein, LinearProbe
from gan_runner.metric.parzen import SIGMAS
from tests.metric.views import Named, view_of


def pixels(seed: int, count: int, low: int = 0, high: int = 256, shape: tuple[int, ...] = (1, 2, 3)) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(low, high, (count, *shape), dtype=np.uint8))


def unit(images: Tensor) -> np.ndarray:
    return images.flatten(1).numpy() / 255


# ---- Parzen


def test_parzen_chooses_its_width_on_validation_images_and_reports_on_the_others():
    """Validation images near the samples give a narrow width, distant test images would give a wide one."""
    validation, judged, samples = pixels(0, 40, 90, 166), pixels(1, 50, 0, 60), pixels(2, 60, 90, 166)
    splits = {"train": pixels(3, 30), "validation": validation, "test": judged}
    found = Parzen(n_fake=50, n_validation=30)(view_of({n: (i, None) for n, i in splits.items()}, (samples, None)))
    densities = {sigma: KernelDensity(bandwidth=sigma).fit(unit(samples[:50])) for sigma in SIGMAS}
    best = max(SIGMAS, key=lambda sigma: densities[sigma].score(unit(validation[:30])))
    assert max(SIGMAS, key=lambda sigma: densities[sigma].score(unit(judged))) > best
    each = densities[best].score_samples(unit(judged))
    expected = {"parzen": each.mean(), "parzen_error": each.std() / 50**0.5, "parzen_sigma": best}
    assert found == pytest.approx(expected, rel=1e-5)


# ---- memorization


TRAIN, HELD_OUT, SAMPLES = pixels(0, 90), pixels(1, 60), pixels(2, 80, 40, 216)


def memorized(samples: Tensor = SAMPLES) -> dict[str, float]:
    splits = {"train": (TRAIN, None), "test": (HELD_OUT, None)}
    return Memorization("pixels", n_real=50, n_fake=70, cells=1)(view_of(splits, (samples, None)))


def to_nearest(among: np.ndarray, rows: np.ndarray, skip_self: bool = False) -> np.ndarray:
    trees = NearestNeighbors(n_neighbors=1).fit(among)
    return trees.kneighbors(None if skip_self else rows)[0][:, 0]


def test_memorization_is_of_samples_beside_held_out_images_among_training_images():
    train, held_out, samples = unit(TRAIN), unit(HELD_OUT[:50]), unit(SAMPLES[:70])
    of_samples, of_held_out = to_nearest(train, samples), to_nearest(train, held_out)
    found = memorized()
    assert found["memorization_ratio_pixels"] == pytest.approx(of_samples.mean() / of_held_out.mean(), rel=1e-6)
    u = mannwhitneyu(of_samples, of_held_out).statistic
    z = (u - 50 * 70 / 2 + 0.5) / (50 * 70 * (50 + 70 + 1) / 12) ** 0.5
    assert found["copying_pixels"] == pytest.approx(z, abs=0.02)  # near ties are rounded in other ways
    lengths = [np.linalg.norm(rows, axis=1) for rows in (samples, train)]
    cosines = np.abs(samples @ train.T) / np.outer(*lengths)
    assert found["memorization_distance"] == pytest.approx((1 - cosines.max(1)).mean(), rel=1e-4)


def test_the_nearest_neighbour_of_each_is_looked_for_in_its_own_set_and_in_the_other():
    """As many samples as real images; samples crowd the middle, so that the two shares differ."""
    held_out, samples = unit(HELD_OUT[:50]), unit(SAMPLES[:50])
    own = to_nearest(held_out, held_out, skip_self=True), to_nearest(samples, samples, skip_self=True)
    other = to_nearest(samples, held_out), to_nearest(held_out, samples)
    rights = [mine < theirs for mine, theirs in zip(own, other, strict=True)]
    assert memorized()["one_nearest_neighbour"] == pytest.approx(np.concatenate(rights).mean(), abs=1e-12)
    assert abs(rights[0].mean() - rights[1].mean()) > 0.1


# ---- labels


def of_class(labels: list[int], beside: int = 0) -> Tensor:
    """Images whose first number is the class that `Named` sees."""
    second = torch.arange(len(labels)).remainder(5) + beside
    return torch.stack([torch.tensor(labels), second], 1).float()[:, :, None, None]


def test_agreement_is_with_the_labels_that_samples_were_made_for():
    seen, requested, real = [0, 1, 2] * 6, [0, 1, 1] * 6, [0, 0, 1] * 6
    splits = {"test": (of_class(real), torch.tensor(real))}
    judged = view_of(splits, (of_class(seen), torch.tensor(requested)), extractor=Named(3), conditional=True)
    assert Conditional(n_fake=18)(judged)["conditional_agreement"] == pytest.approx(2 / 3)


def test_real_images_are_classified_by_their_nearest_sample():
    """The labels of the samples count: the third real image is next to a sample of another class."""
    samples, made_for = torch.tensor([[0, 0], [100, 0], [200, 0]]), torch.tensor([0, 1, 2])
    real, labels = torch.tensor([[10, 1], [90, 2], [110, 3], [250, 0]]), torch.tensor([0, 1, 2, 2])
    sets = [
        (pixels.to(torch.uint8)[:, :, None, None], known) for pixels, known in ((real, labels), (samples, made_for))
    ]
    judged = view_of({"test": sets[0]}, sets[1], conditional=True)
    assert NearestNeighbourError(n_fake=3)(judged)["nearest_neighbour_error"] == pytest.approx(1 / 4)
    assert "takes no class" in NearestNeighbourError().unfit(replace(judged.subject, conditional=False))


def test_a_class_is_a_mode_with_a_share_of_its_fair_share():
    """Of 40 samples a fair share of four classes is ten: three are 0.3 of it."""
    seen = [0] * 20 + [1] * 15 + [2] * 3 + [3] * 2
    splits = {"test": (of_class([0, 1, 2, 3] * 2), torch.tensor([0, 1, 2, 3] * 2))}
    found = {
        share: Modes(n_fake=40, least_share=share)(view_of(splits, (of_class(seen), None), extractor=Named(4)))["modes"]
        for share in (0.1, 0.25, 0.5)
    }
    assert found == {0.1: 4, 0.25: 3, 0.5: 2}


def test_the_three_channels_of_one_image_are_its_triple_of_digits():
    """Ten pictures of 1 2 3 and five of 4 5 6 are two modes."""
    triples = torch.tensor([[1, 2, 3]] * 10 + [[4, 5, 6]] * 5).float()[:, :, None, None]
    splits = {"test": (triples, torch.tensor([123] * 10 + [456] * 5))}
    judged = view_of(splits, (triples, None), extractor=Named(10), stacked=True)
    found = Modes(n_fake=15)(judged)
    assert found["modes"] == 2
    shares = np.array([2 / 3, 1 / 3])
    assert found["reverse_kl"] == pytest.approx((shares * np.log(1000 * shares)).sum())


def test_the_sliced_distance_of_one_dimension_is_that_of_sorted_numbers():
    real, fake = torch.tensor([3.0, -1.0, 0.5, 9.0]), torch.tensor([0.0, 2.0, 1.0])
    judged = view_of({"test": (real.view(-1, 1, 1, 1), None)}, (fake.view(-1, 1, 1, 1), None))
    found = SlicedWasserstein(n_fake=3, directions=4)(judged)  # of the first three of either
    assert found["sliced_wasserstein"] == pytest.approx((1 + 0.5 + 1) / 3)


# ---- players


class Scored:
    """Scores an image with its first number, and its samples with 3."""

    def scores(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return images[:, 0, 0, 0].float()

    def fake_scores(self, count: int) -> Tensor:
        return torch.full((count,), 3.0)

    def features(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return images.flatten(1).float()

    def classify(self, images: Tensor) -> Tensor:
        return Named(3)(images).logits


def played(train: list[int], validation: list[int], test: list[int], labels: list[list[int]] | None = None):
    sets = {"train": train, "validation": validation, "test": test}
    known = labels or [train, validation, test]
    splits = {n: (of_class(s), torch.tensor(k)) for (n, s), k in zip(sets.items(), known, strict=True)}
    return view_of(splits, (of_class([0] * 8), None), game=Scored())


def test_the_gap_is_of_training_images_over_held_out_ones_and_its_share_over_samples():
    """Scores of 8 on the first training images, 5 on held-out ones and 3 on samples."""
    found = DiscriminatorGap(n_real=4, n_fake=5)(played([8] * 4 + [0] * 9, [1] * 4, [5] * 4 + [0]))
    assert found == pytest.approx({"discriminator_gap": 3, "discriminator_gap_share": 3 / 5})
    assert HeldOutWasserstein(n_real=4, n_fake=5)(played([8], [1], [5] * 4 + [0])) == {"held_out_wasserstein": 2}


def test_errors_are_counted_on_each_split_with_its_own_labels():
    right = [0, 1, 2, 0]
    found = ErrorRate()(played(right, right, right, [[2, 2, 1, 1], [0, 1, 2, 1], [1, 0, 2, 1]]))
    assert found == {"validation_error": 0.25, "test_error": 0.75}


def test_the_probe_is_judged_on_images_that_it_did_not_learn_from():
    """Held-out images whose labels are exchanged are read wrongly, however well the training images are read."""
    train, test = [0, 1] * 20, [0, 1] * 4
    assert LinearProbe()(played(train, test, test, [train, test, test])) == {"linear_probe": 1}
    assert LinearProbe()(played(train, test, test, [train, test, [1, 0] * 4])) == {"linear_probe": 0}
