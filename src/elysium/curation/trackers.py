"""Trackers: a box in the first frame becomes a box and a confidence in every frame (section 3.2, step 2).

A tracker is a generator over frames: whoever consumes it may stop at the first frame under the threshold, and the rest
is never computed. Third parties register theirs by the entry-point group `elysium.trackers` (`make(model) -> Tracker`).
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import cv2
import numpy as np

from elysium.boxes import Box, iou
from elysium.curation import plugins

ENTRY_POINTS = "elysium.trackers"
FEATURES = ("contrast", "flow", "cover", "fill")

# Logistic regression of "the box overlaps the truth with IoU >= 0.3" on FEATURES, fitted on rendered worlds (seeds that
# no other split uses) by `python -m elysium.curation.calibrate`, which also prints the reliability curve.
WEIGHTS = (8.25, 2.83, 3.48, 1.85)
BIAS = -6.48

SELF_CHECK = 0.7  # IoU of the first box with the box that its colours give: above it colours may correct later boxes
REFINE_IOU = 0.4  # a correction that overlaps the tracked box less is another thing
LEAST_COVER = 0.75
_PART = 0.25  # of the largest blob's area: smaller ones are chance

_MIN_SIDE = 4  # pixels; nothing can be tracked that is smaller


class Tracker(Protocol):
    """What the pipeline needs of a tracker."""

    def track(self, frames: Iterable[np.ndarray], box: Box) -> Iterator[tuple[Box, float]]:
        """A normalised xyxy box and a confidence in [0, 1] per frame; the first is the given box at confidence 1.

        Frames are RGB uint8 `[H, W, 3]` of one size. Ends early only when the object cannot be followed at all.
        """
        ...


class Appearance:
    """What a tracked thing looked like, and how well a box in a later frame agrees with it.

    CSRT has no confidence and reports success even across a shot cut. Four agreements, each in [-1, 1], are combined
    by a calibrated logistic regression: the first frame's colours are found in the box and not around it; sparse
    optical flow, run forth and back, carries the last box here; and by a colour model of the thing against its
    first surroundings, how much of the thing the box covers and how well the thing fills the box.
    """

    def __init__(self, frame: np.ndarray, box: Box) -> None:
        self._first_colours = _histogram(frame, box)
        self._model = _colour_model(frame, box)
        cover, fill = _mass(self._model, frame, box)
        # A first box that covers little of its own colours is a bad start, and no measure for later ones.
        self._first_cover, self._first_fill = max(cover, LEAST_COVER), max(fill, 1e-3)
        own = _colour_box(self._model, frame, box)
        self._stands_out = own is not None and float(iou(np.array(own), np.array(box))) >= SELF_CHECK
        self._last_gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        self._last_box = box

    def refine(self, frame: np.ndarray, box: Box) -> Box:
        """The box of the thing's colours about a tracked box, for a thing that can be told by its colours alone.

        It can if the colours gave back the box of the first frame (`SELF_CHECK`); else the tracked box is returned, as
        it is when the two differ too much to be the same thing.
        """
        if not self._stands_out:
            return box
        own = _colour_box(self._model, frame, box)
        return own if own is not None and float(iou(np.array(own), np.array(box))) >= REFINE_IOU else box

    def features(self, frame: np.ndarray, box: Box) -> np.ndarray:
        """The agreements named in FEATURES, `[4]`, of the box in the next frame; then that frame becomes the last."""
        gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        colours = _similarity(self._first_colours, _histogram(frame, box))
        around = _similarity(self._first_colours, _histogram(frame, _ring(box), box))
        moved = _flow_box(self._last_gray, gray, self._last_box)
        flow = float(iou(np.array(moved), np.array(box))) if moved else 0.0
        cover, fill = _mass(self._model, frame, box)
        values = (
            colours - around,
            flow,
            min(1.0, cover / self._first_cover),
            min(1.0, fill / self._first_fill),
        )
        self._last_gray, self._last_box = gray, box
        return np.array(values)

    def confidence(self, frame: np.ndarray, box: Box) -> float:
        """The estimated probability that the box overlaps the thing with IoU >= 0.3."""
        return float(1 / (1 + np.exp(-(BIAS + np.dot(WEIGHTS, self.features(frame, box))))))


class CsrtTracker:
    """OpenCV's CSRT (Lukezic et al., CVPR 2017) at a size that a CPU affords, with the confidence of `Appearance`.

    CSRT keeps the aspect of the first box; where a thing stands out by its colours, its box is drawn anew around them.
    """

    def track(self, frames: Iterable[np.ndarray], box: Box) -> Iterator[tuple[Box, float]]:
        """See `Tracker`."""
        for frame, (found, appearance) in follow(frames, box):
            yield found, 1.0 if appearance is None else appearance.confidence(frame, found)


def follow(frames: Iterable[np.ndarray], box: Box) -> Iterator[tuple[np.ndarray, tuple[Box, Appearance | None]]]:
    """Frame, box and (after the first frame) the appearance to judge it with."""
    tracker = cv2.TrackerCSRT_create(_csrt_params())  # type: ignore[attr-defined]
    appearance: Appearance | None = None
    for frame in frames:
        height, width = frame.shape[:2]
        if appearance is None:
            x1, y1, x2, y2 = (round(v * s) for v, s in zip(box, (width, height, width, height), strict=True))
            if min(x2 - x1, y2 - y1) < _MIN_SIDE:
                return
            tracker.init(frame, (x1, y1, x2 - x1, y2 - y1))
            appearance = Appearance(frame, box)
            yield frame, (box, None)
            continue
        ok, (x, y, w, h) = tracker.update(frame)
        found = (max(0.0, x / width), max(0.0, y / height), min(1.0, (x + w) / width), min(1.0, (y + h) / height))
        if not ok or (found[2] - found[0]) * width < _MIN_SIDE or (found[3] - found[1]) * height < _MIN_SIDE:
            return
        yield frame, (appearance.refine(frame, found), appearance)


def _csrt_params() -> "cv2.TrackerCSRT.Params":
    params = cv2.TrackerCSRT_Params()  # type: ignore[attr-defined]
    # A third of the time of the defaults at the same overlap on rendered worlds.
    params.template_size, params.number_of_scales, params.admm_iterations = 80.0, 11, 2
    return params


def _crop(frame: np.ndarray, box: Box) -> np.ndarray:
    height, width = frame.shape[:2]
    x1, y1 = (min(int(v * s), s - 1) for v, s in zip(box[:2], (width, height), strict=True))
    x2, y2 = (max(int(np.ceil(v * s)), low + 1) for v, s, low in zip(box[2:], (width, height), (x1, y1), strict=True))
    return frame[y1:y2, x1:x2]


def _histogram(frame: np.ndarray, box: Box, without: Box | None = None) -> np.ndarray:
    """Colour histogram `[512]` of an elliptic window in the box, or of the box without an inner one; sums to 1."""
    crop = _crop(frame, box)
    height, width = crop.shape[:2]
    if without is None:
        weight = np.zeros((height, width), dtype=np.uint8)
        centre, axes = (width // 2, height // 2), (max(1, width * 9 // 20), max(1, height * 9 // 20))
        cv2.ellipse(weight, centre, axes, 0, 0, 360, 255, -1)
    else:
        weight = np.full((height, width), 255, dtype=np.uint8)
        full_h, full_w = frame.shape[:2]
        x0, y0 = int(box[0] * full_w), int(box[1] * full_h)
        x1, y1, x2, y2 = (int(v * s) for v, s in zip(without, (full_w, full_h, full_w, full_h), strict=True))
        weight[max(0, y1 - y0) : max(0, y2 - y0), max(0, x1 - x0) : max(0, x2 - x0)] = 0
    lab = cv2.cvtColor(crop, cv2.COLOR_RGB2LAB)
    counts = cv2.calcHist([lab], [0, 1, 2], weight, [6, 12, 12], [0, 256, 64, 192, 64, 192])
    counts = cv2.GaussianBlur(counts.reshape(6, 144), (1, 3), 0).reshape(-1)
    return counts / max(float(counts.sum()), 1.0)


def _colour_model(frame: np.ndarray, box: Box) -> np.ndarray:
    """Probability per colour cell, `[4096]`, that a pixel of that colour is the thing's and not its surroundings'."""
    inside = np.bincount(_cells(_crop(frame, _scaled(box, 0.85))).ravel(), minlength=4096) + 0.0
    around = np.bincount(_cells(_crop(frame, _ring(box))).ravel(), minlength=4096) + 0.0
    around -= np.bincount(_cells(_crop(frame, box)).ravel(), minlength=4096)
    inside, around = inside / max(inside.sum(), 1.0), np.clip(around, 0, None) / max(around.sum(), 1.0)
    return (inside + 1e-5) / (inside + around + 4e-5)


def _cells(rgb: np.ndarray) -> np.ndarray:
    """Cell of each pixel in a 16 x 16 x 16 grid of colours."""
    quarter = (rgb >> 4).astype(np.int32)
    return np.asarray((quarter[..., 0] << 8) | (quarter[..., 1] << 4) | quarter[..., 2])


def _mass(model: np.ndarray, frame: np.ndarray, box: Box) -> tuple[float, float]:
    """Share of the thing-coloured pixels around a box that lie in it, and their share of the box."""
    likely_around = model[_cells(_crop(frame, _scaled(box, 1.5)))] > 0.6
    likely_inside = model[_cells(_crop(frame, box))] > 0.6
    return float(likely_inside.sum() / max(1, likely_around.sum())), float(likely_inside.mean())


def _colour_box(model: np.ndarray, frame: np.ndarray, box: Box) -> Box | None:
    """The extent of the large thing-coloured blobs about a box, or None if there is none."""
    about = _scaled(box, 1.5)
    likely = cv2.medianBlur((model[_cells(_crop(frame, about))] > 0.6).astype(np.uint8), 3)
    kernel = np.ones((3, 3), np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(cv2.morphologyEx(likely, cv2.MORPH_CLOSE, kernel))
    if count < 2:
        return None
    areas = stats[1:, cv2.CC_STAT_AREA]
    parts = stats[1:][areas >= _PART * areas.max()]  # a jacket and the legs under it are one person
    x, y = (int(v) for v in parts[:, :2].min(0))
    w, h = (int(v) - low for v, low in zip((parts[:, :2] + parts[:, 2:4]).max(0), (x, y), strict=True))
    height, width = frame.shape[:2]
    x0, y0 = int(about[0] * width), int(about[1] * height)
    return ((x0 + x) / width, (y0 + y) / height, min(1.0, (x0 + x + w) / width), min(1.0, (y0 + y + h) / height))


def _scaled(box: Box, factor: float) -> Box:
    """The box grown or shrunk about its centre, within the frame."""
    dx, dy = (box[2] - box[0]) * (factor - 1) / 2, (box[3] - box[1]) * (factor - 1) / 2
    return (max(0.0, box[0] - dx), max(0.0, box[1] - dy), min(1.0, box[2] + dx), min(1.0, box[3] + dy))


def _similarity(p: np.ndarray, q: np.ndarray) -> float:
    """Bhattacharyya coefficient of two histograms."""
    return float(np.sqrt(p * q).sum())


def _ring(box: Box) -> Box:
    """The box grown by half on each side, within the frame."""
    return _scaled(box, 2.0)


def _flow_box(before: np.ndarray, after: np.ndarray, box: Box) -> Box | None:
    """Where Lucas-Kanade flow carries a box (median flow); only points that return to their start count.

    None if too few do.
    """
    height, width = before.shape
    x1, y1, x2, y2 = (v * s for v, s in zip(box, (width, height, width, height), strict=True))
    xs, ys = np.meshgrid(np.linspace(x1, x2, 10)[1:-1], np.linspace(y1, y2, 10)[1:-1])
    points = np.stack([xs.ravel(), ys.ravel()], 1).astype(np.float32)[:, None]
    moved, ok, _ = cv2.calcOpticalFlowPyrLK(before, after, points, np.empty_like(points), winSize=(11, 11), maxLevel=3)
    back, ok_back, _ = cv2.calcOpticalFlowPyrLK(
        after, before, moved, np.empty_like(points), winSize=(11, 11), maxLevel=3
    )
    error = np.linalg.norm(back - points, axis=2).ravel()
    good = (ok.ravel() > 0) & (ok_back.ravel() > 0) & (error < 1.0)
    if good.sum() < 6:
        return None
    start, end = points[good, 0], moved[good, 0]
    shift = np.median(end - start, axis=0)
    spread = np.linalg.norm(start - start.mean(0), axis=1)
    grown = np.linalg.norm(end - end.mean(0), axis=1)
    scale = float(np.clip(np.median(grown[spread > 1] / spread[spread > 1]), 0.8, 1.25)) if (spread > 1).any() else 1.0
    cx, cy = (x1 + x2) / 2 + shift[0], (y1 + y2) / 2 + shift[1]
    w, h = (x2 - x1) * scale, (y2 - y1) * scale
    return (
        max(0.0, float(cx - w / 2) / width),
        max(0.0, float(cy - h / 2) / height),
        min(1.0, float(cx + w / 2) / width),
        min(1.0, float(cy + h / 2) / height),
    )


def _csrt(model: str) -> Tracker:
    return CsrtTracker()


def _sam2(model: str) -> Tracker:
    from elysium.curation.sam2 import Sam2Tracker

    return Sam2Tracker(model)


TRACKERS: dict[str, Callable[[str], Tracker]] = {"csrt": _csrt, "sam2": _sam2}


def tracker_factory(name: str) -> Callable[[str], Tracker]:
    """What makes the tracker `name`. Raises UserError, with the known names, if there is no such tracker."""
    return plugins.find("tracker", ENTRY_POINTS, name, TRACKERS)


def load_tracker(name: str, model: str = "") -> Tracker:
    """The tracker `name`; `model` is its checkpoint, where it has one. Raises UserError as `tracker_factory` does."""
    return tracker_factory(name)(model)
