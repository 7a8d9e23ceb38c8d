"""Predictions on disk: boxes in the official raw-result formats, one file per sequence; answers as JSON lines.

Both can be taken up again after a kill: a box file appears by rename, a line is written whole or ignored.
"""

import io
import json
import os
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from elysium.errors import UserError
from elysium.evaluation.benchmarks.sequences import read_boxes
from elysium.files import write_atomic


def boxes_path(folder: Path, benchmark: str, name: str) -> Path:
    """Where a tracker's folder holds a sequence: `NAME.txt`, on GOT-10k `NAME/NAME_001.txt` (first repetition)."""
    return folder / name / f"{name}_001.txt" if benchmark == "GOT-10k" else folder / f"{name}.txt"


def write_boxes(folder: Path, benchmark: str, name: str, boxes_xywh_px: np.ndarray, seconds_per_frame: float) -> None:
    """Write `[n, 4]` x, y, width, height in pixels as the toolkits do: commas, three decimals, one line a frame.

    A missing box (NaN) is written as zeros, which every toolkit can read. Times go to `NAME_time.txt`, on GOT-10k
    beside the boxes, else in `times/`.
    """
    path = boxes_path(folder, benchmark, name)
    times = path.parent if benchmark == "GOT-10k" else folder / "times"
    seconds = np.full(len(boxes_xywh_px), seconds_per_frame)
    write_atomic(times / f"{name}_time.txt", _text(seconds, "%.8f"))
    write_atomic(path, _text(np.nan_to_num(boxes_xywh_px, nan=0.0), "%.3f"))


def load_boxes(folder: Path, benchmark: str, name: str) -> np.ndarray | None:
    """The boxes `[m, 4]` of a sequence, NaN where a side is 0; None without a file. Raises UserError if malformed."""
    path = boxes_path(folder, benchmark, name)
    if not path.is_file():
        return None
    return read_boxes(path, None, None, nan_is_absent=True, result=True)


def write_zip(folder: Path, names: Iterable[str], benchmark: str) -> Path:
    """`FOLDER.zip` of the sequences' files, with paths relative to the folder: what the servers take."""
    path = folder.with_name(folder.name + ".zip")
    part = path.with_suffix(f".{os.getpid()}.part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            boxes = boxes_path(folder, benchmark, name)
            times = [boxes.parent / f"{name}_time.txt"] if benchmark == "GOT-10k" else []
            for file in (boxes, *times):
                archive.write(file, file.relative_to(folder))
    part.replace(path)
    return path


def _text(values: np.ndarray, number: str) -> str:
    out = io.StringIO()
    np.savetxt(out, values, fmt=number, delimiter=",")
    return out.getvalue()


class Lines:
    """Answers as JSON lines with an `id`: `STEM*.jsonl`, one file per shard; what any shard has written is done."""

    def __init__(self, folder: Path, stem: str, shard: tuple[int, int] = (0, 1)) -> None:
        self.folder, self.stem = folder, stem
        self.path = folder / (f"{stem}.jsonl" if shard[1] == 1 else f"{stem}.{shard[0]}-of-{shard[1]}.jsonl")

    def read(self) -> dict[str, dict[str, Any]]:
        """id -> line. A last line that was cut off by a kill is left out."""
        found = {}
        for path in sorted([*self.folder.glob(f"{self.stem}.jsonl"), *self.folder.glob(f"{self.stem}.*-of-*.jsonl")]):
            found.update(read_lines_by_id(path))
        return found

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add lines at the end; the file is flushed before the call returns."""
        self.folder.mkdir(parents=True, exist_ok=True)
        broken = self.path.is_file() and not self.path.read_bytes().endswith(b"\n")
        with self.path.open("a", encoding="utf-8") as file:
            file.write(("\n" if broken else "") + "".join(json.dumps(row) + "\n" for row in rows))


def read_lines_by_id(path: Path) -> dict[str, dict[str, Any]]:
    """id -> line of a JSON-lines file. Lines that are no JSON are left out (a kill cut them off).

    Raises UserError on a line without an id, or if there is no file.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file of predictions")
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if not isinstance(row, dict) or "id" not in row:
            raise UserError(f"{path}:{number}: a prediction needs an id")
        found[str(row["id"])] = row
    return found


def claim(path: Path, made_from: Mapping[str, Any]) -> None:
    """Note at `path` what the results beside it are made from. Raises UserError if it was something else so far."""
    wanted = json.loads(json.dumps(made_from))
    if path.is_file():
        found = json.loads(path.read_text())
        other = [key for key in wanted if found.get(key) != wanted[key]]
        if other:
            raise UserError(
                f"{path}: these results were made with another {other[0]} ({found.get(other[0])}, now "
                f"{wanted[other[0]]}); give another --out, or delete them"
            )
    write_atomic(path, json.dumps(wanted, indent=2) + "\n")
