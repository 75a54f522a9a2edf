"""Metrics on features of any extractor: Inception, a classifier of the dataset, or pixels.

The name of a value contains its features, to prevent wrong comparisons: `fid` is always computed with Inception.
"""

from gan_runner.errors import choose, require
from gan_runner.metric.density_coverage import density_coverage
from gan_runner.metric.fidelity import SOURCES
from gan_runner.metric.frechet import frechet_distance
from gan_runner.metric.inception_score import inception_score
from gan_runner.metric.inputs import Subject, View, require_counts
from gan_runner.metric.kernel import kernel_distance
from gan_runner.metric.pools import Judged
from gan_runner.metric.precision_recall import precision_recall

PREFIXES = {"classifier": "classifier_", "pixels": "pixel_", **{kind: f"{kind}_" for kind in SOURCES}}
LOGITS = ("inception", "classifier")


def unfit(features: str, subject: Subject) -> str:
    """Returns why the features are impossible, as the second half of a sentence about the metric; else ''."""
    if features == "classifier" and not subject.labelled:
        return "needs labels to train a classifier on, which dataset does not have; use a pixel_ metric"
    if features not in ("pixels", "auto") and not subject.pictures:
        return "needs images, and dataset has points; use a pixel_ metric or modes"
    if features in SOURCES and subject.spec.channels not in (1, 3):
        return f"needs gray or colour images, and dataset has {subject.spec.channels} channels; use a pixel_ metric"
    return ""


class OfFeatures:
    """Base class: compares `features` of real images and samples."""

    published = "inception"  # with these features a value has its plain name, without a prefix

    def __init__(self, features: str, n_real: int | None = None, n_fake: int = 10_000, weights: str | None = None):
        """weights: a file with the weights of a network that torch-fidelity would otherwise download."""
        choose("features", features, dict.fromkeys(("classifier", "pixels", *SOURCES)))
        require_counts(n_real=n_real, n_fake=n_fake)
        self.features, self.weights, self.n_real, self.n_fake = features, weights, n_real, n_fake

    def named(self, value: str) -> str:
        return value if self.features == self.published else PREFIXES[self.features] + value

    def unfit(self, subject: Subject) -> str:
        return unfit(self.features, subject)

    def sets(self, view: View) -> tuple[Judged, Judged]:
        """Returns the real images and the samples."""
        return view.real(self.n_real), view.fake(self.n_fake)


class FrechetDistance(OfFeatures):
    """fid: |mu_r - mu_g|^2 + Tr(C_r + C_g - 2 (C_r C_g)^(1/2)), lower is better (Heusel et al. 2017).

    Fewer images give a larger value: compare only values with equal n_real and n_fake.
    """

    @property
    def better(self) -> dict[str, str]:
        return {self.named("fid"): "low"}

    def __call__(self, view: View) -> dict[str, float]:
        real, fake = (images.moments(self.features, self.weights) for images in self.sets(view))
        for kind, found in (("n_real", real), ("n_fake", fake)):
            if found.rows <= len(found.mean):
                view.warn(
                    f"{self.named('fid')}: {kind}={found.rows} images do not determine the covariance of "
                    f"{len(found.mean)} features; the value depends more on their number than on quality; use more."
                )
        return {self.named("fid"): frechet_distance(real, fake)}


class KernelDistance(OfFeatures):
    """kid: 1000 times the unbiased squared MMD with the kernel (x.y/d + 1)^3, lower is better (Binkowski et al. 2018).

    Mean and deviation over random subsets.

    subsets: number of subsets.
    subset_size: images in each; all of them, if there are fewer.
    """

    def __init__(
        self,
        features: str,
        n_real: int | None = None,
        n_fake: int = 10_000,
        weights: str | None = None,
        subsets: int = 100,
        subset_size: int = 1000,
    ):
        super().__init__(features, n_real, n_fake, weights)
        for name, count, least in (("subsets", subsets, 1), ("subset_size", subset_size, 2)):
            require(count >= least, f"{name}={count} must be at least {least}")
        self.subsets, self.subset_size = subsets, subset_size

    @property
    def better(self) -> dict[str, str]:
        return {self.named("kid"): "low"}

    def __call__(self, view: View) -> dict[str, float]:
        real, fake = (images.features(self.features, self.weights) for images in self.sets(view))
        found = kernel_distance(real, fake, self.subsets, self.subset_size, view.seed)
        return {self.named("kid"): 1000 * found.mean, self.named("kid_std"): 1000 * found.std}


class InceptionScore(OfFeatures):
    """inception_score: exp E KL(p(y|x) | p(y)), the mean over splits, higher is better (Salimans et al. 2016).

    With a classifier of the dataset the value is classifier_score, at most the number of its classes.
    splits: parts of the samples, whose values are averaged.
    """

    def __init__(self, features: str = "inception", n_fake: int = 50_000, weights: str | None = None, splits: int = 10):
        super().__init__(features, None, n_fake, weights)
        require(features in LOGITS, f"features={features!r} names no classes; use {' or '.join(LOGITS)}")
        require(1 <= splits <= n_fake, f"splits={splits} must be between 1 and n_fake={n_fake}")
        self.splits = splits

    def named(self, value: str) -> str:
        return f"inception_{value}" if self.features == self.published else super().named(value)

    @property
    def better(self) -> dict[str, str]:
        return {self.named("score"): "high"}

    def __call__(self, view: View) -> dict[str, float]:
        found = inception_score(view.fake(self.n_fake).logits(self.features, self.weights), self.splits)
        return {self.named("score"): found.mean, self.named("score_std"): found.std}


class PrecisionRecall(OfFeatures):
    """precision, recall: shares in the k-nearest-neighbour balls of the other set (Kynkaanniemi et al. 2019)."""

    published = "vgg16"

    def __init__(
        self, features: str, n_real: int | None = None, n_fake: int = 10_000, weights: str | None = None, k: int = 3
    ):
        super().__init__(features, n_real, n_fake, weights)
        require(k >= 1, f"k={k} must be at least 1")
        self.k = k

    @property
    def better(self) -> dict[str, str]:
        return {self.named("precision"): "high", self.named("recall"): "high"}

    def __call__(self, view: View) -> dict[str, float]:
        sets = self.sets(view)
        real, fake = (images.features(self.features, self.weights) for images in sets)
        radii = [images.distances(self.features, self.weights, self.k)[:, -1] for images in sets]
        found = precision_recall(real, fake, self.k, *radii)
        return {self.named("precision"): found.precision, self.named("recall"): found.recall}


class DensityCoverage(OfFeatures):
    """density: mean number of real balls around a sample, over k; coverage: share of real balls with a sample.

    Naeem et al. 2020.
    """

    published = "auto"

    def __init__(
        self,
        features: str = "auto",
        n_real: int | None = None,
        n_fake: int = 10_000,
        weights: str | None = None,
        k: int = 5,
    ):
        super().__init__("pixels" if features == "auto" else features, n_real, n_fake, weights)
        require(k >= 1, f"k={k} must be at least 1")
        self.features, self.k = features, k

    @property
    def better(self) -> dict[str, str]:
        return {self.named("density"): "high", self.named("coverage"): "high"}

    def __call__(self, view: View) -> dict[str, float]:
        sets = self.sets(view)
        real, fake = (images.features(self.features, self.weights) for images in sets)
        radii = sets[0].distances(self.features, self.weights, self.k)[:, -1]
        found = density_coverage(real, fake, self.k, radii)
        return {self.named("density"): found.density, self.named("coverage"): found.coverage}
