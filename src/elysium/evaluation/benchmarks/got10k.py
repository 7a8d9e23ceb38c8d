"""GOT-10k: `{val,test}/list.txt`, `SEQUENCE/{00000001.jpg, groundtruth.txt, cover.label}`; 180 sequences each.

Of the test split only the first box is public: results go to the evaluation server. `scores` are the toolkit's own
figures for the validation split.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from elysium.boxes import iou
from elysium.errors import UserError
from elysium.evaluation.benchmarks.sequences import (
    TrackingSequence,
    list_pictures,
    picture_size,
    read_boxes,
    read_flags,
    read_lines,
)


def names(root: Path, split: str) -> list[str]:
    """The sequences of `SPLIT/list.txt`."""
    listed = root / split / "list.txt"
    if not listed.is_file():
        raise UserError(f"{listed}: no such file; give the folder that holds GOT-10k's {split}/")
    return [name for line in read_lines(listed) if (root / split / (name := line.strip())).is_dir()]


def load(root: Path, name: str, split: str) -> TrackingSequence:
    """One sequence; frames in which nothing of the target is visible (cover 0) are absent."""
    folder = root / split / name
    images = list_pictures(folder)
    size = picture_size(images[0])
    path = folder / "groundtruth.txt"
    if split == "test":
        boxes = np.full((len(images), 4), np.nan)
        boxes[:1] = read_boxes(path, None, None)[:1]
        return TrackingSequence(name, images, boxes, size, scored=False)
    boxes = read_boxes(path, len(images), size)
    if (folder / "cover.label").is_file():
        cover = read_flags(folder / "cover.label", len(images))
        cover[0] = max(cover[0], 1)  # the first box is given, whatever the label says
        boxes[cover == 0] = np.nan
    return TrackingSequence(name, images, boxes, size)


def scores(
    preds_xywh_px: Sequence[np.ndarray], gts_xywh_px: Sequence[np.ndarray], sizes: Sequence[tuple[int, int]]
) -> dict[str, float]:
    """Average overlap `ao` and success rates `sr50`, `sr75`, as fractions, by the GOT-10k toolkit's rules.

    Those differ from OPE: all frames of all sequences weigh the same, the first frame is left out, boxes are cut at the
    frame's edge, and frames without the target are left out. Predictions and truth are `[n, 4]` each.
    """
    overlaps = []
    for pred, gt, size in zip(preds_xywh_px, gts_xywh_px, sizes, strict=True):
        limit = np.tile(np.array(size, dtype=float), 2)
        corners = [np.clip(np.concatenate([b[1:, :2], b[1:, :2] + b[1:, 2:]], 1), 0, limit) for b in (pred, gt)]
        overlaps.append(iou(*corners)[np.isfinite(gt[1:]).all(1)])
    values = np.concatenate(overlaps) if overlaps else np.zeros(0)
    if not len(values):
        raise ValueError("no frame with truth after the first")
    return {"ao": values.mean().item(), "sr50": (values > 0.5).mean().item(), "sr75": (values > 0.75).mean().item()}
