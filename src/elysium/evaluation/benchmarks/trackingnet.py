"""TrackingNet, test split (511 sequences): `TEST/frames/SEQUENCE/0.jpg`, `TEST/anno/SEQUENCE.txt`.

Only the first box is public: results go to the evaluation server as one text file per sequence.
"""

from pathlib import Path

import numpy as np

from elysium.evaluation.benchmarks.sequences import (
    TrackingSequence,
    find_folders,
    list_pictures,
    picture_size,
    read_boxes,
)


def names(root: Path) -> list[str]:
    """The sequences that have an annotation, by name."""
    return sorted(p.stem for p in find_folders(root / "TEST" / "anno", "TrackingNet's TEST/").glob("*.txt"))


def load(root: Path, name: str) -> TrackingSequence:
    """One sequence, of which only the first box is known. Raises UserError on a malformed file."""
    images = list_pictures(root / "TEST" / "frames" / name)
    size = picture_size(images[0])
    boxes = np.full((len(images), 4), np.nan)
    boxes[:1] = read_boxes(root / "TEST" / "anno" / f"{name}.txt", None, None)[:1]
    return TrackingSequence(name, images, boxes, size, scored=False)
