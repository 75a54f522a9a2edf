"""Inputs for the pictures of a run: samples from fixed noise, and both players on toy data."""

import torch
from torch import Tensor, nn

from gan_runner.evaluation.sampler import Sampler
from gan_runner.nn.modes import evaluating
from gan_runner.noise import Noise
from gan_runner.records.averages import MAIN, named
from gan_runner.records.points import Scene
from gan_runner.spec import full_precision
from gan_runner.training.run import Run

SHOWN = 20_000  # generated points in a picture of toy data


def sampler_of(run: Run, generator: nn.Module) -> Sampler:
    size = run.settings.generator_batch_size
    return Sampler(generator, run.latent, run.dataset.spec, run.seed, size, run.device.torch)


def fixed_samples(run: Run, average: str = MAIN) -> tuple[Tensor, Tensor | None]:
    """Returns samples of an averaged generator from the same noise at every step, for one grid, and their labels.

    For a conditional generator each row of the grid shows one class.
    """
    sampler = sampler_of(run, run.averages[named("ema", average)].carry_buffers())
    return sampler.fixed(run.settings.grid)


@torch.no_grad()
def scene(run: Run) -> Scene:
    """Returns both players in their present state, for a picture of toy data, with the live generator.

    Both run in evaluation mode: their buffers do not change, and the score of a point does not depend on other points.
    """
    noise = Noise((run.seed, "game", 0), SHOWN, run.device.torch)
    z = run.latent.sample(noise)
    density = getattr(run.real, "log_density", lambda points: None)
    with evaluating(run.generator.network) as generate:
        fake = full_precision(generate(z, None)).flatten(1)

    @torch.no_grad()
    def score(points: Tensor) -> Tensor:
        """Points (N, coordinates) -> the discriminator's scores (N,)."""
        images = points.view(-1, *run.real.spec.shape).to(run.device.torch)
        with evaluating(run.discriminator.network) as discriminate:
            return full_precision(discriminate(images, None))

    probability = run.objective.estimate_tag == "divergence/js_estimate"
    return Scene(f"step {run.clock.steps}", run.real.images.flatten(1), z, fake, score, density, probability)
