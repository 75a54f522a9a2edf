"""A run: all assembled objects that take part in the training, and their state in a checkpoint."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gan_runner.dataset.images import ImageDataset
from gan_runner.device import Device
from gan_runner.errors import ConfigError
from gan_runner.evaluation.evaluator import Evaluator
from gan_runner.evaluation.selection import Selection
from gan_runner.game.algorithm import Algorithm
from gan_runner.game.average import EMA
from gan_runner.game.batches import Batches
from gan_runner.game.clock import Clock
from gan_runner.game.graphs import Graphs
from gan_runner.game.meter import Meter
from gan_runner.game.player import Player
from gan_runner.game.schedules import Schedules
from gan_runner.game.settings import Settings
from gan_runner.health.probe import Probe
from gan_runner.health.verdicts import Health
from gan_runner.loss.objective import Objective
from gan_runner.model.latent import Latent
from gan_runner.protocols import Augmentation, Stateful, Stats


@dataclass(frozen=True, eq=False)
class Run:
    """The objects that `build` makes from a configuration. A Session contains the training loop."""

    settings: Settings
    seed: int
    device: Device
    dataset: ImageDataset
    real: ImageDataset  # its training split
    latent: Latent
    objective: Objective
    augment: Augmentation
    generator: Player
    discriminator: Player
    averages: Mapping[str, EMA]  # ema: of the generator; classifier: of a discriminator with class logits; by half-life
    clock: Clock
    batches: Batches
    schedules: Schedules
    graphs: Graphs
    algorithm: Algorithm
    meter: Meter
    probe: Probe
    health: Health
    evaluator: Evaluator | None
    selection: Selection

    @property
    def ema(self) -> EMA:
        """The main average of the generator."""
        return self.averages["ema"]

    def step(self) -> Stats:
        return self.algorithm.step()

    def measure(self, observed: Mapping[str, float]) -> dict[str, float]:
        """Returns the values with `health/` tags. observed: mean statistics of the steps since the last log line."""
        return self.probe(self.batches.noise("health", self.clock.steps, 0).key, self.clock.last, observed)

    def observe(self) -> dict[str, float]:
        """Returns learning rates, schedule values and the number of images, without a read from the device."""
        return self.schedules.observe(self.clock.last) | {"progress/images": float(self.clock.images)}

    def state(self) -> dict[str, Any]:
        return {
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            **{name: average.state_dict() for name, average in self.averages.items()},
            "meter": self.meter.state_dict(),
            "health": self.health.state_dict(),
            "augment": self.augment.state_dict() if isinstance(self.augment, Stateful) else {},
            "objective": {name: term.state_dict() for name, term in self.objective.stateful().items()},
            "selection": self.selection.state_dict(),
            "spec": asdict(self.real.spec),
            "images": self.real.content,
            "counters": self.clock.state_dict(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Loads strictly: KeyError if the parts of the state differ, ConfigError if the dataset's images differ."""
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
        for name, average in self.averages.items():
            average.load_state_dict(state[name])
        self.meter.load_state_dict(state["meter"], self.device.torch)
        self.health.load_state_dict(state["health"])
        for name, term in self.objective.stateful().items():
            term.load_state_dict(state["objective"][name])
        if isinstance(self.augment, Stateful):
            self.augment.load_state_dict(state["augment"])
        self.selection.load_state_dict(state["selection"])
        self.clock.load_state_dict(state["counters"])
        self.batches.open()
