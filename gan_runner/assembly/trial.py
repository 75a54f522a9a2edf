"""Trial forward of two samples through both networks: checks that the outputs fit the data."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from gan_runner.nn.modes import restoring_buffers
from gan_runner.training.run import Run

UNFIT = (  # the errors that a user's class may raise; HYDRA_FULL_ERROR=1 shows the traceback
    *(RuntimeError, TypeError, ValueError, LookupError, AttributeError, AssertionError, ArithmeticError),
)
IN_PLACE = (
    "model.{}={} changes its input in place, which others still need; leave inplace=True out of its first layers."
)


@torch.no_grad()
def networks_fit_the_data(run: Run) -> Iterator[str]:
    spec, generator = run.real.spec, run.ema.network
    labels = torch.zeros(2, dtype=torch.long, device=run.device.torch) if spec.num_classes else None
    z = run.latent.sample(run.batches.noise("probe", 0, 2))
    given = getattr(z, "_version", None)
    try:
        images = generator(z, labels)
    except UNFIT as error:
        yield f"model.generator={type(generator).__name__} cannot make images from the prior: {first_line(error)}."
        return
    if not isinstance(images, Tensor):
        yield f"model.generator returns {type(images).__name__}; it should return images, {spec.shape} each."
        return
    if getattr(z, "_version", None) != given:
        yield IN_PLACE.format("generator", type(generator).__name__)
    if images.shape != (2, *spec.shape):
        yield (
            f"model.generator makes images of shape {tuple(images.shape[1:])}, the dataset has {spec.shape}; "
            f"take the size from the spec that the constructor is given."
        )
        return
    limits = None if getattr(generator, "unbounded", False) else spec.value_range
    if limits is not None and not within(images, *limits):
        yield f"model.generator leaves the range {spec.value_range} of the data; end it with a tanh or the like."
    yield from scores_fit(run, images.float(), labels)


def scores_fit(run: Run, images: Tensor, labels: Tensor | None) -> Iterator[str]:
    discriminator = run.discriminator.network
    training, given = discriminator.training, images._version
    try:
        score = discriminator.eval().forward(images, labels)
    except UNFIT as error:
        yield f"model.discriminator={type(discriminator).__name__} cannot score the images: {first_line(error)}."
        return
    discriminator.train(training)
    if not isinstance(score, Tensor):
        yield f"model.discriminator returns {type(score).__name__}; it should return a tensor (B,), a score each."
        return
    if images._version != given:
        yield IN_PLACE.format("discriminator", type(discriminator).__name__)
    needed, conditional = run.objective.needs_logits, getattr(discriminator, "conditional", False)
    if needed and not has_logits(discriminator, images, labels):
        yield (
            f"loss needs the logits of the classes, which model.discriminator does not give; set "
            f"model.discriminator.{needed}."
        )
    if conditional and not needed and has_logits(discriminator, images, labels):
        yield (
            "model.discriminator.conditioning=classifier names classes that this loss does not ask for; choose "
            "loss=acgan, or another conditioning."
        )
    if score.shape != (2,):
        yield f"model.discriminator returns shape {tuple(score.shape)} for 2 images; it should be (2,), a score each."


@torch.no_grad()
def has_logits(discriminator: nn.Module, images: Tensor, labels: Tensor | None) -> bool:
    heads = getattr(discriminator, "heads", None)
    with restoring_buffers(discriminator):
        return heads is not None and heads(images, labels).logits is not None


def first_line(error: Exception) -> str:
    return str(error).split("\n")[0].rstrip(".") or type(error).__name__


def within(images: Tensor, low: float, high: float) -> bool:
    return bool(images.min() >= low and images.max() <= high)
