"""Filters in the order of cost, ended early, against the straightforward order; the same output, one run.

    python benchmarks/curation.py --videos 12

Straightforward: every phrase is grounded in all three frames and tracked to the last frame, then the filters are asked.
The captions name things that are there, things that are not, and things that leave: as captions do.
"""

import argparse
import time
from collections import Counter
from collections.abc import Sequence

import cv2
import numpy as np

from elysium.boxes import iou
from elysium.config import CurationParams
from elysium.curation.filters import FILTERS, MIN_FRAMES, filter_shot
from elysium.curation.grounding import Grounder, load_grounder
from elysium.curation.motion import drift
from elysium.curation.trackers import Tracker, load_tracker
from elysium.data.scenes import draw_scene

FRAMES, SIZE, THINGS = 24, 192, 4


def straightforward(
    frames: Sequence[np.ndarray], phrases: Sequence[str], grounder: Grounder, tracker: Tracker, params: CurationParams
) -> set[tuple[str, tuple[float, ...]]]:
    """The kept (phrase, last box) of a shot, everything computed before anything is asked."""
    middle, last = len(frames) // 2, len(frames) - 1
    grounded = grounder.ground([frames[0], frames[middle], frames[last]], phrases)
    kept = set()
    for p, phrase in enumerate(phrases):
        first, mid, end = (grounded[k][p] for k in range(3))
        track = list(tracker.track(frames, first.box)) if first.box is not None else []
        boxes = [box for box, _ in track]
        passed = (
            len(frames) >= MIN_FRAMES
            and all(g.box is not None and g.score > params.grounding_threshold for g in (first, mid, end))
            and len(boxes) == len(frames)
            and min(c for _, c in track) > params.tracking_threshold
            and drift(boxes).max() <= params.max_drift
            and float(iou(np.array(mid.box), np.array(boxes[middle]))) >= params.min_iou
            and float(iou(np.array(end.box), np.array(boxes[last]))) >= params.min_iou
        )
        if passed:
            kept.add((phrase, tuple(round(v, 5) for v in boxes[last])))
    return kept


def main() -> None:
    """Command line: how many videos."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=12)
    videos = parser.parse_args().videos
    cv2.setNumThreads(1)
    params, grounder, tracker = CurationParams(), load_grounder("shapes"), load_tracker("csrt")
    scenes = [draw_scene(np.random.default_rng([41, k]), FRAMES, SIZE, THINGS) for k in range(videos)]
    seconds: Counter[str] = Counter()
    fell: Counter[str] = Counter()
    kept = phrases = 0
    for k, scene in enumerate(scenes):
        frames = list(scene.frames)
        absent = [t.name for t in scenes[k - 1].things]  # captions name what is not to be seen, too
        names = list(dict.fromkeys([t.name for t in scene.things] + absent[:2]))
        phrases += len(names)
        start = time.process_time()
        ordered, fallen = filter_shot(frames, names, grounder, tracker, params)
        middle = time.process_time()
        plain = straightforward(frames, names, grounder, tracker, params)
        seconds["ordered"] += middle - start
        seconds["straightforward"] += time.process_time() - middle
        fell.update(item.filter for item in fallen)
        assert {(t.phrase, t.boxes[-1]) for t in ordered} == plain, "the two orders differ"
        kept += len(plain)
    total = videos * FRAMES
    print(f"{videos} videos, {total} frames, {phrases} phrases; {kept} kept by both orders, the same ones")
    print("fell: " + ", ".join(f"{name} {fell[name]}" for name in FILTERS if fell[name]))
    for name in ("straightforward", "ordered"):
        spent = seconds[name]
        print(f"{name:16s} {spent:6.2f} s of one core: {videos / spent:.2f} videos/s, {total / spent:.1f} frames/s")
    print(f"ratio {seconds['straightforward'] / seconds['ordered']:.2f}")


if __name__ == "__main__":
    main()
