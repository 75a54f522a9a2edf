"""Advice about a built run: sentences on settings that are valid but probably not intended."""

from collections.abc import Iterator

import torch

import gan_runner
from gan_runner.loss.constraint import WeightClipping
from gan_runner.nn.modes import evaluating
from gan_runner.schedule import Schedule
from gan_runner.training.run import Run

LEAKS = 0.8  # the probability of augmentation above which it may leak into the generated images


def advise(run: Run) -> list[str]:
    """Returns sentences of advice on settings that are valid but probably not intended."""
    return [sentence for rule in ADVICE for sentence in rule(run)]


def momentum_with_clipping(run: Run) -> Iterator[str]:
    group = run.discriminator.optimizer.param_groups[0]
    momentum = group.get("momentum") or group.get("betas", (0.0,))[0]
    if isinstance(run.objective.constraint, WeightClipping) and momentum:
        yield (
            f"weight clipping with momentum {momentum} is known to be unstable (Arjovsky et al. 2017); "
            f"optimizer=rmsprop is the published choice."
        )


def a_trained_critic(run: Run) -> Iterator[str]:
    if run.objective.adversarial.estimate == "wasserstein" and run.objective.n_critic == 1:
        yield "loss.n_critic=1 leaves a Wasserstein discriminator far from its optimum; 5 is the published choice."


def scores_of_both_signs(run: Run) -> Iterator[str]:
    term, network = run.objective.adversarial, run.discriminator.network
    if getattr(network, "energy", False) and not getattr(term, "energy", False):
        yield (
            f"model.discriminator.output is minus an error, never above 0, and {type(term).__name__} was made for "
            f"scores of both signs; score is the usual choice."
        )


def metrics_to_take(run: Run) -> Iterator[str]:
    if run.settings.evaluates and run.evaluator is None:
        yield "train.evaluate_every asks for metrics, and none is chosen; metric=[classifier_fid] is one."


def augmentation_that_leaks(run: Run) -> Iterator[str]:
    """Leaking is unlikely for probabilities below 0.8 (Karras et al. 2020)."""
    setting = getattr(run.augment, "probability", None)
    highest = max(setting.start, setting.end) if isinstance(setting, Schedule) else setting
    if highest is not None and highest > LEAKS:
        yield (
            f"augment.probability={highest:g} shows so few images as they are that the generator may learn to augment; "
            f"up to {LEAKS} is the usual choice."
        )


def adaptation_has_time(run: Run) -> Iterator[str]:
    if not getattr(run.augment, "adapts", False) or run.clock.length is None:
        return
    images = run.clock.updates(run.clock.length) * run.settings.batch_size
    reach = images / run.augment.speed_images  # type: ignore[attr-defined]
    if reach < 0.1:
        yield (
            f"augment.probability adapts by at most {reach:.2g} over the {images:,} images of this run; a smaller "
            f"augment.speed_images lets it move faster."
        )


def a_sigmoid_too_many(run: Run) -> Iterator[str]:
    """Scores inputs of growing scale: only a sigmoid keeps all scores in [0, 1]."""
    network, spec = run.discriminator.network, run.real.spec
    if run.objective.semi_supervised or getattr(network, "energy", False):
        return
    noise = run.batches.noise("probe", 1, 8)
    labels = torch.zeros(8, dtype=torch.long, device=run.device.torch) if spec.num_classes else None
    with torch.no_grad(), evaluating(network) as score:
        found = torch.cat([score(scale * noise.normal(*spec.shape), labels).float() for scale in (1, 100, 10_000)])
    if found.min() >= 0 and found.max() <= 1 and found.unique().numel() > 1:
        yield (
            f"model.discriminator={type(network).__name__} gives scores from 0 to 1 alone, as a sigmoid does; losses "
            f"here want the raw scores before it, and have the sigmoid themselves."
        )


def a_generator_of_half_the_range(run: Run) -> Iterator[str]:
    """Generates from latents of growing scale: only a sigmoid keeps all images in the upper half of [-1, 1]."""
    network, spec = run.generator.network, run.real.spec
    if spec.value_range is None or spec.value_range[0] >= 0 or run.objective.semi_supervised:
        return
    z = run.latent.sample(run.batches.noise("probe", 2, 8))
    labels = torch.zeros(8, dtype=torch.long, device=run.device.torch) if spec.num_classes else None
    with torch.no_grad(), evaluating(network) as images:
        found = torch.cat([images(scale * z, labels).float() for scale in (1, 100, 10_000)])
    if found.min() >= 0 and found.unique().numel() > 1:
        yield (
            f"model.generator={type(network).__name__} makes no value below 0, as a sigmoid does, and the data go from "
            f"{spec.value_range[0]:g} to {spec.value_range[1]:g}; a tanh at its end makes all of them."
        )


def classes_without_images(run: Run) -> Iterator[str]:
    labels, spec = run.real.labels, run.real.spec
    if labels is None or not getattr(run.generator.network, "conditional", False):
        return
    counts = torch.bincount(labels, minlength=spec.num_classes)
    absent = [name for name, count in zip(spec.class_names, counts.tolist(), strict=True) if not count]
    if absent:
        yield (
            f"dataset has no training image of these classes, which the generator does not learn then: "
            f"{', '.join(absent[:10])}; put some there, or leave the classes out."
        )


def bf16_in_software(run: Run) -> Iterator[str]:
    if run.device.torch.type == "cpu" and run.device.precision == "bf16" and not computes_bf16():
        yield (
            "this processor has no bf16 arithmetic, so that device.precision=bf16 is many times slower than "
            "device.precision=fp32."
        )


def computes_bf16() -> bool:
    """Whether the processor has bf16 arithmetic, according to oneDNN."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def threads_that_spin(run: Run) -> Iterator[str]:
    if gan_runner.SPINS and run.device.torch.type == "cpu" and torch.get_num_threads() > 1:
        yield (
            "torch was imported before gan_runner, so that its threads spin while they wait and slow down beside other "
            "work; import gan_runner first, or set GOMP_SPINCOUNT=0."
        )


ADVICE = (
    threads_that_spin,
    bf16_in_software,
    a_sigmoid_too_many,
    a_generator_of_half_the_range,
    classes_without_images,
    metrics_to_take,
    momentum_with_clipping,
    a_trained_critic,
    scores_of_both_signs,
    augmentation_that_leaks,
    adaptation_has_time,
)
