"""The updates of the discriminator and the generator: inputs, loss terms, gradient and optimizer step."""

import math
from functools import partial
from itertools import islice

import torch
from torch import Tensor

from gan_runner.augment.augmented import augmented
from gan_runner.dataset.images import ImageDataset
from gan_runner.device import Device
from gan_runner.game.batches import Batches, Fakes, Part
from gan_runner.game.clock import Now
from gan_runner.game.graphs import Graphs
from gan_runner.game.player import Player
from gan_runner.game.settings import Settings
from gan_runner.loss.objective import Objective
from gan_runner.nn.coupling import sees_single_batches
from gan_runner.nn.modes import restoring_buffers
from gan_runner.noise import seed_of
from gan_runner.protocols import Adaptive, Augmentation, Stats
from gan_runner.schedule import Progress
from gan_runner.spec import Batch

LARGEST = 2**21  # values in the fakes of one pass; with more values, one pass for several updates saves no time
HELD_OUT = 512  # at most so many held-out images, rounded up to whole batches, for the Wasserstein estimate


class Discriminator:
    """Minimises its loss on real images and fakes plus the penalties that are due; then enforces the constraint."""

    def __init__(
        self,
        player: Player,
        objective: Objective,
        batches: Batches,
        fakes: Fakes,
        augment: Augmentation,
        graphs: Graphs,
        held_out: list[Batch],
    ):
        """held_out: images not used for training, for the Wasserstein estimate; empty if the loss has no estimate."""
        self.player, self.objective, self.batches, self.fakes = player, objective, batches, fakes
        self.augment, self.graphs, self.held_out, self.device = augment, graphs, held_out, player.device
        self.at_once = fakes_at_once(objective, batches.settings, fakes, batches.real.spec.size)
        self.drawn: list[list[Part]] = []  # the parts of the next updates of this step, drawn in advance

    def gradient(self, number: int, now: Now) -> Stats:
        """Computes the gradient of update `number` into `.grad`. A lazy penalty is due every `every` updates.

        With CUDA graphs, all kernels of the gradient are recorded once for each set of penalties that are due, and
        are replayed on the parts of each update. The optimizer step is not part of the graph.
        """
        parts, terms = self.parts(number, now), partial(self.terms, number, now.progress)
        due = tuple(name for name, penalty in self.objective.penalties.items() if number % penalty.every == 0)
        key = (*self.batches.discriminator_noise(number).key, "dropout")
        stats = self.player.gradient(terms, parts, now.progress, key, self.graphs.of(self.player, due))
        if isinstance(self.augment, Adaptive):
            stats |= self.augment.adapt(stats, number, now.progress)
        if number == now.updates[-1] and not now.warm_up:
            stats |= self.estimate_held_out(number, now)
        return stats

    def move(self) -> None:
        self.player.move()
        self.objective.enforce(self.player.network)

    def parts(self, number: int, now: Now) -> list[Part]:
        """Returns the inputs of the update.

        The generator does not change between the updates of a step, so one pass can make the fakes of several updates.
        """
        if not self.drawn:
            group = [update for update in now.updates if update >= number][: self.at_once]
            drawn = [self.batches.of_discriminator(update) for update in group]
            self.drawn = self.fakes.together(drawn) if self.at_once > 1 else drawn
        return self.drawn.pop(0)

    def terms(self, number: int, progress: Progress, part: Part) -> tuple[Tensor, Stats]:
        """Returns the loss of one part, and the statistics to log."""
        real, noise, fake = part
        assert real is not None
        if fake is None:
            with torch.no_grad():  # the generator is frozen, but torch.compile before 2.15 misses a later thaw
                fake = self.fakes(real, noise)
        network = augmented(self.player.network, self.augment, noise, progress)
        loss, stats = self.objective.discriminator(network, real, fake, noise, progress)
        with self.device.penalty_autocast():
            penalty, observed = self.objective.penalty(network, real, fake, noise, number, progress)
        total = loss + penalty
        stats |= self.objective.estimate(stats["loss/adversarial"], observed)
        return total, {"loss/discriminator": total.detach(), **stats, **observed}

    @torch.no_grad()
    def estimate_held_out(self, number: int, now: Now) -> Stats:
        """Returns the Wasserstein estimate of an update, with held-out images instead of its real images.

        Called between the gradient and the optimizer step; does not change the networks. Each held-out batch is
        evaluated about once per log line.
        """
        every = self.batches.settings.log_every // max(1, len(self.held_out)) or 1
        if not self.held_out or (now.step + 1) % every:
            return {}
        part, parts = self.batches.share
        real = self.held_out[now.step // every % len(self.held_out)].split(parts)[part]
        noise = self.batches.discriminator_noise(number).split(parts)[part]
        network = self.player.network
        with restoring_buffers(self.fakes.generator), restoring_buffers(network), self.device.autocast():
            fake = self.fakes(real, noise)
            # .forward instead of a call: torch.compile would compile the network once more for this call
            forward = augmented(network, self.augment, noise, now.progress).forward
            loss, _ = self.objective.compare(forward, real, fake, noise, now.progress)
        return self.device.ranks.combine([], {"wasserstein/held_out": -loss})


class Generator:
    """Minimises its loss on fakes. Real images are drawn if the loss compares pairs, or for their labels."""

    def __init__(
        self,
        player: Player,
        against: Player,
        objective: Objective,
        batches: Batches,
        fakes: Fakes,
        augment: Augmentation,
        graphs: Graphs,
    ):
        self.player, self.discriminator, self.objective, self.batches = player, against.network, objective, batches
        self.fakes, self.augment, self.graphs = fakes, augment, graphs
        self.with_real = batches.real.labels is not None or objective.paired

    def gradient(self, step: int, now: Now) -> Stats:
        """Computes the gradient of the update of `step` into `.grad`."""
        parts, terms = self.batches.of_generator(step, self.with_real), partial(self.terms, now.progress)
        key = (*self.batches.generator_noise(step).key, "dropout")
        return self.player.gradient(terms, parts, now.progress, key, self.graphs.of(self.player, ()))

    def move(self) -> None:
        self.player.move()

    def terms(self, progress: Progress, part: Part) -> tuple[Tensor, Stats]:
        """Returns the loss of one part, and the statistics to log."""
        fake = self.fakes(part.real, part.noise)
        network = augmented(self.discriminator, self.augment, part.noise, progress)
        return self.objective.generator(network, fake, part.real, part.noise, progress)


def fakes_at_once(objective: Objective, settings: Settings, fakes: Fakes, size: int) -> int:
    """Returns the number of discriminator updates whose fakes one pass makes.

    Above 1 on a CPU only, where measurements show a gain.
    """
    device = fakes.device
    plain = device.torch.type == "cpu" and not device.compile and settings.accumulate == 1
    if not (plain and sees_single_batches(fakes.generator)):
        return 1
    most = max(objective.n_critic, objective.n_critic_burst or 1)
    return max(1, min(most, LARGEST // (settings.batch_size * size)))


def held_out_batches(
    dataset: ImageDataset, objective: Objective, settings: Settings, device: Device, seed: int
) -> list[Batch]:
    """Returns fixed batches of the validation split; none if the loss does not estimate a Wasserstein distance."""
    if objective.adversarial.estimate != "wasserstein" or "validation" not in dataset.splits:
        return []
    split, size = dataset.split("validation"), settings.batch_size
    batches = split.batches(size, device.torch, 0, seed_of(seed, "held_out"), "mapped")  # few images
    return list(islice(batches, math.ceil(min(HELD_OUT, len(split)) / size)))
