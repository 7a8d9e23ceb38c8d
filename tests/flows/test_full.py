"""The flow `elysium` for real: server, worker and deployment, then what DVC makes of a change, a kill, bad input.

The tests share one checkout and run in the order of this file; each says what it needs of those before it.
"""

import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator

import psutil
import pytest
import yaml

from elysium.config import STAGES
from tests.flows.checkout import Checkout, end

pytestmark = pytest.mark.slow
FLOW = ("python", "flows/full.py", "--preset", "debug")


@pytest.fixture(scope="module")
def deployed(server: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """The commands of the README: a pool, the deployment, a worker."""
    server.run("prefect", "work-pool", "create", "elysium", "--type", "process")
    server.run("prefect", "--no-prompt", "deploy", "--all")
    assert str(server.path) in server.run("prefect", "deployment", "inspect", "elysium/full").stdout
    log = tmp_path_factory.mktemp("worker") / "worker.log"
    worker = server.start("prefect", "worker", "start", "--pool", "elysium", log=log)
    yield server
    end(worker)
    print(log.read_text())


@pytest.fixture(scope="module")
def finished(deployed: Checkout) -> Checkout:
    """The debug pipeline has run once, as a run of the deployment."""
    done = deployed.run("prefect", "deployment", "run", "elysium/full", "--watch", "--param", "preset=debug")
    assert "Completed" in done.stdout + done.stderr
    return deployed


def test_a_run_of_the_deployment_leaves_a_table_and_every_output(finished: Checkout) -> None:
    table = _table(finished)
    for row in ("elysium", "SOT", "RSOT"):
        assert row.lower() in table.lower()
    lock = yaml.safe_load((finished.path / "dvc.lock").read_text())
    assert list(lock["stages"]) == list(STAGES)


def test_mlflow_has_a_parent_with_a_child_per_stage_and_the_champion(finished: Checkout) -> None:
    with sqlite3.connect(finished.path / "mlflow.db") as store:
        runs = dict(store.execute("select run_uuid, status from runs"))
        names = dict(store.execute("select run_uuid, name from runs"))
        parents = dict(store.execute("select run_uuid, value from tags where key = 'mlflow.parentRunId'"))
        aliases = store.execute("select name, alias from registered_model_aliases").fetchall()
        lineage = store.execute("select name from datasets").fetchall()
    roots = [run for run in runs if run not in parents]
    assert [names[run] for run in roots] == ["pipeline-debug"]
    assert set(runs.values()) == {"FINISHED"}
    assert sorted(names[run] for run in parents) == sorted([*STAGES, "register"])
    assert aliases == [("elysium", "champion")]
    assert {("data",), ("artifacts/world",), ("artifacts/finetune_long/model",)} <= set(lineage)


def test_the_champion_answers_by_its_signature(finished: Checkout) -> None:
    code = (
        "import base64, json, pathlib, pandas, mlflow;"
        "mlflow.set_tracking_uri('sqlite:///mlflow.db');"
        "model = mlflow.pyfunc.load_model('models:/elysium@champion');"
        "video = sorted(pathlib.Path('artifacts/world/raw').glob('*.mp4'))[0].read_bytes();"
        "row = {'video': base64.b64encode(video).decode(), 'expression': 'red ball'};"
        "answer = model.predict(pandas.DataFrame([row]));"
        "print('FRAMES', len(json.loads(answer['boxes'][0])))"
    )
    assert "FRAMES 8" in finished.run("python", "-c", code).stdout


@pytest.mark.parametrize("name", ["1_dataset", "2_tracking", "3_ablations"])
def test_a_notebook_runs(finished: Checkout, name: str) -> None:
    finished.run("jupyter-execute", "--inplace", f"notebooks/{name}.ipynb")
    assert '"output_type": "error"' not in (finished.path / "notebooks" / f"{name}.ipynb").read_text()


def test_afterwards_dvc_finds_nothing_to_do(finished: Checkout) -> None:
    done = finished.run("dvc", "repro")
    assert "Running stage" not in done.stdout
    for stage in STAGES:
        assert f"Stage '{stage}' didn't change, skipping" in done.stdout


def test_a_changed_parameter_reruns_its_stage_and_those_below_only(finished: Checkout) -> None:
    done = finished.run(*FLOW, "train.finetune_long.lr=0.0005")
    assert "Ran: finetune_long, evaluate." in done.stdout
    assert _table(finished).strip() in done.stdout


def test_killed_in_a_stage_and_started_again_it_goes_on_and_ends_with_the_same_table(finished: Checkout) -> None:
    """SIGKILL while `finetune_long` trains; DVC has forgotten the last two stages, so it cannot restore them."""
    before = _table(finished)
    command = (*FLOW, "train.finetune_long.lr=0.0005")
    lock_file = finished.path / "dvc.lock"
    lock = yaml.safe_load(lock_file.read_text())
    for stage in ("finetune_long", "evaluate"):
        del lock["stages"][stage]
        shutil.rmtree(finished.path / "artifacts" / stage)
    lock_file.write_text(yaml.safe_dump(lock))
    shutil.rmtree(finished.path / ".dvc/cache/runs")
    log = finished.path / "killed.log"
    flow = finished.start(*command, log=log)
    _until(lambda: "> exec elysium stage finetune_long" in log.read_text() and _workers(finished), flow.poll)
    flow.send_signal(signal.SIGKILL)
    flow.wait()
    _until(lambda: not _workers(finished))
    done = finished.run(*command)
    assert "Ran: finetune_long, evaluate." in done.stdout
    assert _table(finished) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train.warmup.lrr=1",), "train.warmup.lrr"),
        (("--from-stage", "finetune"), "from_stage='finetune' is no stage"),
        (("mlflow.tracking_uri=http://127.0.0.1:9",), "http://127.0.0.1:9 does not answer"),
        (("curation.inputs.world.captions=nowhere.jsonl",), "nowhere.jsonl"),
    ],
    ids=["override", "stage", "tracking", "captions"],
)
def test_bad_input_ends_the_flow_with_one_clear_line(finished: Checkout, arguments: tuple[str, ...], said: str) -> None:
    done = finished.run(*FLOW, *arguments, check=False)
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert said in errors[0]
    assert "Traceback" not in done.stdout + done.stderr


def test_a_second_run_in_the_same_folder_is_told_to_wait(finished: Checkout) -> None:
    """DVC locks a checkout; a flow beside another must not end with DVC's stack of advice."""
    finished.run("elysium", "compose", "preset=debug", "seed=1")
    log = finished.path / "first.log"
    first = finished.start("dvc", "repro", "--single-item", "--force", "warmup", log=log)
    _until(lambda: "Running stage" in log.read_text(), first.poll)
    first.send_signal(signal.SIGSTOP)  # so that it holds its lock for as long as the flow needs to start
    try:
        done = finished.run(*FLOW, "seed=1", "--from-stage", "warmup", check=False)
    finally:
        first.send_signal(signal.SIGCONT)
        end(first)
    assert done.returncode == 2
    assert "another run" in done.stderr


def _table(checkout: Checkout) -> str:
    return (checkout.path / "artifacts/evaluate/results.md").read_text()


def _workers(checkout: Checkout) -> list[psutil.Process]:
    """The training processes of the checkout."""
    found = []
    for process in psutil.process_iter():
        try:
            if "elysium.training.worker" in process.cmdline() and process.cwd() == str(checkout.path):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def _until(
    condition: Callable[[], object], poll: Callable[[], int | None] = lambda: None, seconds: float = 300
) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert poll() is None, "it ended too early"
        assert time.monotonic() < limit, "it did not happen"
        time.sleep(0.1)
