"""How good the players are: metrics of a run's networks as they are, as a pure function of their weights."""

import contextlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import gan_runner
from gan_runner.dataset.gaussians import Gaussians
from gan_runner.dataset.images import ImageDataset
from gan_runner.dataset.stacked_mnist import StackedMNIST
from gan_runner.errors import ConfigError
from gan_runner.evaluation.sampler import Sampler
from gan_runner.game.average import STATISTICS_BATCHES, estimate_batch_statistics, find_singular_vectors
from gan_runner.game.player import undisturbed
from gan_runner.metric.cache import Cache
from gan_runner.metric.classifier import Classifier
from gan_runner.metric.fidelity import SOURCES, Fidelity
from gan_runner.metric.pixels import Pixels
from gan_runner.metric.view import CHUNK, Chunk, Extractor, Game, Metric, Pool, Subject, View, said, too_many
from gan_runner.noise import seed_of
from gan_runner.spec import full_precision, to_levels

SELECTION, REPORT = "validation", "test"  # the splits that a checkpoint is chosen on, and that it is reported on

OF_ONE_SPLIT = ("metric/test_error", "metric/validation_error")  # whichever split is judged

log = logging.getLogger(__name__)


class Evaluation(NamedTuple):
    """What was measured on one split, with the protocol of each value."""

    split: str
    values: dict[str, float]
    protocols: dict[str, dict[str, Any]]
    pictures: dict[str, tuple[Tensor, int]]  # name -> images and columns of a grid

    def tags(self) -> dict[str, float]:
        """As they are logged: what is said of another split than the one for selection says so."""
        place = "" if self.split == SELECTION else f"{self.split}/"
        plain = {name: f"metric/{name}" for name in self.values}
        return {
            tag if tag in OF_ONE_SPLIT else f"metric/{place}{name}": self.values[name] for name, tag in plain.items()
        }


def finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """As JSON can hold them."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


class Selection:
    """The best evaluation so far by one value, and how many since then were no better."""

    def __init__(self) -> None:
        self.by: dict[str, Any] = {}  # the name of the value, and its protocol
        self.best: dict[str, Any] | None = None  # step, and split -> values
        self.judged: int | None = None  # the step of the last evaluation
        self.without_gain = 0

    @property
    def step(self) -> int | None:
        return self.best["step"] if self.best is not None else None

    def improves(self, step: int, found: Evaluation, name: str, way: str, counts: bool) -> bool:
        """way: "low" or "high" is better. counts: towards patience, as evaluations off the cadence do not."""
        by = {"select_by": name, **found.protocols[name]}
        if by != self.by:  # a value that cannot be compared with those before
            vars(self).update(vars(Selection()) | {"by": by})
        if step == self.judged:  # again, after a resume
            return False
        self.judged = step
        sign, value = 1 if way == "high" else -1, found.values[name]
        better = math.isfinite(value) and (self.best is None or sign * value > sign * self.best[found.split][name])
        if better:
            self.best = {"select_by": name, "step": step, found.split: finite(found.values)}
            self.without_gain = 0
        else:
            self.without_gain += counts
        return better

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state.keys() != vars(self).keys():
            raise KeyError(f"a selection has {sorted(vars(self))}, this one {sorted(state)}")
        vars(self).update(state)


class Opponent:
    """The players as metrics ask them: in evaluation mode, but for batch norm, which sees batches as in training."""

    def __init__(
        self,
        sampler: Sampler,
        discriminator: nn.Module,
        classifier: nn.Module | None,
        dataset: ImageDataset,
        seed: int,
        batch_size: int,
    ):
        """sampler: of the live generator; classifier: the averaged discriminator, where it knows the classes."""
        self.sampler, self.discriminator, self.classifier = sampler, discriminator, classifier
        self.dataset, self.seed, self.batch_size, self.device = dataset, seed, batch_size, sampler.device

    def scores(self, images: Tensor, labels: Tensor | None) -> Tensor:
        forward = self.discriminator.forward  # for the call, torch.compile would compile once more
        with self.playing():
            parts = self.parts(images, labels)
            return torch.cat([full_precision(forward(part, known)).cpu() for part, known in parts])

    def fake_scores(self, count: int) -> Tensor:
        generator, training = self.sampler.network, self.sampler.network.training
        with undisturbed(generator):
            pool = samples_of(self.sampler, self.seed)
            scores = self.scores(pool.images(count), pool.labels(count))
        generator.train(training)
        return scores

    def features(self, images: Tensor, labels: Tensor | None) -> Tensor:
        last = [layer for layer in self.discriminator.modules() if isinstance(layer, nn.Linear | nn.Conv2d)][-1]
        seen: list[Tensor] = []
        hook = last.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0].flatten(1).float().cpu()))
        try:
            self.scores(images, labels)
        finally:
            hook.remove()
        return torch.cat(seen)

    @torch.no_grad()
    def classify(self, images: Tensor) -> Tensor:
        """Batch statistics are those of training images."""
        assert self.classifier is not None  # the metric has asked
        find_singular_vectors(self.classifier)
        seed = seed_of(self.seed, "statistics")
        real = self.dataset.split("train").batches(self.batch_size, self.device, 0, seed, "mapped")  # only a few
        shown = ((batch.images, None) for batch in islice(real, STATISTICS_BATCHES))
        estimate_batch_statistics(self.classifier, shown)
        heads: Callable[[Tensor], Any] = self.classifier.heads  # type: ignore[assignment]
        return torch.cat([heads(part).logits.cpu() for part, _ in self.parts(images, None)])

    def parts(self, images: Tensor, labels: Tensor | None) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Batches of the training's size; what is left over is joined to the last, since batch norm needs several."""
        whole = max(1, len(images) // self.batch_size)
        ends = [*(self.batch_size * n for n in range(1, whole)), len(images)]
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            known = labels[start:end].to(self.device) if labels is not None else None
            yield self.dataset.decode(images[start:end].to(self.device)), known

    @contextlib.contextmanager
    def playing(self) -> Iterator[None]:
        network, training = self.discriminator, self.discriminator.training
        with torch.no_grad(), undisturbed(network):
            network.eval()
            for layer in network.modules():
                if isinstance(layer, _BatchNorm):
                    layer.train()
            yield
        network.train(training)


class Evaluator:
    """Takes metrics of one run, its real images and extractors once, of its players as they are when it is called."""

    def __init__(
        self,
        metrics: Mapping[str, Metric],
        dataset: ImageDataset,
        subject: Subject,
        cache: Cache,
        seed: int,
        device: torch.device,
        origin: Mapping[str, Any],
        splits: Sequence[str],
    ):
        """origin: what the protocol of every value says of the samples. splits: those that are to be judged."""
        self.metrics, self.dataset, self.subject, self.cache = metrics, dataset, subject, cache
        self.seed, self.device, self.splits = seed, device, splits
        self.origin = {**origin, "seed": seed, "version": gan_runner.__version__}
        self.extractors: dict[tuple[str, str | None], Extractor] = {}
        self.pools: dict[str, Pool] = {}
        self.warned: set[str] = set()

    @property
    def better(self) -> dict[str, str]:
        """Value -> "low" or "high", of all values that can select."""
        ways = [said(metric, "better", self.subject, {}) for metric in self.metrics.values()]
        return {name: way for known in ways for name, way in known.items()}

    @property
    def selection(self) -> str:
        """The split that is judged while training goes on."""
        return SELECTION if self.dataset.splits.get(SELECTION) else REPORT

    def unfit(self) -> list[str]:
        """A sentence for each metric that does not apply, and each number that is too large."""
        reasons = {name: said(metric, "unfit", self.subject, "") for name, metric in self.metrics.items()}
        sentences = [f"metric.{name} {reason}." for name, reason in reasons.items() if reason]
        wanted = {
            count for metric in self.metrics.values() if isinstance(count := getattr(metric, "n_real", None), int)
        }
        for split in self.splits:
            there = self.dataset.splits.get(split)
            sentences += [too_many(count, split, there) for count in sorted(wanted) if there and count > there]
            sentences += [
                f"metric.{name} needs {least} images in the {split} split, and dataset has {there}; use a dataset with "
                f"more (of image_folder: dataset.held_out), or leave the metric out."
                for name, metric in self.metrics.items()
                if there and there < (least := max(2, getattr(metric, "k", 1) + 1))
            ]
        return sentences

    def prepare(self) -> None:
        """Loads or trains what the metrics look at images with."""
        for metric in self.metrics.values():
            kind = said(metric, "features", self.subject, None)
            if kind is not None:
                self.extractor(kind, getattr(metric, "weights", None))

    def __call__(self, samples: Pool, game: Game | None, split: str) -> Evaluation:
        for name in self.dataset.splits:
            if name not in self.pools:  # its images are hashed
                self.pools[name] = self.pool(name)
        view = View(self.subject, split, self.pools, samples, self.extractor, self.seed, game)
        values: dict[str, float] = {}
        protocols: dict[str, dict[str, Any]] = {}
        for name, metric in self.metrics.items():
            view.stamp, view.stamps = {}, {}
            try:
                found = numbers(metric(view))
            except ValueError as error:
                raise ConfigError(f"metric.{name}: {error}.") from error
            except Exception as error:
                if type(metric).__module__.startswith("gan_runner.") or isinstance(error, ConfigError):
                    raise
                said_so = str(error).split("\n")[0]
                raise ConfigError(
                    f"metric.{name}: {type(metric).__name__} raised {type(error).__name__} ({said_so}); "
                    f"HYDRA_FULL_ERROR=1 shows where."
                ) from error
            twice = sorted(found.keys() & values.keys())
            if twice:
                raise ConfigError(f"metric.{name} gives {twice[0]}, as another metric does; take one of them.")
            values |= found
            for value in found:
                protocols[value] = {**self.origin, **settings(metric), **view.stamps.get(value, view.stamp)}
        for sentence in view.warnings:
            if sentence not in self.warned:
                log.warning(sentence)
        self.warned.update(view.warnings)
        return Evaluation(split, values, protocols, view.pictures)

    def pool(self, name: str) -> Pool:
        part = self.dataset.split(name)

        def read(number: int) -> Chunk:
            rows = slice(number * CHUNK, (number + 1) * CHUNK)
            return Chunk(part.images[rows], part.labels[rows] if part.labels is not None else None)

        return Pool(read, len(part.images), self.cache, part.fingerprint)

    def extractor(self, kind: str, weights: str | None = None) -> Extractor:
        kind = self.subject.kind(kind)
        if (kind, weights) not in self.extractors:
            with torch.random.fork_rng(devices=[]):  # which the first weights of a network are drawn from
                self.extractors[kind, weights] = self.made(kind, weights)
        return self.extractors[kind, weights]

    def made(self, kind: str, weights: str | None) -> Extractor:
        if kind == "pixels":
            return Pixels(self.subject.spec)
        if kind in SOURCES:
            return Fidelity(kind, weights, self.device)
        labelled = self.dataset.digits if isinstance(self.dataset, StackedMNIST) and kind == "digits" else self.dataset
        test = next(labelled.split(n) for n in (REPORT, SELECTION, "train") if labelled.splits.get(n))
        return Classifier(labelled.split("train"), test, self.cache, self.device)


def numbers(found: Any) -> dict[str, float]:
    """What a metric returns, if it is what it should be."""
    if not isinstance(found, Mapping):
        raise ValueError(f"it returns {type(found).__name__}, and should return a dictionary of numbers by their names")
    try:
        return {str(name): float(number) for name, number in found.items()}
    except (TypeError, OverflowError) as error:
        raise ValueError(f"a value that it returns is no number ({error})") from error


def settings(metric: Metric) -> dict[str, Any]:
    """Of a metric, those that are told in no other way."""
    told = ("n_real", "n_fake", "n_train", "features", "weights")
    plain = {
        name: value
        for name, value in getattr(metric, "__dict__", {}).items()
        if isinstance(value, bool | int | float | str | list)
    }
    return {name: value for name, value in plain.items() if name not in told}


def subject_of(dataset: ImageDataset, **players: Any) -> Subject:
    """players: what there is to say of them."""
    mixture = {"centers": dataset.centers, "std": dataset.std} if isinstance(dataset, Gaussians) else {}
    labelled, stacked = dataset.labels is not None, isinstance(dataset, StackedMNIST)
    facts = {"endless": dataset.endless, "stacked": stacked, **mixture, **players}
    return Subject(dataset.spec, dataset.splits, labelled, **facts)


def samples_of(sampler: Sampler, seed: int) -> Pool:
    """What `python -m gan_runner.sample --seed` makes, as 8-bit images."""
    sampler.prepare()

    def read(number: int) -> Chunk:
        images, labels = sampler.chunk(seed, number)
        return Chunk(to_levels(images, sampler.spec).cpu(), None if labels is None else labels.cpu())

    return Pool(read)
