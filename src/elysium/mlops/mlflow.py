"""MLflow's record of a pipeline: one parent run, a child run per stage, opened by the process that runs the stage.

The training ranks never open a run: rank 0 resumes the child by MLFLOW_RUN_ID, the others record nothing.
"""

import csv
import json
import os
import socket
import sqlite3
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from elysium.config import MlflowParams, Params
from elysium.errors import UserError
from elysium.mlops import lineage

PARENT_ENV = "ELYSIUM_MLFLOW_PARENT_RUN"
PROBE_SECONDS = 5.0
_ATTACHED = (
    *("*.json", "*.jsonl", "*.md", "*.csv", "*.png", "*.html"),
    *("plots/*.png", "plots/*.csv", "report/**/*", "videos/*.mp4", "videos/*.png"),
)
_MAX_BYTES = 8 << 20  # a larger file belongs to DVC, not to the record


def tracking_uri(params: MlflowParams) -> str:
    """The environment variable MLFLOW_TRACKING_URI wins over the configuration."""
    return os.environ.get("MLFLOW_TRACKING_URI") or params.tracking_uri


def check_uri(uri: str) -> None:
    """Raise UserError within seconds if a tracking URI does not answer. Needs no import of MLflow.

    An HTTP server answers if it says anything at all (a login page too); an sqlite file if it can be opened or made.
    """
    if uri.startswith(("http://", "https://")):
        try:
            urllib.request.urlopen(uri.rstrip("/") + "/health", timeout=PROBE_SECONDS).close()
        except urllib.error.HTTPError:
            return
        except (OSError, ValueError) as error:
            raise _unreachable(uri, getattr(error, "reason", None) or error) from error
    elif uri.startswith("sqlite:///"):
        path = Path(uri.removeprefix("sqlite:///"))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(path, timeout=PROBE_SECONDS)
            connection.execute("pragma schema_version")
            connection.close()
        except (OSError, sqlite3.Error) as error:
            raise _unreachable(uri, error) from error
    elif uri.startswith("file:") or "://" not in uri:
        raise _unreachable(uri, "MLflow no longer writes to plain folders; use sqlite:///FILE or a server's address")


def _unreachable(uri: str, reason: object) -> UserError:
    return UserError(
        f"the MLflow tracking URI {uri} does not answer ({reason}); start the server, correct MLFLOW_TRACKING_URI, "
        "or unset it to record into mlflow.tracking_uri of params.yaml"
    )


def connect(params: MlflowParams) -> Any:
    """The `mlflow` module, bound to the checked store and to the experiment; subprocesses inherit the address."""
    uri = tracking_uri(params)
    check_uri(uri)
    # Retries with back-off would hide a server that died for many minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "5")
    os.environ["MLFLOW_TRACKING_URI"] = uri
    import mlflow

    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(params.experiment)
    return mlflow


def start_pipeline(params: Params, overrides: list[str], name: str = "pipeline") -> str:
    """Open the parent run of a flow and return its id; it is not the active run of this process."""
    mlflow = connect(params.mlflow)
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name(params.mlflow.experiment)
    _close_dead_runs(client, experiment.experiment_id)
    run = client.create_run(
        experiment.experiment_id,
        run_name=f"{name}-{params.preset}",
        tags={**_tags(params), "overrides": " ".join(overrides)},
    )
    run_id: str = run.info.run_id
    _log_params(client, run_id, _flatten(asdict(params)))
    client.log_dict(run_id, asdict(params), "params.json")
    return run_id


def end_pipeline(params: Params, run_id: str, status: str) -> None:
    """Copy the final figures to the parent run, so that pipelines can be compared, and close it (FINISHED | FAILED)."""
    client = connect(params.mlflow).MlflowClient()
    metrics = params.stage_dir("evaluate") / "metrics.json"
    if status == "FINISHED" and metrics.is_file():
        _log_metrics(client, run_id, json.loads(metrics.read_text()))
    client.set_terminated(run_id, status)


def end_ablations(params: Params, run_id: str, status: str) -> None:
    """Attach the comparison to the parent run, a metric per variant and figure, and close it (FINISHED | FAILED)."""
    client = connect(params.mlflow).MlflowClient()
    folder = params.stage_dir("ablations")
    if status == "FINISHED":
        with (folder / "table7.csv").open() as file:
            for row in csv.DictReader(file):
                figures = [k for k in row if f"{k}_interval" in row and row[k]]
                _log_metrics(client, run_id, {f"{k}/{row['variant']}": float(row[k]) for k in figures})
        log_outputs(client, run_id, folder)
    client.set_terminated(run_id, status)


@contextmanager
def stage_run(params: Params, stage: str) -> Iterator[None]:
    """The child run of one stage: params, lineage and system metrics before, figures and pictures after.

    Subprocesses find MLFLOW_RUN_ID and MLFLOW_TRACKING_URI in their environment.
    """
    mlflow = connect(params.mlflow)
    client = mlflow.MlflowClient()
    parent = os.environ.get(PARENT_ENV) or None
    if parent is None:
        _close_dead_runs(client, client.get_experiment_by_name(params.mlflow.experiment).experiment_id)
    tags = {**_tags(params), "stage": stage}
    with mlflow.start_run(run_name=stage, parent_run_id=parent, tags=tags, log_system_metrics=True) as run:
        run_id = run.info.run_id
        os.environ["MLFLOW_RUN_ID"] = run_id
        try:
            _log_params(client, run_id, _of_stage(params, stage))
            _log_inputs(mlflow, client, run_id, stage)
            yield
            log_outputs(client, run_id, params.stage_dir(stage))
        finally:
            os.environ.pop("MLFLOW_RUN_ID", None)


