"""ElysiumTrack-1M, evaluation split: one JSON object a line, `frames` relative to the folder.

Of each line `id, vid, frames, box` (one normalised xyxy per frame, null where absent), `object_description` and
`frame_size` are read; the description is the expression and the reference for Video-REG.
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from elysium.boxes import as_array, to_xywh_px
from elysium.errors import UserError
from elysium.evaluation.benchmarks.sequences import TrackingSequence, find_folders, read_lines


def names(root: Path) -> list[str]:
    """The ids, in the file's order."""
    return list(_lines(root))


def load(root: Path, name: str) -> TrackingSequence:
    """One noun-chunk-trajectory pair, from the first frame in which the object is there."""
    where, row = _lines(root)[name]
    try:
        boxes = as_array(row["box"])
        frames = [root / str(f) for f in row["frames"]]
        width, height = (int(v) for v in row["frame_size"])
        phrase, video = str(row["object_description"]).strip(), str(row["vid"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{where}: not a line of ElysiumTrack ({error!r})") from error
    if len(boxes) != len(frames):
        raise UserError(f"{where}: {len(boxes)} boxes for {len(frames)} frames")
    known = boxes[np.isfinite(boxes).all(1)]
    if len(known) < 2 or not phrase:
        raise UserError(f"{where}: needs a description and two frames with a box")
    if (known < -0.01).any() or (known > 1.01).any() or (known[:, 2:] < known[:, :2]).any():
        raise UserError(f"{where}: boxes are x1,y1,x2,y2 within [0, 1]")
    first = int(np.isfinite(boxes).all(1).argmax())
    missing = next((f for f in frames[first:] if not f.is_file()), None)
    if missing is not None:
        raise UserError(f"{where}: {missing} is missing")
    boxes_px = to_xywh_px(boxes[first:], width, height)
    boxes_px[(boxes_px[:, 2:] <= 0).any(1)] = np.nan
    return TrackingSequence(name, tuple(frames[first:]), boxes_px, (width, height), (phrase,), video)


@lru_cache(maxsize=1)
def _lines(root: Path) -> dict[str, tuple[str, dict[str, Any]]]:
    """id -> (file:line, fields)."""
    find_folders(root, "the annotation file of ElysiumTrack's evaluation split")
    files = sorted([*root.glob("*.json"), *root.glob("*.jsonl")])
    chosen = [p for p in files if any(word in p.stem.lower() for word in ("eval", "val", "test"))] or files
    if len(chosen) != 1:
        said = ", ".join(p.name for p in chosen) or "none"
        raise UserError(f"{root}: needs one annotation file *.json or *.jsonl of the evaluation split, found {said}")
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for number, line in enumerate(read_lines(chosen[0]), 1):
        where = f"{chosen[0]}:{number}"
        try:
            row = json.loads(line)
            name = str(row["id"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{where}: not a line of ElysiumTrack ({error!r})") from error
        if name in found:
            raise UserError(f"{where}: the id {name} stands in {found[name][0]} already")
        found[name] = (where, row)
    return found
