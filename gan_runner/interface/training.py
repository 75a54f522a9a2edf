"""Training in Python: `train` is the training command, in this process."""

import contextlib
import html
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_runner.cli.plain import refuse_torchrun
from gan_runner.comparison.tables import scored
from gan_runner.errors import ConfigError, Stopped
from gan_runner.interface.composition import Config
from gan_runner.interface.isolation import settings_kept
from gan_runner.interface.progress import newest_picture, shown
from gan_runner.main import start
from gan_runner.records.console import duration
from gan_runner.records.folder import RunFolder
from gan_runner.records.scores import Scores

if TYPE_CHECKING:
    from gan_runner.interface.loading import Model


class TrainedRun:
    """A run folder after training. A notebook shows its scores and its newest pictures."""

    def __init__(self, path: Path):
        self.path = path

    @property
    def summary(self) -> dict[str, Any]:
        """The content of summary.json."""
        return RunFolder(self.path).read_summary()

    @property
    def status(self) -> str:
        """completed, interrupted, diverged or failed."""
        return str(self.summary.get("status", "absent"))

    @property
    def steps(self) -> int:
        return int(self.summary.get("steps", 0))

    @property
    def scores(self) -> dict[str, Any]:
        """The metrics of the best and the last networks, by names such as last/test/fid."""
        return scored(Scores(self.summary.get("metrics")))

    def load(self, checkpoint: str | int = "last") -> "Model":
        """Returns the run's generator; the classes of its configuration, which have just been trained, are trusted."""
        from gan_runner.assembly.trust import targets
        from gan_runner.interface.loading import load

        config = RunFolder(self.path).read_config() or {}
        return load(self.path, checkpoint, trust=[target for _, target in targets(config)])

    def __repr__(self) -> str:
        seconds = self.summary.get("seconds") or 0
        return f"TrainedRun({str(self.path)!r}): {self.status}, {self.steps} steps in {duration(seconds)}"

    def _repr_html_(self) -> str:
        import base64

        numbers = {name: value for name, value in self.scores.items() if isinstance(value, float)}
        rows = "".join(f"<tr><td>{html.escape(name)}</td><td>{value:.4g}</td></tr>" for name, value in numbers.items())
        found = newest_picture(self.path)
        picture = "" if found is None else base64.b64encode(found.read_bytes()).decode()
        shown = f'<img src="data:image/png;base64,{picture}">' if picture else ""
        return f"<p>{html.escape(repr(self))}</p><table>{rows}</table>{shown}"


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, or the button of a notebook, stopped a run after a checkpoint; `run` is what is there."""

    def __init__(self, sentence: str, run: TrainedRun):
        super().__init__(sentence)
        self.run = run


def train(config: Config, progress: bool = True) -> TrainedRun:
    """Trains the run to its end in the folder `config.path`; a run that is there goes on from its last checkpoint.

    progress: shows log lines; in a notebook a bar and the newest pictures.
    Interrupted, Stopped, Diverged: the run ended before, as an exit code of the command says.
    """
    if not isinstance(config, Config):
        raise ConfigError(f"train takes what compose returns, not {type(config).__name__}: train(compose(...)).")
    refuse_torchrun()
    with settings_kept(), shown(config.path) if progress else contextlib.nullcontext():
        try:
            folder = start(config.request, config.command)
        except Stopped as stopped:
            if stopped.exit_code != 128 + signal.SIGINT:
                raise
            sentence = str(stopped).replace("the same command", "the same call")
            raise Interrupted(sentence, TrainedRun(config.path)) from None
    return TrainedRun(folder.path)
