"""Rules across built objects, which also apply to users' classes. All violations are reported together."""

import inspect
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrizations import _SpectralNorm

from gan_runner.assembly.trial import UNFIT, first_line, networks_fit_the_data
from gan_runner.augment.none import NoAugmentation
from gan_runner.errors import ConfigError, nearest
from gan_runner.game.player import Player
from gan_runner.loss.constraint import WeightClipping
from gan_runner.loss.penalty import GradientPenalty
from gan_runner.model.packing import Packed
from gan_runner.nn.coupling import batch_coupled
from gan_runner.nn.sync_norm import SyncBatchNorm
from gan_runner.records.scores import SELECTION
from gan_runner.schedule import Progress
from gan_runner.training.run import Run


def check(run: Run) -> None:
    """ConfigError with one sentence for each rule that the run breaks."""
    sentences = [sentence for rule in RULES for sentence in rule(run)]
    if sentences:
        raise ConfigError(*sentences)


def batches_divide(run: Run) -> Iterator[str]:
    ranks, parts = run.device.ranks.count, run.settings.accumulate
    over = f"{ranks} ranks x " * (ranks > 1)
    for name in ("batch_size", "generator_batch_size"):
        size = getattr(run.settings, name)
        if size % (ranks * parts):
            yield (
                f"train.{name}={size} does not divide into {over}train.accumulate={parts} parts; use a multiple of "
                f"{ranks * parts}."
            )


def packs_divide(run: Run) -> Iterator[str]:
    network, cuts = run.discriminator.network, run.device.ranks.count * run.settings.accumulate
    if not isinstance(network, Packed):
        return
    if run.objective.semi_supervised:
        yield f"model.pack={network.pack} needs a loss without classes, since a pack has several; use 1."
    for name in ("batch_size", "generator_batch_size"):
        size = getattr(run.settings, name)
        if size % (network.pack * cuts):
            yield (
                f"train.{name}={size} does not divide into packs of model.pack={network.pack}; use a multiple of "
                f"{network.pack * cuts}."
            )


def penalties_see_single_samples(run: Run) -> Iterator[str]:
    coupled = batch_coupled(run.discriminator.network)
    names = [name for name, penalty in run.objective.penalties.items() if penalty.per_sample]
    if coupled and names:
        path, layer = coupled[-1]  # the network itself may be the first entry; a later one is more specific
        cures = dict.fromkeys(cure_of(run.discriminator, layer) for _, layer in coupled)
        yield (
            f"loss.penalties.{names[0]} differentiates each sample alone, but model.discriminator couples the batch: "
            f"{path or 'by its norm'} ({type(layer).__name__}); {' and '.join(cures).replace(' and set ', ' and ')}."
        )


def cure_of(player: Player, layer: nn.Module) -> str:
    """Returns a phrase on how to remove a layer that couples the batch."""
    network = type(player.network)
    if isinstance(layer, Packed):
        return "set model.pack=1"
    cure = getattr(layer, "cure", "norm=layer (or none)")
    if cure.split("=")[0] not in inspect.signature(network).parameters:
        return f"take it out of {network.__name__}, or put a layer norm in its place"
    return f"set model.{player.name}.{cure}"


def one_lipschitz_bound(run: Run) -> Iterator[str]:
    gradient = [name for name, p in run.objective.penalties.items() if isinstance(p, GradientPenalty)]
    if gradient and isinstance(run.objective.constraint, WeightClipping):
        yield (
            f"loss.constraint clips weights while loss.penalties.{gradient[0]} penalizes gradients; keep one of them: "
            f"loss.constraint=null or loss.penalties.{gradient[0]}=null."
        )


def no_bound_undoes_another(run: Run) -> Iterator[str]:
    spectral = any(isinstance(part, _SpectralNorm) for part in run.discriminator.network.modules())
    if spectral and isinstance(run.objective.constraint, WeightClipping):
        yield (
            "loss.constraint clips weights that model.weights.discriminator=spectral then scales anew; keep one of "
            "them: loss.constraint=null, or model.weights.discriminator=none."
        )


def energies_are_errors(run: Run) -> Iterator[str]:
    term, network = run.objective.adversarial, run.discriminator.network
    if getattr(term, "energy", False) and not getattr(network, "energy", False):
        yield (
            f"loss.adversarial={type(term).__name__} takes scores for minus an error of reconstruction, which "
            f"model.discriminator={type(network).__name__} does not return; use model=mlp, dcgan or toy and "
            f"model.discriminator.output=absolute_error (or squared_error)."
        )


def labels_reach_both_players(run: Run) -> Iterator[str]:
    generator, discriminator = run.generator.network, run.discriminator.network
    conditional = [getattr(network, "conditional", None) for network in (generator, discriminator)]
    if conditional in ([True, False], [False, True]):
        knows, ignores = ("generator", "discriminator") if conditional[0] else ("discriminator", "generator")
        yield (
            f"model.{knows} takes the labels and model.{ignores} does not, so that they mean nothing; set "
            f"model.{ignores}.conditioning=one_hot (or another), or model.{knows}.conditioning=none."
        )


def few_labels_are_used(run: Run) -> Iterator[str]:
    few = run.dataset.labels_per_class
    if few is not None and not run.objective.semi_supervised:
        yield (
            f"dataset.labels_per_class={few} is for losses that learn from few labels, which this one does not; "
            f"choose loss=semi_supervised, or set dataset.labels_per_class=null."
        )


