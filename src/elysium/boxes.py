"""Boxes and their text form.

Inside the project a box is `xyxy`, normalised to [0, 1] of the *original* frame. Arrays of boxes are float64 `[n, 4]`;
a row of NaN is a missing box. Any other convention carries its name (`boxes_xywh_px`).
"""

import math
import re
from collections.abc import Sequence

import numpy as np

Box = tuple[float, float, float, float]

_NUMBER = r"\s*(\d+)\s*"
_BOX = re.compile(rf"\[{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\]")
_FRAME = re.compile(r"[Ff]rame\s*(\d+)\s*:")


def format_box(box: Sequence[float], bins: int = 100) -> str:
    """Text of a box: `format_box((.23, .45, .46, .72)) -> "[23,45,46,72]"` (paper, section 4.1).

    Each value is `floor(v * bins)`, clipped to the integers of [0, bins): the text never shows `bins` itself.
    Raises ValueError if a value is not finite.
    """
    return "[" + ",".join(str(min(max(v, 0), bins - 1)) for v in cells_of_box(box, bins)) + "]"


def cells_of_box(box: Sequence[float], bins: int) -> list[int]:
    """`floor(v * bins)` of each value, outside [0, bins) where the box leaves the frame.

    Raises ValueError if a value is not finite.
    """
    if len(box) != 4 or not all(map(math.isfinite, box)):
        raise ValueError(f"a box is four finite numbers, got {box!r}")
    # The tolerance keeps 0.29 * 100 = 28.999999999999996 in bin 29.
    return [math.floor(v * bins + 1e-9) for v in box]


def box_of_cells(cells: Sequence[int], bins: int) -> Box:
    """The box whose values are at the centres of four bins."""
    x1, y1, x2, y2 = ((v + 0.5) / bins for v in cells)
    return x1, y1, x2, y2


def _read_cells(cells: Sequence[str], bins: int) -> Box | None:
    """The box of four integer texts at bin centres, or None if one is outside [0, bins) or the corners are swapped."""
    if any(len(c) > 9 for c in cells):
        return None
    x1, y1, x2, y2 = (int(c) for c in cells)
    if max(x1, y1, x2, y2) >= bins or x2 < x1 or y2 < y1:
        return None
    return box_of_cells((x1, y1, x2, y2), bins)


def parse_boxes(text: str, n_frames: int, bins: int = 100) -> list[Box | None]:
    """The boxes of an answer, aligned by the frame *number* in the text, never by order.

    `parse_boxes("Frame 2: [1,2,3,4]", 3) -> [None, box, None]`. An answer for one frame may omit the label. The first
    box after a label counts, the first of several answers for one frame counts, a malformed box (missing number, value
    outside [0, bins), swapped corners) leaves None and shifts nothing. Values are bin centres, so a box survives
    `format_box` unchanged. Never raises on text.
    """
    boxes: list[Box | None] = [None] * n_frames
    labels = list(_FRAME.finditer(text))
    if not labels and n_frames == 1:
        found = _BOX.search(text)
        boxes[0] = _read_cells(found.groups(), bins) if found else None
        return boxes
    seen: set[int] = set()
    for i, label in enumerate(labels):
        if len(label[1]) > 9:
            continue
        frame = int(label[1])
        if not 1 <= frame <= n_frames or frame in seen:
            continue
        end = labels[i + 1].start() if i + 1 < len(labels) else len(text)
        found = _BOX.search(text, label.end(), end)
        if found:
            seen.add(frame)
            boxes[frame - 1] = _read_cells(found.groups(), bins)
    return boxes


def as_array(boxes: Sequence[Sequence[float] | None]) -> np.ndarray:
    """`[n, 4]` float64 of boxes, NaN rows where the box is None."""
    return np.array([[np.nan] * 4 if b is None else list(b) for b in boxes], dtype=np.float64).reshape(-1, 4)


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row-wise intersection over union of xyxy boxes `[..., 4]`; 0 where a box is missing (NaN) or empty."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    inter = np.clip(high - low, 0, None).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - inter
    with np.errstate(invalid="ignore", divide="ignore"):
        value = inter / union
    return np.where(np.isfinite(value), value, 0.0)


def to_xywh_px(boxes: np.ndarray, width: float, height: float) -> np.ndarray:
    """Normalised xyxy `[n, 4]` -> top-left x, y, width, height in pixels, the convention of the tracking toolkits."""
    boxes = np.asarray(boxes, dtype=np.float64)
    scale = np.array([width, height], dtype=np.float64)
    return np.concatenate([boxes[..., :2] * scale, (boxes[..., 2:] - boxes[..., :2]) * scale], axis=-1)


def from_xywh_px(boxes_xywh_px: np.ndarray, width: float, height: float) -> np.ndarray:
    """The inverse of `to_xywh_px`."""
    boxes = np.asarray(boxes_xywh_px, dtype=np.float64)
    scale = np.array([width, height], dtype=np.float64)
    return np.concatenate([boxes[..., :2] / scale, (boxes[..., :2] + boxes[..., 2:]) / scale], axis=-1)
