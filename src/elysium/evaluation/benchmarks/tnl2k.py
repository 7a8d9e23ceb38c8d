"""TNL2K, test split (700 sequences): `SEQUENCE/{imgs/, groundtruth.txt, language.txt}`, in one folder or in parts.

A frame without the target (a box of zeros) counts as a miss: the official toolkit takes it out and still divides by the
length of the video.
"""

from functools import lru_cache
from pathlib import Path

from elysium.errors import UserError
from elysium.evaluation.benchmarks.sequences import (
    TrackingSequence,
    find_folders,
    list_pictures,
    picture_size,
    read_boxes,
    read_phrase,
)


def names(root: Path) -> list[str]:
    """The sequences, by name; two of the same name are refused."""
    found = _folders(root)
    for name, folders in found.items():
        if len(folders) > 1:
            raise UserError(f"{folders[1]}: there is another {name} in {folders[0].parent}; keep one")
    return sorted(found)


def load(root: Path, name: str) -> TrackingSequence:
    """One sequence; the expression is `language.txt`. Raises UserError on a malformed file."""
    folder = _folders(root)[name][0]
    images = list_pictures(folder / "imgs", numbered=False)
    size = picture_size(images[0])
    boxes = read_boxes(folder / "groundtruth.txt", len(images), size)
    return TrackingSequence(name, images, boxes, size, read_phrase(folder / "language.txt"))


@lru_cache(maxsize=1)
def _folders(root: Path) -> dict[str, list[Path]]:
    find_folders(root, "TNL2K's sequence folders")
    found: dict[str, list[Path]] = {}
    for path in sorted([*root.glob("*/groundtruth.txt"), *root.glob("*/*/groundtruth.txt")]):
        found.setdefault(path.parent.name, []).append(path.parent)
    return found
