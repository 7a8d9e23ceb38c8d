"""Drawing boxes on frames: predictions solid with a label, the truth dashed; as a video and as a contact sheet."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from elysium.boxes import Box
from elysium.data.video import write_video
from elysium.inference.clips import Frames

# Colours that stay apart for colour-blind readers (Okabe and Ito), RGB.
PALETTE = ((230, 85, 0), (0, 114, 178), (0, 158, 115), (204, 121, 167), (240, 228, 66), (86, 180, 233), (120, 60, 20))
TRUTH = (255, 255, 255)
MIN_HEIGHT = 360  # smaller frames are enlarged so that labels can be read


def render_frames(
    frames: Iterable[np.ndarray],
    tracks: Mapping[str, Sequence[Box | None]],
    truth: Sequence[Box | None] | None = None,
    caption: str = "",
) -> Iterator[np.ndarray]:
    """Frames with boxes, one by one, RGB uint8, enlarged by a whole factor if lower than `MIN_HEIGHT`.

    `tracks` maps a label to one normalised xyxy box (or None) per frame; each label has its colour. `truth` is drawn
    dashed in white. The strip below a frame carries the caption, its number and the labels that have no box there.
    Frames are taken one by one. Raises ValueError if tracks differ in length, or from `frames` where that is known.
    """
    lengths = {label: len(boxes) for label, boxes in tracks.items()} | ({"the truth": len(truth)} if truth else {})
    total = len(frames) if isinstance(frames, Sized) else min(lengths.values())
    for label, length in lengths.items():
        if length != total:
            raise ValueError(f"{label!r} has {length} boxes for {total} frames")
    for i, frame in enumerate(itertools.islice(frames, total)):
        image = _enlarge(frame)
        true = truth[i] if truth is not None else None
        if true is not None:
            _dashed(image, true)
        colours = {label: PALETTE[k % len(PALETTE)] for k, label in enumerate(tracks)}
        found = {label: box for label, boxes in tracks.items() if (box := boxes[i]) is not None}
        lost = [label for label in tracks if label not in found]
        for label, box in found.items():
            cv2.rectangle(image, *_corners(image, box), colours[label], _thickness(image), cv2.LINE_AA)
        for label, box in found.items():  # after all boxes, so that no line crosses a label
            _label(image, box, label, colours[label])
        yield _with_strip(image, f"{i + 1}/{total}  {caption}", [f"no box: {name}" for name in lost])


def render_tracks(
    path: str | Path,
    frames: Iterable[np.ndarray],
    times: Sequence[float],
    tracks: Mapping[str, Sequence[Box | None]],
    truth: Sequence[Box | None] | None = None,
    caption: str = "",
) -> None:
    """`render_frames` as an mp4, or a gif if `path` ends so, at the mean rate of `times`, the frames' seconds."""
    seconds = times[-1] - times[0]
    fps = min(max((len(times) - 1) / seconds, 0.5), 120.0) if seconds > 0 else 10.0
    write_video(path, render_frames(frames, tracks, truth, caption), fps)


def contact_sheet(
    path: str | Path,
    frames: Frames,
    tracks: Mapping[str, Sequence[Box | None]],
    truth: Sequence[Box | None] | None = None,
    caption: str = "",
    columns: int = 4,
    cells: int = 8,
) -> None:
    """`cells` evenly spaced frames of `render_frames` side by side, as a PNG."""
    n = len(frames)
    chosen = set(np.linspace(0, n - 1, min(cells, n)).round().astype(int).tolist())
    drawn = [f for i, f in enumerate(render_frames(frames, tracks, truth, caption)) if i in chosen]
    width = max(1, min(columns, len(drawn)))
    drawn += [np.full_like(drawn[0], 255)] * (-len(drawn) % width)
    gap = [(2, 2), (2, 2), (0, 0)]
    rows = [
        np.concatenate([np.pad(f, gap, constant_values=255) for f in drawn[r : r + width]], axis=1)
        for r in range(0, len(drawn), width)
    ]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    sheet = cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR)
    if not cv2.imwrite(str(path), sheet):
        raise OSError(f"{path}: the picture could not be written")


def _enlarge(frame: np.ndarray) -> np.ndarray:
    """A copy to draw on, enlarged by a whole factor if it is small."""
    factor = -(-MIN_HEIGHT // frame.shape[0])
    if factor <= 1:
        return np.ascontiguousarray(frame).copy()
    size = (frame.shape[1] * factor, frame.shape[0] * factor)
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC))


def _corners(image: np.ndarray, box: Box) -> tuple[tuple[int, int], tuple[int, int]]:
    height, width = image.shape[:2]
    x1, x2 = (round(min(max(v, 0.0), 1.0) * (width - 1)) for v in (box[0], box[2]))
    y1, y2 = (round(min(max(v, 0.0), 1.0) * (height - 1)) for v in (box[1], box[3]))
    return (x1, y1), (x2, y2)


def _thickness(image: np.ndarray) -> int:
    return max(2, image.shape[0] // 240)


def _label(image: np.ndarray, box: Box, label: str, colour: tuple[int, int, int]) -> None:
    (x1, y1), (_, y2) = _corners(image, box)
    scale = max(0.45, image.shape[0] / 900)
    (w, h), base = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    left = min(max(x1, 0), max(image.shape[1] - w - 6, 0))
    top = y1 - h - base - 4 if y1 - h - base - 4 >= 0 else min(y2 + 2, image.shape[0] - h - base - 4)
    cv2.rectangle(image, (left, top), (left + w + 6, top + h + base + 4), colour, cv2.FILLED)
    ink = (0, 0, 0) if sum(colour) > 420 else (255, 255, 255)
    cv2.putText(image, label, (left + 3, top + h + 2), cv2.FONT_HERSHEY_SIMPLEX, scale, ink, 1, cv2.LINE_AA)


def _dashed(image: np.ndarray, box: Box, dash: int = 8) -> None:
    """A dashed white line on a thin dark one, visible on any ground."""
    (x1, y1), (x2, y2) = _corners(image, box)
    thick = _thickness(image)
    corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)]
    for a, b in pairwise(corners):
        length = max(abs(b[0] - a[0]), abs(b[1] - a[1]))
        for start in range(0, length, 2 * dash):
            end = min(start + dash, length)
            p, q = (
                (a[0] + (b[0] - a[0]) * t // max(length, 1), a[1] + (b[1] - a[1]) * t // max(length, 1))
                for t in (start, end)
            )
            cv2.line(image, p, q, (0, 0, 0), thick + 2)
            cv2.line(image, p, q, TRUTH, thick)


def _with_strip(image: np.ndarray, text: str, lost: Sequence[str]) -> np.ndarray:
    """The picture on top of a dark strip with one line of text; what is lost is said in the strip, in orange."""
    height = max(24, image.shape[0] // 18)
    strip = np.full((height, image.shape[1], 3), 24, dtype=np.uint8)
    scale = height / 48
    y = int(height * 0.7)
    cv2.putText(strip, text, (6, y), cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA)
    if lost:
        said = "; ".join(lost)
        (w, _), _ = cv2.getTextSize(said, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
        cv2.putText(
            strip, said, (image.shape[1] - w - 6, y), cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 170, 90), 1, cv2.LINE_AA
        )
    return np.concatenate([image, strip])
