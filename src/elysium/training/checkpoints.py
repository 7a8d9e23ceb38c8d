"""Checkpoints of a training run that are whole or not there: model, optimiser, step, and what the log had gathered.

A checkpoint is written as `stepN.part`, gets a manifest of its files' sizes and checksums, and is then renamed to
`stepN`. On resuming the newest one whose files still fit their manifest is taken. DeepSpeed's own `latest` file says
neither whether the folder it names is whole nor which one to fall back to.
"""

import json
import os
import re
import shutil
import zlib
from pathlib import Path
from typing import Any

import torch

from elysium.errors import UserError
from elysium.files import write_atomic

_MANIFEST = "manifest.json"
_CHUNK = 1 << 22


def save_checkpoint(engine: Any, folder: Path, step: int, state: dict[str, Any], keep: int) -> None:
    """Write `folder/stepN` and drop all but the newest `keep`; every rank calls it. `state` counts on rank 0.

    Raises UserError if it cannot be written (a full disk, say) or should not be: those before it are left as they are.
    """
    if engine.get_global_grad_norm() is None and not all(q.isfinite().all() for q in engine.module.parameters()):
        raise UserError(f"step {step}: a parameter is not finite; the last good checkpoint: {newest(folder)}")
    name, rank = f"step{step}", torch.distributed.get_rank()
    part = folder / f"{name}.part"
    try:
        if rank == 0:
            shutil.rmtree(part, ignore_errors=True)
        torch.distributed.barrier()
        engine.save_checkpoint(str(folder), tag=part.name, client_state={"step": step, **state}, save_latest=False)
        sums = _gather_checksums(part)
        if rank == 0:
            write_atomic(part / _MANIFEST, json.dumps(sums, indent=1) + "\n")
            shutil.rmtree(folder / name, ignore_errors=True)  # a damaged one that was passed over
            os.replace(part, folder / name)
            for old in _steps(folder)[max(1, keep) :]:
                shutil.rmtree(folder / f"step{old}")
        torch.distributed.barrier()
    except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
        reason = " ".join(str(error).split())[:160]
        good = [f"step{s}" for s in _steps(folder) if s != step]
        last = f"{folder / good[0]} is untouched" if good else "there is none before it"
        raise UserError(
            f"the checkpoint after step {step} could not be written ({reason}); {last}; "
            "free some space, then run the stage again to go on"
        ) from error


def load_checkpoint(engine: Any, folder: Path) -> dict[str, Any]:
    """Restore the newest whole checkpoint; its `step` (0 without one) and what `save_checkpoint` was given.

    Damaged ones are named and passed over. Every rank calls it.
    """
    torch.distributed.barrier()
    if torch.distributed.get_rank() == 0:
        for part in folder.glob("step*.part"):
            shutil.rmtree(part)
    for step in _steps(folder):
        if _is_whole(folder / f"step{step}"):
            _, state = engine.load_checkpoint(str(folder), tag=f"step{step}")
            return dict(state)
        if torch.distributed.get_rank() == 0:
            print(f"{folder / f'step{step}'}: damaged, passed over", flush=True)
    return {"step": 0}


def newest(folder: Path) -> str:
    """Where the last checkpoint is, for messages."""
    steps = _steps(folder)
    return str(folder / f"step{steps[0]}") if steps else "none"


def _steps(folder: Path) -> list[int]:
    """The steps of the checkpoints in a folder, newest first; unfinished ones do not count."""
    names = (re.fullmatch(r"step(\d+)", path.name) for path in folder.glob("step*"))
    return sorted((int(match[1]) for match in names if match), reverse=True)


def _files(folder: Path) -> list[str]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != _MANIFEST)
    return sorted(str(path.relative_to(folder)) for path in paths)


def _checksum(path: Path) -> tuple[int, int]:
    """Size and CRC-32; the file is on the disk, not only in a cache, when this returns."""
    crc, size = 0, 0
    with path.open("rb") as file:
        os.fsync(file.fileno())
        while chunk := file.read(_CHUNK):
            crc, size = zlib.crc32(chunk, crc), size + len(chunk)
    return size, crc


def _gather_checksums(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and checksum of every file, each rank reading its share."""
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    torch.distributed.barrier()
    mine = {name: _checksum(folder / name) for name in _files(folder)[rank::world]}
    shares: list[Any] = [None] * world
    torch.distributed.all_gather_object(shares, mine)
    return {name: value for share in shares for name, value in share.items()}


def _is_whole(folder: Path) -> bool:
    try:
        expected = json.loads((folder / _MANIFEST).read_text())
    except (OSError, ValueError):
        return False
    found = _gather_checksums(folder)
    return bool(expected) and expected == {name: list(value) for name, value in found.items()}
