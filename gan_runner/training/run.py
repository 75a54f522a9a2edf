"""The run: the step, and everything that a checkpoint must hold."""

import bisect
import logging
import math
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gan_runner.augment.augmented import Augmented
from gan_runner.augment.none import NoAugmentation
from gan_runner.dataset.images import ImageDataset
from gan_runner.device import Device
from gan_runner.errors import ConfigError, choose, require
from gan_runner.evaluation.evaluator import Evaluation, Evaluator, Opponent, Selection, samples_of
from gan_runner.evaluation.sampler import Sampler
from gan_runner.game.average import EMA
from gan_runner.game.graphs import Graphs, hindrance
from gan_runner.game.meter import Meter
from gan_runner.game.player import Player, evaluating, undisturbed
from gan_runner.health.probe import Probe
from gan_runner.health.verdicts import Facts, Health
from gan_runner.loss.objective import Objective
from gan_runner.model.latent import Latent
from gan_runner.nn.coupling import Batches, sees_single_batches
from gan_runner.noise import Noise, seed_of
from gan_runner.protocols import Adaptive, Augmentation, Stateful, Stats
from gan_runner.records.points import Game
from gan_runner.schedule import Progress, Schedule, check_schedulable
from gan_runner.spec import Batch, Share, full_precision

log = logging.getLogger(__name__)

CAN_BE_OFF = ("ema_half_life_images", "evaluate_every", "discriminator_warmup_steps", "fresh")
LARGEST = 2**21  # numbers in the fakes that are made at once: where more are made, one pass gains nothing
SHOWN = 20_000  # points in a picture of toy data
HELD_OUT = 512  # held-out images, at most and up to a batch, that the Wasserstein estimate is repeated on


@dataclass(frozen=True)
class Settings:
    """How long, in what batches, and how often; the group `train`. All "every" are in generator updates."""

    total_steps: int | None = None  # generator updates; the first of the three totals that is reached ends the run
    total_images: int | None = None  # real images shown to the discriminator
    total_seconds: float | None = None  # of training, over all sessions
    batch_size: int = 64  # real images in one discriminator update, over all ranks
    generator_batch_size: int = 64
    accumulate: int = 1  # parts that a rank computes its share of a batch in
    discriminator_warmup_steps: int = 0  # discriminator updates before the first generator update
    ema_half_life_images: float | Schedule = 10_000.0  # 0: off
    log_every: int = 50
    sample_every: int = 500
    checkpoint_every: int = 500
    evaluate_every: int = 0  # 0: only at the end
    keep_checkpoints: int = 2
    grid: int = 64  # images in a sample grid
    select_by: str | None = None  # the metric that chooses best.pt, on the validation split, and that sweepers are told
    patience: int | None = None  # evaluations without a better one that end the run
    on_divergence: str = "stop"  # or rollback: to the last good checkpoint, with other noise, at most three times
    fresh: bool = False  # start over, moving the old folder aside

    def __post_init__(self) -> None:
        totals = (self.total_steps, self.total_images, self.total_seconds)
        require(
            totals != (None, None, None),
            "total_steps=null leaves the run without an end; give total_steps, _images or _seconds",
        )
        choose("on_divergence", self.on_divergence, {"stop": None, "rollback": None})
        check_schedulable("ema_half_life_images", self.ema_half_life_images)
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name in CAN_BE_OFF else 1e-9
            if isinstance(value, int | float) and not value >= least:
                raise ValueError(f"{field.name}={value} must be {'0 or more' if least == 0 else 'above 0'}")

    def evaluates(self, step: int) -> bool:
        """Are metrics taken at this step, be it the last or not?"""
        return self.evaluate_every > 0 and step % self.evaluate_every == 0

    def progress(self, steps: int, images: int, seconds: float) -> float:
        """Share of the run that is done; 1 or more at its end."""
        pairs = ((steps, self.total_steps), (images, self.total_images), (seconds, self.total_seconds))
        return max(done / total for done, total in pairs if total is not None)


class Part(NamedTuple):
    """What one micro-batch of an update is computed from."""

    real: Batch | None
    noise: Noise
    fake: Batch | None = None  # where it is made already


