"""The record of a stage in a real sqlite store, and a tracking URI that does not answer."""

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from elysium.config import MlflowParams, Params, TrainParams
from elysium.errors import UserError
from elysium.mlops import mlflow as record

_LOCK = """
schema: '2.0'
stages:
  world:
    cmd: elysium stage world
    outs:
    - {path: artifacts/world, hash: md5, md5: 0123456789abcdef0123456789abcdef.dir, size: 1, nfiles: 1}
"""
_DVC = """
stages:
  warmup:
    cmd: elysium stage warmup
    deps: [data/real, artifacts/world, src/elysium/model]
    params: [seed, train.warmup]
    outs: [artifacts/warmup/model]
"""
_DATA = "outs:\n- {md5: fedcba9876543210fedcba9876543210.dir, path: data, hash: md5}\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with DVC's files, which is the working folder; no address of a store in the environment."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "dvc.lock").write_text(_LOCK)
    (folder / "dvc.yaml").write_text(_DVC)
    (folder / "data.dvc").write_text(_DATA)
    before, variables = Path.cwd(), dict(os.environ)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    os.chdir(folder)
    yield folder
    os.chdir(before)
    os.environ.clear()
    os.environ.update(variables)


@pytest.fixture(scope="module")
def params(project: Path) -> Params:
    return Params(
        preset="debug",
        train={"warmup": TrainParams(steps=7), "pretrain": TrainParams(steps=9)},
        mlflow=MlflowParams(tracking_uri=f"sqlite:///{project}/store.db"),
    )


def test_a_stage_leaves_a_child_run_with_params_lineage_and_files(params: Params) -> None:
    out = params.stage_dir("warmup")
    parent = record.start_pipeline(params, ["preset=debug"])
    os.environ[record.PARENT_ENV] = parent
    try:
        with record.stage_run(params, "warmup"):
            inside = os.environ["MLFLOW_RUN_ID"]
            out.mkdir(parents=True)
            (out / "metrics.json").write_text(
                json.dumps({"loss": 0.5, "sot": {"auc@1": 3}, "name": "text", "on": True})
            )
            (out / "log.jsonl").write_text('{"step": 1}\n')
            (out / "kept_tokens.png").write_bytes(b"\x89PNG")
    finally:
        del os.environ[record.PARENT_ENV]
    assert "MLFLOW_RUN_ID" not in os.environ
    client = record.connect(params.mlflow).MlflowClient()
    run = client.get_run(inside)
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.parentRunId"] == parent
    assert run.data.tags["stage"] == "warmup"
    assert run.data.params["train.warmup.steps"] == "7"
    assert not any(key.startswith(("train.pretrain", "world")) for key in run.data.params)
    assert run.data.metrics["loss"] == 0.5
    assert run.data.metrics["sot/auc_1"] == 3
    assert not {"name", "on"} & set(run.data.metrics)
    inputs = {item.dataset.name: item.dataset.digest for item in run.inputs.dataset_inputs}
    assert inputs == {"data": "fedcba9876543210fedcba9876543210", "artifacts/world": "0123456789abcdef0123456789abcdef"}
    assert {f.path for f in client.list_artifacts(inside)} >= {"metrics.json", "log.jsonl", "kept_tokens.png"}
    record.end_pipeline(params, parent, "FINISHED")
    assert client.get_run(parent).info.status == "FINISHED"
    assert client.get_run(parent).data.params["train.pretrain.steps"] == "9"


def test_a_series_of_the_training_loop_gets_no_second_value(params: Params) -> None:
    with record.stage_run(params, "pretrain"):
        run_id = os.environ["MLFLOW_RUN_ID"]
        client = record.connect(params.mlflow).MlflowClient()
        client.log_metric(run_id, "loss", 2.0, step=9)
        params.stage_dir("pretrain").mkdir(parents=True)
        (params.stage_dir("pretrain") / "metrics.json").write_text('{"loss": 2.0, "seconds": 4}')
    assert [m.step for m in client.get_metric_history(run_id, "loss")] == [9]
    assert client.get_run(run_id).data.metrics["seconds"] == 4


def test_a_failed_stage_is_recorded_as_failed(params: Params) -> None:
    with pytest.raises(UserError, match="no luck"), record.stage_run(params, "warmup"):
        run_id = os.environ["MLFLOW_RUN_ID"]
        raise UserError("no luck")
    assert record.connect(params.mlflow).MlflowClient().get_run(run_id).info.status == "FAILED"


def test_the_run_of_a_killed_process_is_closed_by_the_next(params: Params) -> None:
    client = record.connect(params.mlflow).MlflowClient()
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    experiment = client.get_experiment_by_name(params.mlflow.experiment).experiment_id
    tags = {"host": socket.gethostname(), "pid": gone.stdout.strip()}
    dead = client.create_run(experiment, tags=tags).info.run_id
    elsewhere = client.create_run(experiment, tags=tags | {"host": "another-machine"}).info.run_id
    record.end_pipeline(params, record.start_pipeline(params, []), "FAILED")
    assert client.get_run(dead).info.status == "KILLED"
    assert client.get_run(elsewhere).info.status == "RUNNING"


def test_a_port_where_nobody_listens_is_told_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line, seconds = refusal(f"http://127.0.0.1:{port}")
    assert "Connection refused" in line and seconds < 2


def test_a_server_that_accepts_and_says_nothing_is_given_up_within_seconds() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        line, seconds = refusal(f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert "timed out" in line and record.PROBE_SECONDS <= seconds < 2 * record.PROBE_SECONDS


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("sqlite:////proc/nowhere/mlflow.db", "No such file or directory"),
        ("file:///tmp/mlruns", "no longer writes to plain folders"),
        ("mlruns", "no longer writes to plain folders"),
        ("http://", "no host given"),
    ],
)
def test_a_store_that_cannot_be_used_is_told(uri: str, reason: str) -> None:
    assert reason in refusal(uri)[0]


def test_a_server_that_wants_a_login_counts_as_answering() -> None:
    asked: list[str] = []

    class Locked(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(401)

        def log_message(self, format: str, *arguments: object) -> None:
            return

    with http.server.HTTPServer(("127.0.0.1", 0), Locked) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        record.check_uri(f"http://127.0.0.1:{server.server_port}")  # raises nothing
        server.shutdown()
    assert asked == ["/health"]


def test_the_environment_wins_over_the_configuration(params: Params) -> None:
    before = os.environ.pop("MLFLOW_TRACKING_URI", None)
    try:
        assert record.tracking_uri(params.mlflow) == params.mlflow.tracking_uri
        os.environ["MLFLOW_TRACKING_URI"] = "sqlite:///other.db"
        assert record.tracking_uri(replace(params.mlflow, tracking_uri="x")) == "sqlite:///other.db"
    finally:
        os.environ.pop("MLFLOW_TRACKING_URI")
        if before:
            os.environ["MLFLOW_TRACKING_URI"] = before


def refusal(uri: str) -> tuple[str, float]:
    """The line that the user reads about a store that does not answer, and the seconds that it took to say so."""
    started = time.monotonic()
    with pytest.raises(UserError, match="MLFLOW_TRACKING_URI") as caught:
        record.check_uri(uri)
    assert uri in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value), time.monotonic() - started
