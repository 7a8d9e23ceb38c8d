"""LaSOT, test split (protocol II, 280 sequences): `CLASS/CLASS-N/{img/, groundtruth.txt, full_occlusion.txt,
out_of_view.txt, nlp.txt}`, and `testing_set.txt` beside the classes where the evaluation toolkit put it.

A frame in which the target is fully occluded or out of view counts as a miss, as in pytracking and the official toolkit
(which takes such frames out and still divides by the length of the video).
"""

import json
from importlib.resources import files
from pathlib import Path

import numpy as np

from elysium.evaluation.benchmarks.sequences import (
    TrackingSequence,
    find_folders,
    list_pictures,
    picture_size,
    read_boxes,
    read_flags,
    read_lines,
    read_phrase,
)


def names(root: Path) -> list[str]:
    """The test sequences that are there, in the official order."""
    find_folders(root, "LaSOT's class folders (airplane, basketball, ...)")
    listed = root / "testing_set.txt"
    if listed.is_file():
        wanted = [line.strip() for line in read_lines(listed)]
    else:
        wanted = json.loads(files("got10k").joinpath("datasets", "lasot.json").read_text())["test"]
    return [name for name in wanted if _folder(root, name).is_dir()]


def load(root: Path, name: str) -> TrackingSequence:
    """One sequence; the expression is `nlp.txt`. Raises UserError on a malformed file."""
    folder = _folder(root, name)
    images = list_pictures(folder / "img")
    size = picture_size(images[0])
    boxes = read_boxes(folder / "groundtruth.txt", len(images), size)
    for flags in ("full_occlusion.txt", "out_of_view.txt"):
        if (folder / flags).is_file():
            boxes[read_flags(folder / flags, len(images)) != 0] = np.nan
    return TrackingSequence(name, images, boxes, size, read_phrase(folder / "nlp.txt"))


def _folder(root: Path, name: str) -> Path:
    return root / name.rpartition("-")[0] / name