class Run:
    """One training run: networks, objective and data meet in `step`. The loop around it is a Session."""

    def __init__(
        self,
        *,
        generator: Player,
        discriminator: Player,
        objective: Objective,
        latent: Latent,
        dataset: ImageDataset,
        augment: Augmentation,
        ema: EMA,
        classifier: EMA | None,
        evaluator: Evaluator | None,
        device: Device,
        settings: Settings,
        seed: int,
    ):
        self.generator, self.discriminator = generator, discriminator
        self.objective, self.latent, self.dataset = objective, latent, dataset
        self.augment = augment
        self.ema, self.device, self.settings, self.seed = ema, device, settings, seed
        self.classifier = classifier  # the averaged discriminator, where that is what is learned
        self.evaluator = evaluator
        self.selection = Selection()
        self.real = dataset.split("train")
        self.sampler = self.sampler_of(ema.network)
        self.meter = Meter()
        self.health = Health(self.facts())
        self.steps = 0  # generator updates done
        self.warmed = 0  # discriminator updates done before the first of them
        self.rollbacks = 0  # returns to a checkpoint after a divergence
        self.seconds = 0.0  # of training, over all sessions; kept by the session
        self.length = self.nominal_length()
        self.graphs = self.prepare_graphs()
        self.together = self.fakes_together()
        self.unseen = self.held_out_batches()
        self.probe = self.prepare_probe()
        self.open_streams()

    def facts(self) -> Facts:
        """What verdicts about this run depend on."""
        objective, term = self.objective, self.objective.adversarial
        penalties = [(name, p) for name, p in objective.penalties.items() if not getattr(p, "one_sided", False)]
        centers = {name: getattr(penalty, "center", 0.0) for name, penalty in penalties}
        return Facts(
            sign_decides=term.zero_is_boundary and not objective.semi_supervised,  # there the classes are the aim
            ranked=getattr(term, "ranked", True),
            augmented=not isinstance(self.augment, NoAugmentation),
            centers={name: center for name, center in centers.items() if center > 0},
        )

    def prepare_probe(self) -> Probe:
        return Probe(
            generator=self.generator.network,
            discriminator=self.discriminator.network,
            average=self.ema,
            objective=self.objective,
            latent=self.latent,
            augment=self.augment,
            dataset=self.dataset,
            device=self.device,
            batch_size=self.settings.batch_size,
            seed=self.seed,
        )

    def fakes_together(self) -> int:
        """Of how many discriminator updates the fakes are made in one pass: on a CPU, where it was seen to gain."""
        plain = self.device.torch.type == "cpu" and not self.device.compile and self.settings.accumulate == 1
        if not (plain and sees_single_batches(self.generator.network)):
            return 1
        most = max(self.objective.n_critic, self.objective.n_critic_burst or 1)
        return max(1, min(most, LARGEST // (self.settings.batch_size * self.real.spec.size)))

    def prepare_graphs(self) -> Graphs:
        """Of the updates, where they are wanted and nothing is in their way."""
        players, asked = [self.generator, self.discriminator], self.device.graphs
        if asked is False or self.device.torch.type not in self.device.graphed:
            return Graphs(players, on=False)
        reason = self.without_graphs()
        if reason is not None:
            log.info("device.graphs=%s: there are no CUDA graphs, since %s", asked, reason)
        return Graphs(players, on=reason is None, required=asked is True)

    def without_graphs(self) -> str | None:
        """Why the updates cannot be CUDA graphs, in half a sentence."""
        objective, networks = self.objective, {p.name: p.network for p in (self.generator, self.discriminator)}
        parts = {"loss": objective, "loss.adversarial": objective.adversarial, "loss.constraint": objective.constraint}
        parts |= {f"loss.penalties.{name}": term for name, term in objective.penalties.items()}
        parts |= {"augment": self.augment, "model.latent": self.latent}
        return hindrance(self.device, networks, parts, self.schedules())

    # ---- positions, all of them functions of `steps`

    @property
    def images(self) -> int:
        """Real images shown to the discriminator so far."""
        return self.discriminator_updates(self.steps) * self.settings.batch_size

    def discriminator_updates(self, steps: int) -> int:
        """Up to the end of generator step `steps`."""
        return self.warmed + self.objective.discriminator_updates(steps)

    def nominal_length(self) -> int | None:
        """Generator updates until the totals, for the schedules; None when time alone ends the run."""
        lengths = [self.settings.total_steps] if self.settings.total_steps else []
        if self.settings.total_images:
            needed = math.ceil(self.settings.total_images / self.settings.batch_size)
            needed -= self.settings.discriminator_warmup_steps
            steps = range(min(max(0, needed), sys.maxsize))
            lengths.append(bisect.bisect_left(steps, needed, key=self.objective.discriminator_updates))
        return min(lengths, default=None)

    def open_streams(self) -> None:
        """Real images for both players, from where `steps` says they are."""
        start = self.steps * self.settings.generator_batch_size
        self.real_batches = self.stream(self.settings.batch_size, self.images, "discriminator")
        if self.objective.semi_supervised:
            self.real_batches = self.with_labelled(self.real_batches)
        self.generator_batches = self.stream(self.settings.generator_batch_size, start, "generator")
        self.waited = 0.0  # seconds spent on data since the last log line

    def stream(self, size: int, start: int, player: str) -> Iterator[Batch]:
        seed, device = seed_of(self.seed, player), self.device
        return self.real.batches(size, device.torch, start, seed, device.data, self.share)

    def with_labelled(self, unlabelled: Iterator[Batch]) -> Iterator[Batch]:
        """The images without their labels, beside as many whose labels may be used."""
        size, seed = self.settings.batch_size, seed_of(self.seed, "labelled")
        known = self.real.labelled(seed).batches(size, self.device.torch, self.images, seed, share=self.share)
        return (Batch(batch.images, None, labelled=few) for batch, few in zip(unlabelled, known, strict=True))

    def held_out_batches(self) -> list[Batch]:
        """Of the validation split, always the same; none where the loss estimates no Wasserstein distance."""
        if self.objective.adversarial.estimate != "wasserstein" or "validation" not in self.dataset.splits:
            return []
        split, size = self.dataset.split("validation"), self.settings.batch_size
        batches = split.batches(size, self.device.torch, 0, seed_of(self.seed, "held_out"), "mapped")  # only a few
        return list(islice(batches, math.ceil(min(HELD_OUT, len(split)) / size)))

    @property
    def share(self) -> Share:
        """This rank's, of every batch."""
        return Share(self.device.ranks.rank, self.device.ranks.count)

    def next(self, batches: Iterator[Batch]) -> Batch:
        asked = time.perf_counter()
        batch = next(batches)
        self.waited += time.perf_counter() - asked
        return batch

    def noise(self, purpose: str, number: int, size: int) -> Noise:
        """Other noise after each rollback, so that the steps which diverged are not taken again."""
        again = ("rollback", self.rollbacks) if self.rollbacks else ()
        return Noise((self.seed, purpose, number, *again), size, self.device.torch)

    # ---- the step

    def step(self) -> Stats:
        """One generator update, after its discriminator updates."""
        while self.warming_up:
            self.warm_up()
        stats: Stats = {}
        progress = Progress(self.steps, self.length)
        updates = range(self.discriminator_updates(self.steps), self.discriminator_updates(self.steps + 1))
        for update, parts in self.discriminator_parts(updates):
            stats |= self.prepare_discriminator(update, progress, parts)  # of a lazy penalty, the last value
            if update < updates[-1]:
                self.move_discriminator()
        stats |= self.held_out(updates[-1], progress)
        if not self.objective.simultaneous:
            self.move_discriminator()
        stats |= self.prepare_generator(progress)
        if self.objective.simultaneous:
            self.move_discriminator()
        self.generator.move()
        before, self.steps = self.images, self.steps + 1
        for average in self.averages().values():
            average.update(self.images - before, self.images, progress)
        return stats

    @property
    def warming_up(self) -> bool:
        return self.warmed < self.settings.discriminator_warmup_steps

    def warm_up(self) -> None:
        """One discriminator update before the first generator step."""
        self.prepare_discriminator(self.warmed, Progress(0, self.length))
        self.move_discriminator()
        self.warmed += 1

    def discriminator_parts(self, updates: range) -> Iterator[tuple[int, list[Part]]]:
        """What each update is computed from; the fakes of several are made in one pass where that is the same."""
        for first in range(updates.start, updates.stop, self.together):
            group = updates[first - updates.start :][: self.together]
            drawn = [self.parts(self.next(self.real_batches), self.discriminator_noise(update)) for update in group]
            yield from zip(group, self.with_fakes(drawn) if self.together > 1 else drawn, strict=True)

    def with_fakes(self, drawn: list[list[Part]]) -> list[list[Part]]:
        """Of updates that have one part each."""
        parts = [part for (part,) in drawn]
        z = torch.cat([self.latent.sample(part.noise.scoped("latent")) for part in parts])
        labels = [part.real.labels for part in parts if part.real is not None and part.real.labels is not None]
        with torch.no_grad(), self.device.autocast(), Batches(len(parts)):
            images = full_precision(self.generator.network(z, torch.cat(labels) if labels else None))
        made = zip(parts, images.chunk(len(parts)), strict=True)
        return [[part._replace(fake=Batch(own, part.real.labels if part.real else None))] for part, own in made]

    def prepare_discriminator(self, update: int, progress: Progress, parts: list[Part] | None = None) -> Stats:
        """parts: where they are drawn already."""
        if parts is None:
            ((_, parts),) = self.discriminator_parts(range(update, update + 1))
        terms, key = partial(self.discriminator_terms, update, progress), self.discriminator_noise(update).key
        way = tuple(name for name, penalty in self.objective.penalties.items() if update % penalty.every == 0)
        through = self.graphs.through(self.discriminator, way)
        stats = self.discriminator.prepare(terms, parts, progress, (*key, "dropout"), through)
        return stats | (self.augment.adapt(stats, update, progress) if isinstance(self.augment, Adaptive) else {})

    def discriminator_noise(self, update: int) -> Noise:
        return self.noise("discriminator", update, self.settings.batch_size)

    def move_discriminator(self) -> None:
        self.discriminator.move()
        self.objective.enforce(self.discriminator.network)

    def prepare_generator(self, progress: Progress) -> Stats:
        labelled = self.real.labels is not None
        real = self.next(self.generator_batches) if labelled or self.objective.paired else None
        noise = self.noise("generator", self.steps, self.settings.generator_batch_size)
        terms = partial(self.generator_terms, progress)
        parts, key = self.parts(real, noise), noise.scoped("dropout").key
        return self.generator.prepare(terms, parts, progress, key, self.graphs.through(self.generator, ()))

    def parts(self, real: Batch | None, noise: Noise) -> list[Part]:
        """What this rank computes one after the other: of its share of the batch, and of the noise for all of it."""
        count, share = self.settings.accumulate, self.share
        reals = real.split(count) if real is not None else [None] * count
        noises = noise.split(share.parts * count)[share.part * count :][:count]
        return [Part(*pair) for pair in zip(reals, noises, strict=True)]

    def fake(self, real: Batch | None, noise: Noise) -> Batch:
        """Fakes take the labels of the real batch."""
        labels = real.labels if real is not None else None
        z = self.latent.sample(noise.scoped("latent"))
        return Batch(full_precision(self.generator.network(z, labels)), labels)

    def augmented(self, noise: Noise, progress: Progress) -> nn.Module:
        """The discriminator, behind the augmentation if there is one."""
        network = self.discriminator.network
        if isinstance(self.augment, NoAugmentation):
            return network
        return Augmented(network, self.augment, noise.scoped("augment"), progress)

    def discriminator_terms(self, update: int, progress: Progress, part: Part) -> tuple[Tensor, Stats]:
        real, noise, fake = part
        assert real is not None
        network = self.augmented(noise, progress)
        if fake is None:
            with torch.no_grad():  # frozen already, but torch.compile before 2.15 overlooks that its weights thaw
                fake = self.fake(real, noise)
        loss, stats = self.objective.discriminator(network, real, fake, noise, progress)
        with self.device.penalty_autocast():
            penalty, observed = self.objective.penalty(network, real, fake, noise, update, progress)
        total = loss + penalty
        stats |= self.objective.estimate(stats["loss/adversarial"], observed)
        return total, {"loss/discriminator": total.detach(), **stats, **observed}

    @torch.no_grad()
    def held_out(self, update: int, progress: Progress) -> Stats:
        """The estimate of an update, with images that the discriminator never trains on in the place of the real ones.

        Between the gradient and the step. Leaves the networks as they are.
        """
        every = self.settings.log_every // max(1, len(self.unseen)) or 1  # about once a log line for each batch
        if not self.unseen or (self.steps + 1) % every:
            return {}
        part, parts = self.share
        real = self.unseen[self.steps // every % len(self.unseen)].split(parts)[part]
        noise = self.discriminator_noise(update).split(parts)[part]
        generator, discriminator = self.generator.network, self.discriminator.network
        with undisturbed(generator), undisturbed(discriminator), self.device.autocast():
            fake = self.fake(real, noise)
            # forward, not the call: torch.compile would compile once more for it
            seen = self.augmented(noise, progress).forward
            loss, _ = self.objective.compare(seen, real, fake, noise, progress)
        return self.device.ranks.combine([], {"wasserstein/held_out": -loss})

    def generator_terms(self, progress: Progress, part: Part) -> tuple[Tensor, Stats]:
        fake = self.fake(part.real, part.noise)
        network = self.augmented(part.noise, progress)
        return self.objective.generator(network, fake, part.real, part.noise, progress)

    # ---- what the session asks

    def progress(self) -> float:
        """Share of the run that is done; 1 or more at its end."""
        return self.settings.progress(self.steps, self.images, self.seconds)

    def finished(self) -> bool:
        return self.progress() >= 1 or self.out_of_patience

    @property
    def out_of_patience(self) -> bool:
        return self.settings.patience is not None and self.selection.without_gain >= self.settings.patience

    def sampler_of(self, generator: nn.Module) -> Sampler:
        size = self.settings.generator_batch_size
        return Sampler(generator, self.latent, self.dataset.spec, self.seed, size, self.device.torch)

    def schedules(self) -> dict[str, Schedule]:
        """All that change as training goes on, by the setting that holds them."""
        penalties, half_life = self.objective.penalties, self.settings.ema_half_life_images
        found = {"optimizer.schedule": self.generator.schedule}
        found |= {"train.ema_half_life_images": half_life} if isinstance(half_life, Schedule) else {}
        for player in (self.generator, self.discriminator):
            found |= {f"optimizer.{player.name}.{name}": schedule for name, schedule in player.schedules().items()}
        found |= {f"augment.{name}": value for name, value in vars(self.augment).items() if isinstance(value, Schedule)}
        return found | {
            f"loss.penalties.{name}.weight" if name in penalties else f"loss.{name}": schedule
            for name, schedule in self.objective.schedules().items()
        }

    def check_length(self) -> None:
        """After a resume: schedules run over the length of the first start, and no further."""
        asked = self.nominal_length()
        if self.length is None or (asked is not None and asked <= self.length):
            return
        for name, schedule in self.schedules().items():
            if schedule.needs_length:
                raise ConfigError(
                    f"{name} ends at step {self.length}, the length that this run was started with; to train longer, "
                    f"begin a new run and give the schedule its own length with {name}.steps=..."
                )

    def fixed_samples(self) -> tuple[Tensor, Tensor | None]:
        """Of the averaged generator: the same noise at every step, as many images as the grid holds, and their labels.

        A conditional generator makes one class a row.
        """
        labels = self.sampler.rows(self.settings.grid)
        size = self.settings.grid if labels is None else len(labels)
        noise = Noise((self.seed, "fixed", 0), size, self.device.torch)
        return self.sampler(noise, self.sampler.random_labels(noise) if labels is None else labels), labels

    @torch.no_grad()
    def game(self) -> Game:
        """Both players as they are now, for a picture of toy data: the generator that the discriminator answers.

        In evaluation mode, so that nothing of theirs changes and a place has one score whatever else is asked.
        """
        noise = Noise((self.seed, "game", 0), SHOWN, self.device.torch)
        z = self.latent.sample(noise)
        density = getattr(self.real, "log_density", lambda points: None)
        with evaluating(self.generator.network) as generate:
            fake = full_precision(generate(z, None)).flatten(1)
        probability = self.objective.estimate_tag == "divergence/js_estimate"
        return Game(f"step {self.steps}", self.real.images.flatten(1), z, fake, self.score, density, probability)

    @torch.no_grad()
    def score(self, points: Tensor) -> Tensor:
        """Points (N, coordinates) -> what the discriminator says of each (N,)."""
        images = points.view(-1, *self.real.spec.shape).to(self.device.torch)
        with evaluating(self.discriminator.network) as discriminate:
            return full_precision(discriminate(images, None))

    def averages(self) -> dict[str, EMA]:
        return {"ema": self.ema} | ({"classifier": self.classifier} if self.classifier is not None else {})

    def evaluate(self, split: str | None = None) -> Evaluation | None:
        """Metrics, if any are wanted, by default on the split that checkpoints are chosen on."""
        if self.evaluator is None:
            return None
        live = self.sampler_of(self.generator.network)
        classifier = self.classifier.network if self.classifier is not None else None
        network, size = self.discriminator.network, self.settings.batch_size
        game = Opponent(live, network, classifier, self.dataset, self.seed, size)
        return self.evaluator(samples_of(self.sampler, self.evaluator.seed), game, split or self.evaluator.selection)

    def observe(self) -> dict[str, float]:
        """What the host knows without asking the device."""
        players = (self.generator, self.discriminator)
        values = {f"lr/{player.name}": player.rate for player in players}
        values |= {f"scale/{p.name}": p.scaler.get_scale() for p in players if p.scaler.is_enabled()}
        progress = Progress(self.steps - 1, self.length)
        values |= {f"schedule/{name}": at(progress) for name, at in self.objective.schedules().items()}
        for player in players:
            values |= {f"schedule/{name}/{player.name}": at(progress) for name, at in player.schedules().items()}
        half_life = self.settings.ema_half_life_images
        values |= {"schedule/ema_half_life_images": half_life(progress)} if isinstance(half_life, Schedule) else {}
        return values | {"progress/images": float(self.images)}

    def measure(self, observed: Mapping[str, float]) -> dict[str, float]:
        """The tags of health, beside what was observed of the steps since the last log line."""
        key = self.noise("health", self.steps, 0).key
        return self.probe(key, Progress(self.steps - 1, self.length), observed)

    # ---- state

    def state(self) -> dict[str, Any]:
        return {
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            **{name: average.state_dict() for name, average in self.averages().items()},
            "meter": self.meter.state_dict(),
            "health": self.health.state_dict(),
            "augment": self.augment.state_dict() if isinstance(self.augment, Stateful) else {},
            "objective": {name: term.state_dict() for name, term in self.objective.stateful().items()},
            "selection": self.selection.state_dict(),
            "spec": asdict(self.real.spec),
            "images": self.real.content,
            "counters": {
                "steps": self.steps,
                "warmed": self.warmed,
                "rollbacks": self.rollbacks,
                "seconds": self.seconds,
                "length": self.length,
            },
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        own = self.state()
        if state.keys() != own.keys() or any(state[key].keys() != own[key].keys() for key in ("objective", "augment")):
            raise KeyError(f"the checkpoint's parts are {sorted(state)}, this run's {sorted(own)}")
        if state["images"] != own["images"]:
            raise ConfigError(
                "dataset: its images are not those that this run began with; put them back, give a new run a name "
                "with name=..., or start over with train.fresh=true."
            )
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        for name, average in self.averages().items():
            average.load_state_dict(state[name])
        self.meter.load_state_dict(state["meter"], self.device.torch)
        self.health.load_state_dict(state["health"])
        for name, term in self.objective.stateful().items():
            term.load_state_dict(state["objective"][name])
        if isinstance(self.augment, Stateful):
            self.augment.load_state_dict(state["augment"])
        self.selection.load_state_dict(state["selection"])
        counters = state["counters"]
        self.steps, self.warmed, self.rollbacks = counters["steps"], counters["warmed"], counters["rollbacks"]
        self.seconds, self.length = counters["seconds"], counters["length"]
        self.open_streams()
