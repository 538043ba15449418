"""MLflow: a run on its server, found again by a tag. A step is one request, sent when those before it have arrived."""

from __future__ import annotations

import os

from limr.spec import Tracker
from limr.tracking.run import Run, flat
from limr.tracking.sink import Ending, Record

# By default a request is tried for minutes; our caller tries again itself, and can be told to stop.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
RUN_TAG = "limr.run"
STEP = "step"  # a metric of every step; its last value says which steps are there
PARAMETERS_PER_REQUEST = 100
LONGEST_VALUE = 6000  # characters
STATUS = {Ending.FINISHED: "FINISHED", Ending.STOPPED: "KILLED", Ending.FAILED: "FAILED"}


class MlflowSink:
    """Raises MlflowException when the server cannot be reached or refuses; whatever failed may be tried again."""

    def __init__(self, run: Run, tracker: Tracker) -> None:
        os.environ.update(ENVIRONMENT)
        from mlflow import MlflowClient

        self._client = MlflowClient(tracker.tracking_uri)
        experiment = self._experiment(tracker.experiment or run.group)
        found = self._client.search_runs([experiment], f"tags.`{RUN_TAG}` = '{run.id}'", max_results=1)
        self._run_id: str = found[0].info.run_id if found else self._created(run, experiment)
        self.next_step = int(found[0].data.metrics.get(STEP, 0)) + 1 if found else 1
        if found:
            self._client.update_run(self._run_id, status="RUNNING")

    def log(self, record: Record) -> None:
        from mlflow.entities import Metric

        # What was sent twice, because an answer was lost, is the same to the server with the same time.
        milliseconds = round(record.time * 1000)
        metrics = {**record.metrics, STEP: float(record.step)}
        entries = [Metric(name, value, milliseconds, record.step) for name, value in metrics.items()]
        self._client.log_batch(self._run_id, metrics=entries)

    def close(self, ending: Ending) -> None:
        self._client.set_terminated(self._run_id, STATUS[ending])

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name))
            except MlflowException:  # another stage was faster
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)

    def _created(self, run: Run, experiment: str) -> str:
        from mlflow.entities import Param

        parameters = [Param(name, value[:LONGEST_VALUE]) for name, value in flat(run.config)]
        tags = {f"limr.{name}": value for name, value in run.tags.items()}
        created = self._client.create_run(experiment, tags={RUN_TAG: run.id, **tags}, run_name=run.name)
        for start in range(0, len(parameters), PARAMETERS_PER_REQUEST):
            self._client.log_batch(created.info.run_id, params=parameters[start : start + PARAMETERS_PER_REQUEST])
        return str(created.info.run_id)
