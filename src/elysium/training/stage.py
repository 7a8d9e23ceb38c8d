"""One training stage: what it starts from, the processes that train it, the model folder it leaves.

`run(params, "warmup")` launches `elysium.training.worker` once per process: on this machine, over a hostfile by
DeepSpeed's launcher, or by Slurm. DeepSpeed keeps global state, so a stage never trains in the caller's process.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from elysium.config import TRAINING_STAGES, LauncherParams, Params
from elysium.errors import UserError

PARAMS_FILE = "params.json"


def run(params: Params, stage: str) -> None:
    """Train a stage into `artifacts/STAGE/`: `model/`, `metrics.json`, `log.jsonl`, `kept_tokens.png`.

    Resumes from `checkpoints/` if an earlier run of the same parameters was cut off. Raises UserError if the stage it
    starts from is missing or the training failed.
    """
    if stage not in params.train:
        raise UserError(f"train.{stage}: no such training stage; there are {', '.join(params.train)}")
    out = params.stage_dir(stage)
    out.mkdir(parents=True, exist_ok=True)
    start_folder(params, stage)
    resolved = _resolved(params)
    if (out / PARAMS_FILE).exists() and (out / PARAMS_FILE).read_text() != resolved:
        # A checkpoint of other parameters is not a beginning.
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
        (out / "log.jsonl").unlink(missing_ok=True)
    (out / PARAMS_FILE).write_text(resolved)
    launch(params.launcher, ["--params", str(out / PARAMS_FILE), "--stage", stage])
    shutil.rmtree(out / "checkpoints", ignore_errors=True)


def start_folder(params: Params, stage: str) -> Path | None:
    """The model folder a stage starts from; None: from the backbones. Raises UserError if it is not there."""
    start = params.train[stage].init_from
    if start is None:
        return None
    folder = params.stage_dir(start) / "model" if start in TRAINING_STAGES else Path(start)
    if not (folder / "config.json").is_file():
        raise UserError(f"train.{stage}.init_from: no model in {folder}; run the stage before it (`dvc repro {start}`)")
    return folder


def _resolved(params: Params) -> str:
    from dataclasses import asdict

    return json.dumps(asdict(params), sort_keys=True, indent=1)


def launch(launcher: LauncherParams, arguments: list[str]) -> None:
    """Run the worker module on every process of the launcher. Raises UserError if one fails; none is left behind."""
    module = ["-m", "elysium.training.worker", *arguments]
    if launcher.name == "local":
        _launch_local(launcher, module)
    elif launcher.name == "hostfile":
        if not Path(launcher.hostfile).is_file():
            raise UserError(f"launcher.hostfile: no file {launcher.hostfile!r}; one `host slots=N` a line")
        _call(["deepspeed", "--hostfile", launcher.hostfile, "--module", *module[1:]])
    elif launcher.name == "slurm":
        _call(["srun", f"--ntasks={launcher.processes}", sys.executable, *module])
    else:
        raise UserError(f"launcher.name: {launcher.name!r}; choose local, hostfile or slurm")


def _call(command: list[str]) -> None:
    try:
        code = subprocess.call(command)
    except FileNotFoundError as error:
        raise UserError(f"{command[0]}: not found; it comes with the cluster (or use launcher=local)") from error
    if code:
        raise UserError(f"{command[0]} ended with exit code {code}; its last lines above say why")


def _launch_local(launcher: LauncherParams, module: list[str]) -> None:
    port = launcher.master_port or _free_port()
    workers = []
    for rank in range(launcher.processes):
        environment = {
            **os.environ,
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(launcher.processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        if launcher.threads:
            environment["OMP_NUM_THREADS"] = str(launcher.threads)
        workers.append(subprocess.Popen([sys.executable, *module], env=environment))
    try:
        while any(w.poll() is None for w in workers) and not any(w.poll() for w in workers):
            time.sleep(0.1)
    finally:
        for worker in workers:  # one has failed, or the stage is being ended
            if worker.poll() is None:
                worker.terminate()
        for worker in workers:
            worker.wait()
    failed = [w.returncode for w in workers if w.returncode]
    if failed:
        raise UserError(f"training ended with exit code {failed[0]}; its last lines above say why")


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