def batch_norm_needs_two_samples(run: Run) -> Iterator[str]:
    for player, size in ((run.discriminator, "batch_size"), (run.generator, "generator_batch_size")):
        part = getattr(run.settings, size) // run.settings.accumulate // run.device.ranks.count
        norms = [(path, layer) for path, layer in batch_coupled(player.network) if isinstance(layer, _BatchNorm)]
        coupled = [path for path, layer in norms if not isinstance(layer, SyncBatchNorm)]
        over = "train.accumulate" + f" and {run.device.ranks.count} ranks" * (run.device.ranks.count > 1)
        if coupled and part < 2:
            yield (
                f"train.{size} over {over} leaves {part} image in a part, and batch norm ({coupled[0]} of "
                f"model.{player.name}) needs two; use larger batches, or {cure_of(player, norms[0][1])}."
            )


def metrics_apply(run: Run) -> Iterator[str]:
    if run.evaluator is not None:
        yield from run.evaluator.unfit()
        if not run.dataset.splits.get(run.evaluator.selection):
            yield (
                "metric needs images that are held out, and dataset has none in its validation and test splits; use "
                "one that has (of image_folder: dataset.held_out above 0), or metric=[]."
            )


def a_metric_selects(run: Run) -> Iterator[str]:
    by, settings = run.settings.select_by, run.settings
    if settings.patience is not None and (by is None or not settings.evaluates):
        yield "train.patience counts evaluations; set train.select_by and train.evaluate_every as well."
    if by is None:
        return
    known = run.evaluator.better if run.evaluator is not None else {}
    if by not in known:
        yield (
            f"train.select_by={by} is none of the values that the chosen metrics can select by"
            f"{nearest(by, known)}: {', '.join(known) or 'none; choose metric=[...]'}."
        )
    if not run.dataset.splits.get(SELECTION):
        yield "train.select_by chooses on the validation split, in which dataset has no image; use null."


def only_pictures_are_augmented(run: Run) -> Iterator[str]:
    spec, name = run.real.spec, type(run.augment).__name__
    if isinstance(run.augment, NoAugmentation):
        return
    if spec.value_range is None or spec.height * spec.width == 1:
        yield f"augment ({name}) is for pictures, and dataset has points; use augment=none."
        return
    try:
        seen = run.augment(
            torch.zeros(2, *spec.shape, device=run.device.torch), run.batches.noise("probe", 0, 2), Progress(0, 1)
        )
    except UNFIT as error:
        yield f"augment={name} cannot augment the images: {first_line(error)}."
        return
    if seen.shape != (2, *spec.shape):
        yield f"augment={name} makes {tuple(seen.shape[1:])} of images {spec.shape}; it should keep their shape."


def adaptation_reads_signs(run: Run) -> Iterator[str]:
    term = run.objective.adversarial
    if getattr(run.augment, "adapts", False) and not term.zero_is_boundary:
        yield (
            f"augment.probability=null adapts to the signs of scores, which mean nothing to loss.adversarial="
            f"{type(term).__name__}; set augment.probability=0.2 (or another, or a schedule)."
        )


def parts_need_a_mean(run: Run) -> Iterator[str]:
    """Accumulation and ranks both split the batch, so terms and layers that need the whole batch are refused."""
    cuts = ["train.accumulate must be 1"] * (run.settings.accumulate > 1)
    cuts += ["torchrun must start 1 process"] * (run.device.ranks.count > 1)
    comparing = [layer for _, layer in batch_coupled(run.discriminator.network) if hasattr(layer, "cure")]
    for cut in cuts:
        if run.objective.batch_statistics:
            yield f"{cut} with this loss: a term of it depends on the whole batch, so parts differ."
        if comparing:
            yield (
                f"{cut} with {type(comparing[0]).__name__}, which compares the whole batch; or set "
                f"model.discriminator.{comparing[0].cure}."
            )


def schedules_have_a_length(run: Run) -> Iterator[str]:
    if run.clock.length is None:
        for name, schedule in run.schedules.by_setting().items():
            if schedule.needs_length:
                yield (
                    f"{name} needs to know its length, and train.total_seconds does not say it; give the schedule its "
                    f"own steps, or train.schedule_steps or train.total_steps."
                )


def schedules_begin(run: Run) -> Iterator[str]:
    length = run.clock.length
    for name, schedule in run.schedules.by_setting().items():
        before = schedule.warmup_steps + schedule.hold_steps
        if schedule.needs_length and length is not None and before >= length:
            yield (
                f"{name} is warmed up and held for {before} steps, and the run has {length}, so that it never "
                f"moves; use fewer, or shape=constant."
            )


def graphs_replay_every_update(run: Run) -> Iterator[str]:
    reason = run.graphs.reason
    if run.device.graphs is True and reason is not None:
        yield f"device.graphs=true is not possible, since {reason}; use device.graphs=auto."


RULES = (
    metrics_apply,
    a_metric_selects,
    batches_divide,
    packs_divide,
    batch_norm_needs_two_samples,
    penalties_see_single_samples,
    one_lipschitz_bound,
    no_bound_undoes_another,
    energies_are_errors,
    labels_reach_both_players,
    few_labels_are_used,
    only_pictures_are_augmented,
    adaptation_reads_signs,
    parts_need_a_mean,
    schedules_have_a_length,
    schedules_begin,
    graphs_replay_every_update,
    networks_fit_the_data,
)