@contextmanager
def ablation_run(params: Params, variant: str, seed: int, out: Path) -> Iterator[None]:
    """The child run of one variant and seed of an ablation: its parameters before, `result.json` as metrics after."""
    mlflow = connect(params.mlflow)
    client = mlflow.MlflowClient()
    parent = os.environ.get(PARENT_ENV) or None
    tags = {**_tags(params), "stage": "ablation", "variant": variant}
    with mlflow.start_run(run_name=f"{variant}-{seed}", parent_run_id=parent, tags=tags) as run:
        run_id = run.info.run_id
        os.environ["MLFLOW_RUN_ID"] = run_id
        try:
            flat = _flatten(asdict(params))
            _log_params(client, run_id, {k: v for k, v in flat.items() if not k.startswith(("world.", "curation."))})
            yield
            _log_metrics(client, run_id, json.loads((out / "result.json").read_text()))
            client.log_artifact(run_id, str(out / "result.json"))
        finally:
            os.environ.pop("MLFLOW_RUN_ID", None)


def log_outputs(client: Any, run_id: str, folder: Path) -> None:
    """Record `metrics.json` as metrics, and tables, logs, pictures and short videos as files."""
    metrics = folder / "metrics.json"
    if metrics.is_file():
        _log_metrics(client, run_id, json.loads(metrics.read_text()))
    for pattern in _ATTACHED:
        for path in sorted(folder.glob(pattern)):
            if path.is_file() and path.stat().st_size <= _MAX_BYTES:
                target = str(path.parent.relative_to(folder))
                client.log_artifact(run_id, str(path), None if target == "." else target)


def _tags(params: Params) -> dict[str, str]:
    commit = lineage.git_commit()
    return {
        "preset": params.preset,
        "git_commit": commit,
        "mlflow.source.git.commit": commit.removesuffix("-dirty"),
        "host": socket.gethostname(),
        "pid": str(os.getpid()),
    }


def _of_stage(params: Params, stage: str) -> dict[str, Any]:
    """The flat params that the stage depends on according to dvc.yaml; all of them if that file does not say."""
    flat = _flatten(asdict(params))
    sections = lineage.stage_sections(stage)
    if not sections:
        return flat
    return {key: value for key, value in flat.items() if any(f"{key}.".startswith(f"{s}.") for s in sections)}


def _log_inputs(mlflow: Any, client: Any, run_id: str, stage: str) -> None:
    from mlflow.data.dataset_source_registry import resolve_dataset_source
    from mlflow.data.meta_dataset import MetaDataset

    for item in lineage.stage_inputs(stage):
        with warnings.catch_warnings():  # "can be interpreted in multiple ways", all of them the same
            warnings.simplefilter("ignore")
            source = resolve_dataset_source(item.path)
        # MLflow cuts a digest at 36 characters; an MD5 has 32, and DVC's suffix of folders says nothing new.
        dataset = MetaDataset(source, name=item.path, digest=item.md5.removesuffix(".dir"))  # type: ignore[abstract]
        mlflow.log_input(dataset, context="input")
        client.set_tag(run_id, f"dvc.{item.path}", item.md5)


def _log_params(client: Any, run_id: str, flat: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    items = [Param(key, str(value)[:6000]) for key, value in flat.items()]
    for start in range(0, len(items), 100):
        client.log_batch(run_id, params=items[start : start + 100])


def _log_metrics(client: Any, run_id: str, metrics: Any) -> None:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    recorded = client.get_run(run_id).data.metrics  # the training loop has recorded its series already
    flat = _flatten(metrics, "/")
    items = [
        Metric(_metric_name(key), float(value), now, 0)
        for key, value in flat.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and _metric_name(key) not in recorded
    ]
    for start in range(0, len(items), 500):
        client.log_batch(run_id, metrics=items[start : start + 500])


def _metric_name(key: str) -> str:
    """MLflow allows letters, digits and `_-./: ` in names."""
    return "".join(c if c.isalnum() or c in "_-./: " else "_" for c in key)


def _flatten(tree: Any, joint: str = ".", key: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` -> `{"a.b": 1}`; lists are values."""
    if not isinstance(tree, dict):
        return {key: tree}
    flat: dict[str, Any] = {}
    for name, item in tree.items():
        flat |= _flatten(item, joint, f"{key}{joint}{name}" if key else str(name))
    return flat


def _close_dead_runs(client: Any, experiment_id: str) -> None:
    """A killed process cannot close its run: runs of this machine whose process is gone are marked KILLED."""
    mine = f"attributes.status = 'RUNNING' and tags.host = '{socket.gethostname()}'"
    for run in client.search_runs([experiment_id], mine):
        pid = run.data.tags.get("pid", "")
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            client.set_terminated(run.info.run_id, "KILLED")
