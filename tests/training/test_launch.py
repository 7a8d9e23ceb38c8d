"""The command lines of the launchers, seen by programs of their names; and what a process learns from Slurm."""

import json
import os
from pathlib import Path

import pytest

from elysium.config import LauncherParams
from elysium.errors import UserError
from elysium.training import stage
from elysium.training.worker import rank_from_slurm

PROGRAM = """#!{python}
import json, os, sys
names = ("MASTER_ADDR", "MASTER_PORT")
call = [os.path.basename(sys.argv[0]), *sys.argv[1:], {{n: os.environ.get(n) for n in names}}]
with open({out!r}, "a") as file:
    file.write(json.dumps(call) + "\\n")
if sys.argv[1:2] == ["show"]:
    print("node07\\nnode08")
sys.exit({code})
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Programs on the PATH that write down how they were called; `calls()` reads it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.delenv("MASTER_PORT", raising=False)

    def add(name: str, code: int = 0) -> None:
        program = tmp_path / name
        program.write_text(PROGRAM.format(python=stage.sys.executable, out=str(tmp_path / "calls"), code=code))
        program.chmod(0o755)

    def calls() -> list[list]:
        return [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]

    return add, calls


def test_hostfile_hands_over_to_deepspeed_s_launcher(cluster, tmp_path: Path) -> None:
    add, calls = cluster
    hostfile = tmp_path / "hosts"
    hostfile.write_text("node01 slots=8\nnode02 slots=8\n")
    add("deepspeed")
    stage.launch(LauncherParams("hostfile", 16, hostfile=str(hostfile), master_port=29501), ["--stage", "warmup"])
    (call,) = calls()
    expected = ["deepspeed", "--hostfile", str(hostfile), "--master_port", "29501"]
    assert call[:-1] == [*expected, "--module", "elysium.training.worker", "--stage", "warmup"]


def test_slurm_starts_every_process_and_names_the_first_node(cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    add, calls = cluster
    monkeypatch.setenv("SLURM_JOB_NODELIST", "node[07-08]")
    add("srun")
    add("scontrol")
    stage.launch(LauncherParams("slurm", 16, master_port=29500), ["--stage", "warmup"])
    scontrol, srun = calls()
    assert scontrol[:-1] == ["scontrol", "show", "hostnames", "node[07-08]"]
    module = ["-m", "elysium.training.worker", "--stage", "warmup"]
    assert srun[:-1] == ["srun", "--ntasks=16", "--kill-on-bad-exit=1", stage.sys.executable, *module]
    assert srun[-1] == {"MASTER_ADDR": "node07", "MASTER_PORT": "29500"}


def test_a_process_of_slurm_finds_its_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name, value in {"SLURM_PROCID": "9", "SLURM_LOCALID": "1", "SLURM_NTASKS": "16"}.items():
        monkeypatch.setenv(name, value)
    rank_from_slurm()
    assert [os.environ[n] for n in ("RANK", "LOCAL_RANK", "WORLD_SIZE")] == ["9", "1", "16"]
    monkeypatch.setenv("SLURM_PROCID", "3")
    rank_from_slurm()  # a launcher within the job has the last word
    assert os.environ["RANK"] == "9"


def test_what_cannot_be_launched_is_said(cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    add, _ = cluster
    monkeypatch.delenv("SLURM_JOB_NODELIST", raising=False)
    with pytest.raises(UserError, match="no Slurm job"):
        stage.launch(LauncherParams("slurm"), [])
    with pytest.raises(UserError, match="one `host slots=N` a line"):
        stage.launch(LauncherParams("hostfile", hostfile=str(tmp_path / "none")), [])
    with pytest.raises(UserError, match="choose local, hostfile or slurm"):
        stage.launch(LauncherParams("kubernetes"), [])
    (tmp_path / "hosts").write_text("node01 slots=8\n")
    with pytest.raises(UserError, match="deepspeed: not found"):
        stage.launch(LauncherParams("hostfile", hostfile=str(tmp_path / "hosts")), [])
    add("deepspeed", code=3)
    with pytest.raises(UserError, match="deepspeed ended with exit code 3"):
        stage.launch(LauncherParams("hostfile", hostfile=str(tmp_path / "hosts")), [])
