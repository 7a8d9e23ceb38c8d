"""A clone of the project in which tests run its commands for real."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from elysium.offline import OFFLINE_ENV

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Checkout:
    """A copy of the project's files in a git repository of its own, and the environment to run its commands in."""

    path: Path
    environment: dict[str, str]

    def run(self, *command: str, check: bool = True, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment (`dvc`, `prefect`, `elysium`, `python`) in the copy."""
        done = subprocess.run(
            self.command(*command), cwd=self.path, env=self.environment, capture_output=True, text=True, timeout=timeout
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def start(self, *command: str, log: Path) -> subprocess.Popen[str]:
        """Start a command of the environment in the copy; what it prints goes to the file."""
        with log.open("w") as file:
            return subprocess.Popen(
                self.command(*command), cwd=self.path, env=self.environment, stdout=file, stderr=file, text=True
            )

    def command(self, *command: str) -> list[str]:
        """The command with its path."""
        path = BIN / command[0]
        return [str(path) if path.exists() else command[0], *command[1:]]


def make_checkout(path: Path) -> Checkout:
    """Copy what git would clone (and what is not committed yet), without anything that was built or run."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    for name in set(filter(None, listed.stdout.split("\0"))):
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, path / name)
    hidden = ("MLFLOW_", "PREFECT_", "DVC_", "GIT_", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    environment = {
        **kept,
        **OFFLINE_ENV,
        "PWD": str(path),
        "SHELL": "/bin/sh",  # DVC's choice where there is none; unlike bash it may stay between DVC and a stage
        "PYTHONPATH": str(path / "src"),
        "PREFECT_HOME": str(path / ".prefect"),
        "OMP_NUM_THREADS": "1",
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }
    checkout = Checkout(path, environment)
    checkout.run("git", "init", "-q")
    checkout.run("git", "add", "-A")
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    checkout.run("git", *identity, "commit", "-q", "-m", "The project")
    return checkout


def end(process: "subprocess.Popen[str]") -> None:
    """Ask a server or worker to end, and wait until it has."""
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
