"""Metrics on points whose density is known."""

import math

from gan_runner.metric.gaussian_fit import DIVERGENCES, divergences
from gan_runner.metric.inputs import Subject, View, require_counts


class GaussianFit:
    """fit_mean, fit_std: of samples on the line; fit_kl, fit_reverse_kl, fit_js, fit_jeffrey, fit_pearson.

    The divergences are those of the data from the Gaussian of that mean and deviation (Nowozin et al. 2016, section
    4.1, where the generator is such a Gaussian); js is twice the Jensen-Shannon divergence.
    """

    def __init__(self, n_fake: int = 200_000):
        require_counts(n_fake=n_fake)
        self.n_fake = n_fake

    def unfit(self, subject: Subject) -> str:
        if subject.log_density is None or subject.spec.size != 1:
            return "needs data on the line with a known density; use dataset=mixture_1d or gaussian_1d"
        return ""

    def __call__(self, view: View) -> dict[str, float]:
        assert view.subject.log_density is not None  # or it is unfit
        samples, real = (images.images.double().flatten() for images in (view.fake(self.n_fake), view.real()))
        mean, std = float(samples.mean()), float(samples.std())
        if std == 0:  # all samples are one point
            found = dict.fromkeys(DIVERGENCES, math.inf)
        else:
            found = divergences(view.subject.log_density, mean, std, spread=3 * float(real.abs().max()))
        return {"fit_mean": mean, "fit_std": std} | {f"fit_{name}": value for name, value in found.items()}
