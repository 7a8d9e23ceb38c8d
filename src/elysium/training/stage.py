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
from dataclasses import asdict
from pathlib import Path
from typing import Any

from elysium.config import TRAINING_STAGES, LauncherParams, Params
from elysium.data.shards import list_shards
from elysium.errors import UserError
from elysium.files import write_atomic

PARAMS_FILE = "params.json"
IDENTITY_FILE = "begun_with.json"
_PATIENCE = 60.0  # seconds that the other processes get to end when one has failed


def run(params: Params, stage: str) -> None:
    """Train a stage into `artifacts/STAGE/`: `model/`, `metrics.json`, `log.jsonl`, `kept_tokens.png`.

    Goes on from `checkpoints/` if an earlier run with the same parameters, data and start was cut off. Raises UserError
    if the stage it starts from is missing or the training failed.
    """
    if stage not in params.train:
        raise UserError(f"train.{stage}: no such training stage; there are {', '.join(params.train)}")
    out = params.stage_dir(stage)
    out.mkdir(parents=True, exist_ok=True)
    start_folder(params, stage)
    prepare(params, stage)
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


def prepare(params: Params, stage: str) -> None:
    """Write the parameters for the workers; drop checkpoints of a run of other ones, or on other data, and say so."""
    out, identity = params.stage_dir(stage), json.dumps(_identity(params, stage), sort_keys=True, indent=1)
    begun = out / "checkpoints" / IDENTITY_FILE
    if begun.parent.is_dir() and (not begun.is_file() or begun.read_text() != identity):
        print(f"{stage}: begins anew, as {begun.parent} is of other parameters or data", flush=True)
        shutil.rmtree(begun.parent)
    write_atomic(begun, identity)
    write_atomic(out / PARAMS_FILE, json.dumps(asdict(params), sort_keys=True, indent=1))


def _identity(params: Params, stage: str) -> dict[str, Any]:
    """What a run must have in common with another one to go on from its checkpoints."""
    train = asdict(params.train[stage])
    for name in ("save_every", "keep_checkpoints", "log_every", "draw_every"):
        del train[name]
    start = start_folder(params, stage)
    files = sorted(start.glob("*.safetensors")) if start else []
    shards = [p for s in params.train[stage].mixture.values() for p in list_shards(Path(s.folder), s.prefix)]
    return {
        "seed": params.seed,
        "processes": params.launcher.processes,  # each keeps a part of the optimiser's state
        "model": asdict(params.model),
        "adapter": asdict(params.adapter),
        "deepspeed": params.deepspeed,
        "train": train,
        "start": [[str(p), p.stat().st_size, p.stat().st_mtime_ns] for p in files],
        "shards": [[str(p), p.stat().st_size] for p in shards],
    }


def launch(launcher: LauncherParams, arguments: list[str]) -> None:
    """Run the worker module on every process of the launcher. Raises UserError if one fails; none is left behind."""
    module = ["elysium.training.worker", *arguments]
    port = ["--master_port", str(launcher.master_port)] if launcher.master_port else []
    if launcher.name == "local":
        _launch_local(launcher, module)
    elif launcher.name == "hostfile":
        if not Path(launcher.hostfile).is_file():
            raise UserError(f"launcher.hostfile: no file {launcher.hostfile!r}; one `host slots=N` a line")
        _call(["deepspeed", "--hostfile", launcher.hostfile, *port, "--module", *module], {})
    elif launcher.name == "slurm":
        # A process that fails ends the others, which would wait for it; each takes its rank from Slurm (worker.py).
        command = ["srun", f"--ntasks={launcher.processes}", "--kill-on-bad-exit=1", sys.executable, "-m", *module]
        _call(command, {"MASTER_ADDR": _first_host(), "MASTER_PORT": str(launcher.master_port or 29500)})
    else:
        raise UserError(f"launcher.name: {launcher.name!r}; choose local, hostfile or slurm")


def _first_host() -> str:
    """The node of rank 0 in Slurm's allocation."""
    nodes = os.environ.get("SLURM_JOB_NODELIST")
    if not nodes:
        raise UserError("launcher=slurm: this is no Slurm job; run the stage in sbatch or salloc")
    try:
        listed = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        raise UserError(f"scontrol cannot list the nodes {nodes!r} of this job; is Slurm installed here?") from error
    return listed.stdout.split()[0]


def _call(command: list[str], environment: dict[str, str]) -> None:
    try:
        code = subprocess.call(command, env={**os.environ, **environment})
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
        workers.append(subprocess.Popen([sys.executable, "-m", *module], env=environment))
    try:
        while any(w.poll() is None for w in workers) and not any(w.poll() for w in workers):
            time.sleep(0.1)
    finally:
        for worker in workers:  # one has failed, or the stage is being ended
            if worker.poll() is None:
                worker.terminate()
        for worker in workers:
            try:
                worker.wait(_PATIENCE)
            except subprocess.TimeoutExpired:  # it waits for the one that failed
                worker.kill()
                worker.wait()
    failed = [w.returncode for w in workers if w.returncode]
    if failed:
        raise UserError(f"training ended with exit code {failed[0]}; its last lines above say why")


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
