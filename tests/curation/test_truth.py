"""On rendered worlds, whose truth is known: what is kept is right, what could be kept mostly is, faults are caught."""

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
import pytest

from elysium.boxes import Box, iou
from elysium.config import CurationParams
from elysium.curation.filters import filter_shot
from elysium.curation.grounding import Grounding, load_grounder
from elysium.curation.motion import find_cuts
from elysium.curation.trackers import load_tracker
from elysium.data.scenes import draw_scene

PARAMS = CurationParams()
FRAMES, SIZE, WORLDS = 14, 160, 40


@pytest.fixture(scope="module")
def judged():
    """Per thing of the rendered worlds: its frames, name, true boxes, least visible share, and what became of it."""
    rows = []
    for seed in range(WORLDS):
        scene = draw_scene(np.random.default_rng([31, seed]), FRAMES, SIZE, 3)
        frames, names = list(scene.frames), [thing.name for thing in scene.things]
        kept, fallen = filter_shot(frames, names, load_grounder("shapes"), load_tracker("csrt"), PARAMS)
        found = {track.phrase: track for track in kept}
        for i, name in enumerate(names):
            rows.append((frames, name, scene.boxes[i], min(scene.visible[i]), found.get(name), scene))
        assert len(kept) + len(fallen) == len(names)
    return rows


def test_what_is_kept_is_right_and_most_of_what_could_be_kept_is(judged, capsys):
    right = kept = could = could_kept = 0
    for _, name, boxes, visible, track, scene in judged:
        whole = None not in boxes and visible >= 0.75
        could += whole
        could_kept += whole and track is not None
        if track is None:
            continue
        kept += 1
        overlaps = {
            thing.name: np.mean([0.0 if t is None else float(iou(np.array(b), np.array(t)))
                                 for b, t in zip(track.boxes, truth, strict=True)])
            for thing, truth in zip(scene.things, scene.boxes, strict=True)
        }  # fmt: skip
        right += overlaps[name] >= 0.7 and max(overlaps, key=overlaps.__getitem__) == name
    with capsys.disabled():
        print(f"\nkept {kept}, right {right / kept:.3f}; could have been kept {could}, were {could_kept / could:.3f}")
    assert kept >= 20
    assert right >= 0.97 * kept
    assert could_kept >= 0.60 * could


class _Path:
    """A tracker at fault: it goes where it is told, and is sure of it."""

    def __init__(self, boxes: list[Box]) -> None:
        self._boxes = boxes

    def track(self, frames: Iterable[np.ndarray], box: Box) -> Iterator[tuple[Box, float]]:
        for _, found in zip(frames, [box, *self._boxes[1:]], strict=False):
            yield found, 0.99


class _WrongStart:
    """A grounder at fault: a box of the ground in the first frame, the thing's in the others."""

    def __init__(self, wrong: Box, frames: list[np.ndarray], truth: list[Box]) -> None:
        self._by_frame = {id(frame): box for frame, box in zip(frames, [wrong, *truth[1:]], strict=True)}

    def ground(self, frames: list[np.ndarray], phrases: list[str]) -> list[list[Grounding]]:
        return [[Grounding(self._by_frame[id(frame)], 0.9, "x") for _ in phrases] for frame in frames]


def _moved(box: Box, dx: float, dy: float) -> Box:
    x1, y1, x2, y2 = np.clip(np.array(box) + (dx, dy, dx, dy), 0, 1).tolist()
    return (x1, y1, x2, y2)


def _inward(box: Box) -> tuple[float, float]:
    """Signs that lead from the box towards the middle of the frame."""
    return (1.0 if box[0] + box[2] < 1 else -1.0, 1.0 if box[1] + box[3] < 1 else -1.0)


def _fall(frames, name, tracker=None, grounder=None) -> str:
    kept, fallen = filter_shot(
        frames, [name], grounder or load_grounder("shapes"), tracker or load_tracker("csrt"), PARAMS
    )
    return "kept" if kept else fallen[0].filter


def _drifting(frames, name, boxes):
    """It slides off by a twelfth of the frame's side per frame, too smoothly for a jump."""
    sx, sy = _inward(boxes[0])
    return _fall(frames, name, _Path([_moved(b, sx * 0.035 * i, sy * 0.035 * i) for i, b in enumerate(boxes)]))


def _wrong_box(frames, name, boxes):
    """The first box lies on the ground, far from the thing."""
    side = max(0.12, boxes[0][2] - boxes[0][0])
    sx, sy = _inward(boxes[0])
    corner = (0.98 - side if sx > 0 else 0.02, 0.98 - side if sy > 0 else 0.02)
    wrong = (corner[0], corner[1], corner[0] + side, corner[1] + side)
    return _fall(frames, name, None, _WrongStart(wrong, frames, boxes))


def _swap(frames, name, boxes):
    """In the middle of the second half the track hops over to a look-alike elsewhere."""
    sx, sy = _inward(boxes[0])
    hopped = [b if i < 9 else _moved(b, sx * 0.3, sy * 0.3) for i, b in enumerate(boxes)]
    return _fall(frames, name, _Path(hopped))


def _cut(frames, name, boxes, other):
    """Another shot follows: the pipeline cuts there first; without that, what would stop the track?"""
    joined = [*frames[:7], *other[:7]]
    return "shot cut" if find_cuts(joined) == [7] else _fall(joined, name)


def test_each_planted_fault_is_caught_by_the_filter_meant_for_it(judged, capsys):
    good = [(f, n, list(b)) for f, n, b, _, track, _ in judged if track is not None and None not in b][:12]
    assert len(good) == 12
    others = [draw_scene(np.random.default_rng([32, k]), 7, SIZE, 3).frames for k in range(len(good))]
    table: dict[str, Counter[str]] = {}
    for fault, plant in (("drifting tracker", _drifting), ("wrong box", _wrong_box), ("look-alike swap", _swap)):
        table[fault] = Counter(plant(*case) for case in good)
    cut = [partial(_cut, *case)(list(other)) for case, other in zip(good, others, strict=True)]
    table["cut in the middle"] = Counter(cut)
    with capsys.disabled():
        print("\n" + "\n".join(f"{fault}: {dict(counts.most_common())}" for fault, counts in table.items()))
    assert not any(counts["kept"] for counts in table.values())
    drifting, wrong = table["drifting tracker"], table["wrong box"]
    assert drifting["iou_middle"] + drifting["iou_last"] >= 11
    assert wrong["tracking_confidence"] + wrong["iou_middle"] >= 11
    assert table["look-alike swap"]["drift"] >= 11
    assert table["cut in the middle"]["shot cut"] >= 10
