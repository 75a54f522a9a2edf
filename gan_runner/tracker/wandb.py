"""Weights & Biases: https://docs.wandb.ai. Needs the package wandb."""

from typing import Any, Literal

from gan_runner.errors import choose
from gan_runner.protocols import Tracked
from gan_runner.storage.packages import require_packages

WAIT = 30  # seconds, at most, to reach the server at the beginning, and to upload the rest at the end
FLUSH = 1.0  # seconds, at most, until values are in the file: those of the last second are lost by a kill


class Wandb:
    """Sends to Weights & Biases, or, offline, to files in the run folder for `wandb sync`."""

    kind = "wandb"

    def __init__(self, project: str = "gan_runner", entity: str | None = None, mode: str = "offline"):
        """project: that of the runs. entity: the user or team; None: that of the login. mode: offline or online."""
        choose("mode", mode, {"offline": None, "online": None})
        require_packages("tracker=wandb", "wandb")
        self.project, self.entity, self.mode = project, entity, mode
        self.run: Any = None

    def open(self, id: str, about: Tracked) -> None:
        import wandb

        if self.mode == "online" and not wandb.login(prompt=False):  # wandb.init would wait for a key to be typed
            raise RuntimeError("no login; `wandb login` stores a key")
        mode: Literal["offline", "online"] = "online" if self.mode == "online" else "offline"
        self.run = wandb.init(
            id=id,
            project=self.project,
            entity=self.entity,
            name=about.name,
            group=about.study,
            config=dict(about.settings),
            dir=str(about.folder),
            mode=mode,
            resume="allow" if mode == "online" else None,  # offline has nothing to ask
            reinit="create_new",  # the process may have other runs
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                init_timeout=WAIT,
                finish_timeout=WAIT,
                x_transaction_log_flush_interval=FLUSH,
            ),
        )

    def holds(self, step: int, tag: str) -> bool:
        """Counts a step that may have been sent as sent: a step that is sent twice would go back."""
        return True

    def send(self, step: int, values: dict[str, float]) -> None:
        self.run.log(values, step=step, commit=True)  # else the row waits for the next one, and a kill loses it

    def close(self, status: str) -> None:
        self.run.finish(exit_code=0 if status in ("completed", "interrupted") else 1)
