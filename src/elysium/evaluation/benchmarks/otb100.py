"""OTB-100: `SEQUENCE/{img/0001.jpg, groundtruth_rect.txt}`; videos with two targets have `groundtruth_rect.1.txt` and
`.2.txt`, and give two sequences (Jogging.1, Jogging.2).

Five videos are longer than their annotation; the ranges are those of the benchmark's page.
"""

from pathlib import Path

from elysium.errors import UserError
from elysium.evaluation.benchmarks.sequences import (
    TrackingSequence,
    find_folders,
    list_pictures,
    picture_size,
    read_boxes,
)

_RANGES = {"David": (299, 770), "Football1": (0, 74), "Freeman3": (0, 460), "Freeman4": (0, 283), "Diving": (0, 215)}


def names(root: Path) -> list[str]:
    """All sequences of the folder, by name."""
    find_folders(root, "OTB's sequence folders (Basketball, Biker, ...)")
    return [name for folder in sorted(p for p in root.iterdir() if p.is_dir()) for name in _targets(folder)]


def load(root: Path, name: str) -> TrackingSequence:
    """One target of one video. Raises UserError on a malformed file."""
    video = name.partition(".")[0]
    images = list_pictures(root / video / "img")
    images = images[slice(*_RANGES[video])] if video in _RANGES else images
    if not images:
        raise UserError(f"{root / video / 'img'}: needs pictures {_RANGES[video][0] + 1} to {_RANGES[video][1]}")
    size = picture_size(images[0])
    boxes = read_boxes(_targets(root / video)[name], len(images), size)
    return TrackingSequence(name, images, boxes, size, video=video)


def _targets(folder: Path) -> dict[str, Path]:
    """Sequence name -> annotation; an empty file (as for Human4) names no target."""
    paths = sorted(p for p in folder.glob("groundtruth*.txt") if p.read_text().strip())
    if len(paths) < 2:
        return {folder.name: paths[0]} if paths else {}
    return {f"{folder.name}.{i}": path for i, path in enumerate(paths, 1)}
