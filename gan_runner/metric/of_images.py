"""Metrics on the images themselves, and on the classes that a classifier recognises in them."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from gan_runner.errors import choose, require
from gan_runner.metric.conditional import agreement, intra_frechet
from gan_runner.metric.frechet import frechet_distance
from gan_runner.metric.inputs import Subject, View, require_counts
from gan_runner.metric.memorization import (
    cell_centers,
    copying,
    memorization_distance,
    mifid,
    nearest_ratio,
    one_nearest_neighbour_accuracy,
)
from gan_runner.metric.modes import class_modes, modes, stacked_modes
from gan_runner.metric.neighbours import nearest
from gan_runner.metric.of_features import PREFIXES
from gan_runner.metric.of_features import unfit as unfit_features
from gan_runner.metric.parzen import parzen_log_likelihood
from gan_runner.metric.pools import Judged
from gan_runner.metric.sliced_wasserstein import PATCH, pyramid_sliced_wasserstein, sliced_wasserstein

SHOWN, BESIDE = 16, 5  # samples in the grid of neighbours, and training images beside each sample


def in_unit_range(images: Tensor) -> Tensor:
    """Converts (N, C, H, W) to (N, D): pixels from 0 to 1, points unchanged."""
    return (images.float() / 255 if images.dtype == torch.uint8 else images).flatten(1)


class SlicedWasserstein:
    """sliced_wasserstein: mean distance of sorted projections of pixels (0 to 1) or points, lower is better.

    directions: number of projections.
    pyramid: True computes, for pictures, also 1000 times the distance of 7x7 patches of a Laplacian pyramid (Karras et
    al. 2018), for each height and their mean: sliced_wasserstein_16, ..., sliced_wasserstein_pyramid.
    """

    def __init__(self, n_fake: int = 10_000, directions: int = 512, pyramid: bool = False):
        require_counts(n_fake=n_fake)
        require(directions >= 1, f"directions={directions} must be at least 1")
        self.n_fake, self.directions, self.pyramid = n_fake, directions, pyramid
        self.better = {"sliced_wasserstein": "low"} | ({"sliced_wasserstein_pyramid": "low"} if pyramid else {})

    def unfit(self, subject: Subject) -> str:
        if self.pyramid and not (subject.pictures and min(subject.spec.shape[1:]) >= PATCH):
            return f"has a pyramid of {PATCH}x{PATCH} patches for pictures of that size or more; use pyramid=false"
        return ""

    def __call__(self, view: View) -> dict[str, float]:
        whole = view.real()
        count = min(whole.count, self.n_fake)  # equally many real images and samples
        real, fake = view.real(count).images, view.fake(count).images
        distance = sliced_wasserstein(in_unit_range(real), in_unit_range(fake), self.directions, view.seed)
        found = {"sliced_wasserstein": distance}
        if self.pyramid:
            levels = pyramid_sliced_wasserstein(real.float(), fake.float(), view.seed)
            found |= {f"sliced_wasserstein_{height}": value for height, value in levels.items()}
            found["sliced_wasserstein_pyramid"] = sum(levels.values()) / len(levels)
        return found


class Parzen:
    """parzen: log-likelihood in nats of test images, by Gaussians around samples, higher (Goodfellow et al. 2014).

    The published protocol: pixels from 0 to 1, and the width chosen from ten on the first 1000 validation images. The
    value ranks models badly (Theis et al. 2016); use it only for comparison with tables of that time.

    n_validation: validation images that choose the width.
    """

    better: ClassVar[dict[str, str]] = {"parzen": "high"}

    def __init__(self, n_fake: int = 10_000, n_validation: int = 1000):
        require_counts(n_fake=n_fake, n_validation=n_validation)
        self.n_fake, self.n_validation = n_fake, n_validation

    def unfit(self, subject: Subject) -> str:
        if not subject.pictures:
            return "is a likelihood of pixels from 0 to 1, and dataset has points"
        if not (subject.splits.get("validation") and subject.splits.get("test")):
            return "chooses a width on the validation split and reports on the test split, which dataset lacks"
        return ""

    def __call__(self, view: View) -> dict[str, float]:
        few = min(self.n_validation, view.subject.splits["validation"])
        validation = in_unit_range(view.real(few, "validation").images)
        judged = in_unit_range(view.real().images)
        found = parzen_log_likelihood(in_unit_range(view.fake(self.n_fake).images), validation, judged)
        return {"parzen": found.mean, "parzen_error": found.standard_error, "parzen_sigma": found.sigma}


class Modes:
    """modes, high_quality, reverse_kl: the mode coverage of the samples (VEEGAN, PacGAN).

    Mixture of Gaussians: a sample within three deviations of its nearest centre is good, and a mode counts with one
    good sample; 2500 samples. Without a good sample reverse_kl is infinite; reverse_kl_nearest then takes all samples,
    each at its nearest centre. Stacked MNIST: a mode is a triple of digits, as a classifier of MNIST predicts them;
    26,000 samples, no high_quality. Other labelled pictures: a mode is a class, as a classifier of the dataset predicts
    it; a class counts with a part of its fair share of samples, since a classifier makes errors.

    least_share: this part.
    """

    def __init__(self, n_fake: int | None = None, least_share: float = 0.25):
        """n_fake: null for the number of samples in published tables, or 10,000 if there are none."""
        require_counts(n_fake=n_fake)
        require(0 <= least_share <= 1, f"least_share={least_share} is a share, from 0 to 1")
        self.n_fake, self.least_share = n_fake, least_share

    def better(self, subject: Subject) -> dict[str, str]:
        of_points = {"high_quality": "high", "reverse_kl_nearest": "low"}
        other = {"total_variation": "low"} if subject.centers is None else of_points
        return {"modes": "high", "reverse_kl": "low", **other}

    def features(self, subject: Subject) -> str | None:
        if subject.centers is not None:
            return None
        return "digits" if subject.stacked else "classifier"

    def unfit(self, subject: Subject) -> str:
        if subject.centers is None and not subject.labelled:
            return "counts classes or the modes of a mixture, and dataset has neither"
        return ""

    def __call__(self, view: View) -> dict[str, float]:
        subject = view.subject
        if subject.centers is not None:
            of_points = modes(view.fake(self.n_fake or 2500).images.flatten(1), subject.centers, subject.std)
            return {"modes": of_points.found} | {name: getattr(of_points, name) for name in of_points._fields[1:]}
        if subject.stacked:
            fake = view.fake(self.n_fake or 26_000)
            digits = fake.images.flatten(0, 1)[:, None]
            reader = fake.found("digits")
            read = [reader(part).logits.argmax(1) for part in digits.split(1024)]  # type: ignore[union-attr]
            of_classes = stacked_modes(torch.cat(read).view(-1, 3))
        else:
            fake = view.fake(self.n_fake or 10_000)
            of_classes = class_modes(fake.logits("classifier").argmax(1), subject.spec.num_classes)
            often = of_classes.share * subject.spec.num_classes >= self.least_share
            of_classes = of_classes._replace(found=int(often.sum()))
        return {
            "modes": of_classes.found,
            "reverse_kl": of_classes.reverse_kl,
            "total_variation": of_classes.total_variation,
        }


class Memorization:
    """Detects copies of training images among samples, in pixels and in features (pixels alone without labels).

    memorization_ratio_*: mean distance to the nearest training image, over that of held-out images; 1 is healthy, far
    below 1 is copying. copying_*: the z-score C_T of Meehan et al. 2020, below -3 copying, above 3 underfitting.
    classifier_mifid, or pixel_mifid: Frechet distance over the cosine distance to training features (Bai et al. 2021).
    one_nearest_neighbour: leave-one-out accuracy, 0.5 is ideal (Lopez-Paz & Oquab 2017).
    A grid shows samples beside their nearest training images.

    cells: regions of the space of features whose C_T is averaged.
    """

    def __init__(
        self,
        features: str = "auto",
        n_real: int | None = None,
        n_fake: int = 10_000,
        n_train: int = 50_000,
        cells: int = 10,
    ):
        require_counts(n_real=n_real, n_fake=n_fake, n_train=n_train)
        choose("features", features, {"auto": None, "classifier": None, "pixels": None})
        require(cells >= 1, f"cells={cells} must be at least 1")
        self.features, self.cells = features, cells
        self.n_real, self.n_fake, self.n_train = n_real, n_fake, n_train

    def mifid(self, subject: Subject) -> str:
        """Returns the name of MiFID's value, with the features as prefix, since the published one uses Inception's."""
        return f"{PREFIXES[subject.kind(self.features)]}mifid"

    def better(self, subject: Subject) -> dict[str, str]:
        return {self.mifid(subject): "low"}

    def unfit(self, subject: Subject) -> str:
        if subject.endless:
            return "needs a fixed set of training images, and this dataset always draws new ones"
        for split in subject.splits.keys() - {"train"}:
            if subject.splits[split] and subject.repeats(split):
                return f"needs held-out images, and the {split} split holds training images alone; hold others out"
        return unfit_features(self.features, subject)

    def __call__(self, view: View) -> dict[str, float]:
        inputs = [self.features] if view.extractor(self.features, None).cheap else ["pixels", self.features]
        beside: list[Tensor] = []
        found: dict[str, float] = {}
        for kind, name in zip(inputs, ("pixels", "features"), strict=False):
            values, closest = self.compare(view, kind)
            found |= {f"{value}_{name}": number for value, number in values.items()}
            view.note(*found.keys() - view.stamps.keys())
            beside.append(closest)
        real, fake, train = view.real(self.n_real), view.fake(self.n_fake), view.train(self.n_train)
        if view.subject.pictures and view.subject.spec.channels in (1, 3):
            rows = torch.cat([fake.images[:SHOWN, None], *(train.images[each] for each in beside)], dim=1)
            view.show("neighbours", rows.flatten(0, 1), rows.shape[1])
        distance = memorization_distance(fake.features(self.features), train.features(self.features))
        frechet = frechet_distance(real.moments(self.features), fake.moments(self.features))
        found |= {"memorization_distance": distance, self.mifid(view.subject): mifid(frechet, distance)}
        view.note(*found.keys() - view.stamps.keys())
        return found | {"one_nearest_neighbour": self.neighbours_alike(view)}

    def compare(self, view: View, kind: str) -> tuple[dict[str, float], Tensor]:
        """Returns the values for one kind of features, and (16, 5): the nearest training rows of the first samples."""
        real, fake, train = view.real(self.n_real), view.fake(self.n_fake), view.train(self.n_train)
        features, own = train.features(kind), fake.features(kind)
        known = real.compute_once("memorization", kind, None, lambda: self.reference_results(real, train, kind), train)
        to_train = nearest(own, features)
        cells = nearest(own, known["centers"]).indices[:, 0]
        values = {
            "memorization_ratio": nearest_ratio(to_train.distances[:, 0], known["distances"]),
            "copying": copying(to_train.distances[:, 0], known["distances"], cells, known["cells"]),
        }
        if math.isnan(values["copying"]):
            view.warn(
                f"copying of {view.subject.kind(kind)}: no cell has 20 samples and 20 held-out images, so that it is "
                f"not known; use more of both, or metric.memorization.cells=1."
            )
        return values, nearest(own[:SHOWN], features, min(BESIDE, train.count)).indices

    def reference_results(self, real: Judged, train: Judged, kind: str) -> dict[str, Tensor]:
        """Returns the results that depend on held-out and training images alone, which are cached."""
        held_out, features = real.features(kind), train.features(kind)
        centers = cell_centers(features, min(self.cells, train.count))
        cells, distances = nearest(held_out, centers).indices[:, 0], nearest(held_out, features).distances[:, 0]
        return {"centers": centers, "cells": cells, "distances": distances}

    def neighbours_alike(self, view: View) -> float:
        """Returns the leave-one-out accuracy for equally many real images and samples."""
        count = min(view.real(self.n_real).count, self.n_fake)
        sets = [view.real(count), view.fake(count)]
        features = [images.features(self.features) for images in sets]
        within = [images.distances(self.features)[:, 0] for images in sets]
        across = [nearest(one, other).distances[:, 0] for one, other in (features, features[::-1])]
        return one_nearest_neighbour_accuracy(within[0], across[0], within[1], across[1]).accuracy


class NearestNeighbourError:
    """nearest_neighbour_error: error of the nearest neighbour among labelled samples, on real images; lower is better.

    The share of real images whose nearest sample, in Euclidean distance of pixels, has another label (Radford et al.
    2016, table 3). With training images in the place of samples it is 0.031 on MNIST.
    """

    better: ClassVar[dict[str, str]] = {"nearest_neighbour_error": "low"}

    def __init__(self, n_real: int | None = None, n_fake: int = 50_000):
        require_counts(n_real=n_real, n_fake=n_fake)
        self.n_real, self.n_fake = n_real, n_fake

    def unfit(self, subject: Subject) -> str:
        if not (subject.conditional and subject.labelled):
            return "classifies real images by samples of known class, and this generator takes no class"
        return ""

    def __call__(self, view: View) -> dict[str, float]:
        real, fake = view.real(self.n_real), view.fake(self.n_fake)
        closest = nearest(in_unit_range(real.images), in_unit_range(fake.images)).indices[:, 0]
        return {"nearest_neighbour_error": float((fake.labels[closest] != real.labels).double().mean())}


class Conditional:
    """conditional_agreement: share of samples that a classifier assigns to the requested class (GAN-test), higher.

    classifier_intra_fid: mean over the classes of the Frechet distance within the class, lower is better.
    """

    better: ClassVar[dict[str, str]] = {"conditional_agreement": "high", "classifier_intra_fid": "low"}
    features = "classifier"

    def __init__(self, n_real: int | None = None, n_fake: int = 10_000):
        require_counts(n_real=n_real, n_fake=n_fake)
        self.n_real, self.n_fake = n_real, n_fake

    def unfit(self, subject: Subject) -> str:
        if not (subject.conditional and subject.labelled):
            return "measures whether samples are of the requested class, and this generator takes no class"
        return ""

    def __call__(self, view: View) -> dict[str, float]:
        real, fake = view.real(self.n_real), view.fake(self.n_fake)
        read = fake.logits(self.features).argmax(1)
        within = intra_frechet(real.features(self.features), real.labels, fake.features(self.features), fake.labels)
        return {"conditional_agreement": agreement(read, fake.labels), "classifier_intra_fid": within}
