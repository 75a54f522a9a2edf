"""What is shown of a run: the same samples at every step, and both players on data in the plane."""

import torch
from torch import Tensor, nn

from gan_runner.evaluation.sampler import Sampler
from gan_runner.nn.modes import evaluating
from gan_runner.noise import Noise
from gan_runner.records.points import Scene
from gan_runner.spec import full_precision
from gan_runner.training.run import Run

SHOWN = 20_000  # points in a picture of toy data


def sampler_of(run: Run, generator: nn.Module) -> Sampler:
    size = run.settings.generator_batch_size
    return Sampler(generator, run.latent, run.dataset.spec, run.seed, size, run.device.torch)


def fixed_samples(run: Run) -> tuple[Tensor, Tensor | None]:
    """Of the averaged generator: the same noise at every step, as many images as the grid holds, and their labels.

    A conditional generator makes one class a row.
    """
    sampler = sampler_of(run, run.ema.carry_buffers())
    labels = sampler.rows(run.settings.grid)
    size = run.settings.grid if labels is None else len(labels)
    noise = Noise((run.seed, "fixed", 0), size, run.device.torch)
    return sampler(noise, sampler.random_labels(noise) if labels is None else labels), labels


@torch.no_grad()
def scene(run: Run) -> Scene:
    """Both players as they are now, for a picture of toy data: the generator that the discriminator answers.

    In evaluation mode, so that nothing of theirs changes and a place has one score whatever else is scored.
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
