"""UAV123 (123 sequences): `data_seq/UAV123/VIDEO/000001.jpg`, `anno/UAV123/SEQUENCE.txt` with NaN where absent.

A sequence is a range of frames of a video; the ranges are those of the official `configSeqs.m`, which the GOT-10k
toolkit ships as JSON. An absent frame is a miss in success and a hit in precision, as in pytracking.
"""

import json
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from elysium.errors import UserError
from elysium.evaluation.benchmarks.sequences import TrackingSequence, find_folders, picture_size, read_boxes


@lru_cache
def _ranges() -> dict[str, dict[str, int | str]]:
    ranges = json.loads(files("got10k").joinpath("datasets", "uav123.json").read_text())["UAV123"]
    assert isinstance(ranges, dict)
    return ranges


def names(root: Path) -> list[str]:
    """The sequences whose annotation is there."""
    annotations = find_folders(root / "anno" / "UAV123", "UAV123's annotations (anno/UAV123)")
    return [name for name in sorted(_ranges()) if (annotations / f"{name}.txt").is_file()]


def load(root: Path, name: str) -> TrackingSequence:
    """One sequence. Raises UserError on a missing picture or a malformed file."""
    entry = _ranges()[name]
    folder = root / "data_seq" / "UAV123" / str(entry["folder_name"])
    images = tuple(folder / f"{f:06d}.jpg" for f in range(int(entry["start_frame"]), int(entry["end_frame"]) + 1))
    missing = next((p for p in images if not p.is_file()), None)
    if missing is not None:
        raise UserError(f"{missing}: missing; {name} needs frames {images[0].stem} to {images[-1].stem}")
    size = picture_size(images[0])
    boxes = read_boxes(root / "anno" / "UAV123" / f"{name}.txt", len(images), size, nan_is_absent=True)
    return TrackingSequence(name, images, boxes, size, video=str(entry["folder_name"]))
