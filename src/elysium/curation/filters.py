"""One shot of a video through the filters of section 3.2, in the order of cost, ended as early as may be."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from elysium.boxes import Box, iou
from elysium.config import CurationParams
from elysium.curation.grounding import Grounder, Grounding
from elysium.curation.motion import drift
from elysium.curation.trackers import Tracker

# The filters in the order in which an item meets them; the keys of the report's funnel.
FILTERS = (
    "shot_too_short",
    "grounding_first",
    "grounding_middle",
    "grounding_last",
    "tracking_confidence",
    "drift",
    "iou_middle",
    "iou_last",
    "not_unique",  # asked of the evaluation split only
)
MIN_FRAMES = 5  # a shorter shot gives no trajectory worth the name
ANALYSIS_SIDE = 512  # pixels; larger frames are shrunk to it for grounding and tracking


@dataclass(frozen=True)
class Trajectory:
    """A noun chunk that passed: its class, a normalised xyxy box per frame, the least tracking confidence."""

    phrase: str
    label: str
    boxes: tuple[Box, ...]
    confidence: float
    drift: float
    rivals: int = 0  # other things that answer the phrase in the first frame


@dataclass(frozen=True)
class Fallen:
    """A noun chunk that did not pass: at which of FILTERS, and why in words."""

    phrase: str
    filter: str
    why: str


def filter_shot(
    frames: Sequence[np.ndarray], phrases: Sequence[str], grounder: Grounder, tracker: Tracker, params: CurationParams
) -> tuple[list[Trajectory], list[Fallen]]:
    """The trajectories of the phrases in one shot (RGB uint8 frames), and the phrases that fell with the filter."""
    fallen: list[Fallen] = []
    if len(frames) < MIN_FRAMES:
        return [], [Fallen(p, "shot_too_short", f"{len(frames)} frames, {MIN_FRAMES} needed") for p in phrases]
    middle, last = len(frames) // 2, len(frames) - 1
    alive = list(phrases)
    grounded: dict[str, list[Grounding]] = {p: [] for p in phrases}
    for name, number in (("grounding_first", 0), ("grounding_middle", middle), ("grounding_last", last)):
        if not alive:
            break
        answers = grounder.ground([shrink(frames[number], ANALYSIS_SIDE)], alive)[0]
        for phrase, answer in zip(list(alive), answers, strict=True):
            grounded[phrase].append(answer)
            if answer.box is None or not answer.score > params.grounding_threshold:
                alive.remove(phrase)
                fallen.append(Fallen(phrase, name, answer.note or f"score {answer.score:.2f}"))
    kept: list[Trajectory] = []
    by_box: dict[Box, list[str]] = {}
    for phrase in alive:  # phrases for one box share its track
        box = grounded[phrase][0].box
        assert box is not None
        by_box.setdefault(box, []).append(phrase)
    if by_box:
        small = [shrink(frame, ANALYSIS_SIDE) for frame in frames]
        for box, group in by_box.items():
            anchors = {p: (grounded[p][1].box, grounded[p][2].box) for p in group}
            passed, failed = _follow(small, box, anchors, tracker, params)
            fallen += failed
            kept += [
                Trajectory(p, grounded[p][0].label, boxes, *scores, grounded[p][0].rivals)
                for p, boxes, scores in passed
            ]
    return kept, fallen


_Passed = tuple[str, tuple[Box, ...], tuple[float, float]]


def _follow(
    frames: Sequence[np.ndarray],
    start: Box,
    anchors: dict[str, tuple[Box | None, Box | None]],
    tracker: Tracker,
    params: CurationParams,
) -> tuple[list[_Passed], list[Fallen]]:
    """Track one box for the phrases that share it, each with its grounded boxes in the middle and in the last frame."""
    fallen: list[Fallen] = []
    alive = dict(anchors)
    boxes: list[Box] = []
    least, middle = 1.0, len(frames) // 2
    for number, (box, confidence) in enumerate(tracker.track(frames, start)):
        boxes.append(box)
        least = min(least, confidence)
        if confidence <= params.tracking_threshold:
            return [], [*fallen, *_all(alive, "tracking_confidence", f"{confidence:.2f} at frame {number}")]
        if number == middle:
            if drift(boxes).max() > params.max_drift:
                break
            fallen += _drop_apart(alive, 0, box, "iou_middle", params.min_iou)
            if not alive:
                return [], fallen
    jumps = drift(boxes)
    if jumps.size and jumps.max() > params.max_drift:
        why = f"{jumps.max():.2f} box diagonals at frame {int(jumps.argmax())}"
        return [], [*fallen, *_all(alive, "drift", why)]
    if len(boxes) < len(frames):
        return [], [*fallen, *_all(alive, "tracking_confidence", f"lost at frame {len(boxes)}")]
    fallen += _drop_apart(alive, 1, boxes[-1], "iou_last", params.min_iou)
    rounded = tuple(_rounded(box) for box in boxes)
    return [(p, rounded, (round(least, 4), round(float(jumps.max()), 4))) for p in alive], fallen


def _all(phrases: dict[str, tuple[Box | None, Box | None]], name: str, why: str) -> list[Fallen]:
    return [Fallen(phrase, name, why) for phrase in phrases]


def _drop_apart(
    alive: dict[str, tuple[Box | None, Box | None]], which: int, box: Box, name: str, least: float
) -> list[Fallen]:
    """Remove the phrases whose grounded box is elsewhere than the tracked one."""
    fallen = []
    for phrase in list(alive):
        overlap = float(iou(np.array(alive[phrase][which], dtype=float), np.array(box)))
        if overlap < least:
            del alive[phrase]
            fallen.append(Fallen(phrase, name, f"IoU {overlap:.2f} with the grounded box"))
    return fallen


def _rounded(box: Box) -> Box:
    return (round(box[0], 5), round(box[1], 5), round(box[2], 5), round(box[3], 5))


def shrink(frame: np.ndarray, longest: int) -> np.ndarray:
    """The frame with its longest side at most `longest` pixels (0: as it is), same aspect."""
    scale = longest / max(frame.shape[:2])
    if longest <= 0 or scale >= 1:
        return frame
    size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA))
