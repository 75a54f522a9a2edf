"""MLflow: https://mlflow.org/docs/latest/ml/tracking. Needs the package mlflow."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_runner.protocols import Tracked
from gan_runner.storage.packages import require_packages

if TYPE_CHECKING:
    from mlflow import MlflowClient

ID = "gan_runner.id"  # the tag of a run by which a later session finds it: MLflow chooses its own ids
STATUS = {"completed": "FINISHED", "interrupted": "KILLED"}  # status of a run -> MLflow's; any other is FAILED
PARAMS = 100  # parameters, at most, in one request
LONGEST = 500  # characters, at most, of a parameter
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}  # else an outage costs minutes


class Mlflow:
    """Sends to an MLflow server, or to a SQLite file."""

    kind = "mlflow"

    def __init__(self, uri: str = "sqlite:///outputs/mlflow.db", experiment: str | None = None):
        """uri: a file, or the address of a server. experiment: None: the study, or gan_runner."""
        require_packages("tracker=mlflow", "mlflow")
        self.uri, self.experiment = uri, experiment
        self.client: MlflowClient
        self.run_id = ""

    def open(self, id: str, about: Tracked) -> None:
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        with self.alone():  # the first client of a file creates its tables
            self.client = MlflowClient(tracking_uri=self.uri)
            experiment = self.find_experiment(self.experiment or about.study or "gan_runner")
            found = self.client.search_runs([experiment], f"tags.`{ID}` = '{id}'", max_results=1)
            if found:
                self.run_id = found[0].info.run_id
                self.client.update_run(self.run_id, status="RUNNING")
            else:
                self.create(experiment, id, about)

    def find_experiment(self, name: str) -> str:
        """Returns the id of an experiment, which is created if there is none."""
        found = self.client.get_experiment_by_name(name)
        return str(found.experiment_id if found is not None else self.client.create_experiment(name))

    def create(self, experiment: str, id: str, about: Tracked) -> None:
        from mlflow.entities import Param

        tags = {ID: id, "gan_runner.folder": str(about.folder)}
        self.run_id = self.client.create_run(experiment, run_name=about.name, tags=tags).info.run_id
        params = [Param(key, str(value)[:LONGEST]) for key, value in about.settings.items()]
        for start in range(0, len(params), PARAMS):
            self.client.log_batch(self.run_id, params=params[start : start + PARAMS])

    def holds(self, step: int, tag: str) -> bool:
        """Whether the step was stored: the values of one step are stored all or none."""
        return any(metric.step == step for metric in self.client.get_metric_history(self.run_id, tag))

    def send(self, step: int, values: dict[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        with self.alone():
            self.client.log_batch(self.run_id, [Metric(tag, value, now, step) for tag, value in values.items()])

    def close(self, status: str) -> None:
        with self.alone():
            self.client.set_terminated(self.run_id, STATUS.get(status, "FAILED"))

    @contextlib.contextmanager
    def alone(self) -> Iterator[Any]:
        """Locks a SQLite file against the other jobs of a sweep, which would find it locked and fail."""
        path = Path(self.uri.removeprefix("sqlite:///"))
        if not self.uri.startswith("sqlite:///"):
            yield
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path.with_name(f".{path.name}.lock"), "a", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
