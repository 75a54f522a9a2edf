"""All schedules of a run."""

import logging

from gan_runner.errors import ConfigError
from gan_runner.game.clock import Clock
from gan_runner.game.player import Player
from gan_runner.game.settings import Settings
from gan_runner.loss.objective import Objective
from gan_runner.protocols import Augmentation
from gan_runner.schedule import Progress, Schedule

log = logging.getLogger(__name__)


class Schedules:
    """The schedules of the learning rates, other optimizer settings, the loss, the average and the augmentation."""

    def __init__(
        self,
        generator: Player,
        discriminator: Player,
        objective: Objective,
        augment: Augmentation,
        settings: Settings,
    ):
        self.players, self.objective = (generator, discriminator), objective
        self.augment, self.half_life = augment, settings.ema_half_life_images

    def by_setting(self) -> dict[str, Schedule]:
        """Returns the schedules by the name of their setting."""
        schedules = {"optimizer.schedule": self.players[0].schedule}
        schedules |= {"train.ema_half_life_images": self.half_life} if isinstance(self.half_life, Schedule) else {}
        for player in self.players:
            schedules |= {f"optimizer.{player.name}.{name}": at for name, at in player.schedules().items()}
        augment = vars(self.augment).items()
        schedules |= {f"augment.{name}": value for name, value in augment if isinstance(value, Schedule)}
        penalties = self.objective.penalties
        return schedules | {
            f"loss.penalties.{name}.weight" if name in penalties else f"loss.{name}": schedule
            for name, schedule in self.objective.schedules().items()
        }

    def observe(self, progress: Progress) -> dict[str, float]:
        """Returns tag -> value of each schedule, learning rate and loss scale, without a read from the device."""
        values = {f"lr/{player.name}": player.rate for player in self.players}
        values |= {f"scale/{p.name}": p.scaler.get_scale() for p in self.players if p.scaler.is_enabled()}
        values |= {f"schedule/{name}": at(progress) for name, at in self.objective.schedules().items()}
        for player in self.players:
            values |= {f"schedule/{name}/{player.name}": at(progress) for name, at in player.schedules().items()}
        half_life = self.half_life
        return values | (
            {"schedule/ema_half_life_images": half_life(progress)} if isinstance(half_life, Schedule) else {}
        )

    def check_length(self, clock: Clock) -> None:
        """ConfigError if a resumed run is longer, in generator updates, than the schedules that run over the whole run.

        Such schedules keep the length of the first start. A limit in seconds is not checked.
        """
        length, now = clock.length, clock.steps_until(clock.settings.end)
        if length is None or now is None or now <= length:
            return
        for name in self.over_the_run():
            raise ConfigError(
                f"{name} ends at step {length}, the length that this run was started with; to train longer, "
                f"begin a new run and give the schedule its own length with {name}.steps=..."
            )

    def announce_end(self, step: int) -> None:
        """Says which schedules end at this step, although the run goes on until train.total_seconds."""
        for name in self.over_the_run():
            log.info("%s ended at step %d, as long as the run would be without train.total_seconds", name, step)

    def over_the_run(self) -> list[str]:
        """Returns the settings whose schedules run over the whole run."""
        return [name for name, schedule in self.by_setting().items() if schedule.needs_length]
