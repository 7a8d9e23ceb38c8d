"""The tasks of the flows: each runs a command of the project in a subprocess and streams what it prints."""

import io
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from prefect import State, task
from prefect.logging import get_run_logger
from prefect.states import Failed

from elysium.config import Params, load_params
from elysium.errors import UserError
from elysium.mlops import lineage, mlflow
from elysium.mlops.mlflow import PARENT_ENV

ROOT = Path(__file__).resolve().parents[1]
PROGRESS_SECONDS = 10.0
# DVC's advice for people who run it by hand.
_HINTS = (
    "To track the changes with git",
    "git add dvc.lock",
    "To enable auto staging",
    "dvc config core.autostage",
    "Use `dvc push`",
    "Updating lock file",
)
_UP_TO_DATE = "didn't change, skipping"


@dataclass(frozen=True)
class Manifest:
    """What a stage left: its outputs with their hashes, and whether it ran or was up to date."""

    stage: str
    ran: bool
    outputs: dict[str, str]  # path -> md5


class CommandFailed(RuntimeError):
    """A command ended with an error; the message is its last line that says why."""


def run_command(*command: str, parent_run: str = "") -> list[str]:
    """Run a module of this environment, with arguments, in the project's folder; returns the lines that it printed.

    The lines go to the run's log as they come; of a progress bar, a state every ten seconds.

    Raises CommandFailed with the line that starts with `error:`, else with the last line.
    """
    logger = get_run_logger()
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if parent_run:
        environment[PARENT_ENV] = parent_run
    # The ids of this flow's run must not leak: MLflow would resume the wrong run.
    environment.pop("MLFLOW_RUN_ID", None)
    process = subprocess.Popen(
        # A killed flow must not leave a stage and DVC's lock behind.
        [sys.executable, "-m", "elysium.processes", *command],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    # newline="" keeps the carriage returns by which progress bars are known.
    output = io.TextIOWrapper(process.stdout, encoding="utf-8", errors="replace", newline="")
    lines: list[str] = []
    try:
        shown = time.monotonic()
        for raw in output:
            line = raw.rstrip()
            if raw.endswith("\r"):
                if time.monotonic() - shown < PROGRESS_SECONDS:
                    continue
                shown = time.monotonic()
            if line and not line.strip().startswith(_HINTS):
                lines.append(line)
                logger.info(line)
        code = process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    if code:
        raise CommandFailed(_reason(lines, code))
    return lines


def _reason(lines: list[str], code: int) -> str:
    for line in lines:
        if line.startswith("error:"):
            return line.removeprefix("error:").strip()
    for line in lines:
        if "Unable to acquire lock" in line or "is busy, it is being" in line:
            return "another run holds DVC's lock in this folder; wait for it to end, or end it"
    return lines[-1] if lines else f"exit code {code}"


# A task that returns Failed shows its one line; a task that raises would show a traceback at three levels.


@task(name="compose")
def compose(overrides: list[str]) -> State | None:
    """conf/ -> params.yaml."""
    try:
        run_command("elysium.cli", "compose", *overrides)
    except CommandFailed as error:
        return Failed(message=str(error))
    return None


def begin(preset: str, overrides: list[str] | None, name: str = "pipeline") -> tuple[Params, str]:
    """Write params.yaml and open the flow's parent run in MLflow; returns the parameters and the run's id.

    Raises UserError with the one line that says why not.
    """
    os.chdir(ROOT)
    wanted = [f"preset={preset}", *(overrides or [])]
    composed: State = compose(wanted, return_state=True)
    if not composed.is_completed():
        raise UserError(composed.message or "the parameters could not be composed")
    params = load_params(ROOT / "params.yaml")
    return params, mlflow.start_pipeline(params, wanted, name)


@task(name="stage", task_run_name="{stage}")
def run_stage(stage: str, force: bool, parent_run: str) -> dict[str, object] | State:
    """Run one stage through DVC, which skips it if nothing that it depends on has changed; returns a manifest."""
    command = ["dvc", "repro", "--single-item", stage] + (["--force"] if force else [])
    try:
        lines = run_command(*command, parent_run=parent_run)
    except CommandFailed as error:
        return Failed(message=f"{stage}: {error}")
    outputs = {item.path: item.md5 for item in lineage.stage_outputs(stage, ROOT)}
    return asdict(Manifest(stage, not any(_UP_TO_DATE in line for line in lines), outputs))


@task(name="register")
def register(parent_run: str) -> State | None:
    """The trained model becomes the champion of MLflow's registry, unless it is already."""
    try:
        run_command("elysium.cli", "register", parent_run=parent_run)
    except CommandFailed as error:
        return Failed(message=str(error))
    return None
