"""Fit and show the confidence of the tracker on rendered worlds, whose truth is known.

    python -m elysium.curation.calibrate --videos 100 [--write]

prints WEIGHTS and BIAS of `elysium.curation.trackers`, and the reliability curve on worlds that were not fitted on;
`--write` stores that of the shipped weights, which the curation's report shows. Tracks start at the true box, and for
every fifth thing at a wrong one, so that bad boxes are seen, too.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track as progress

from elysium.boxes import iou
from elysium.config import CurationParams
from elysium.curation import trackers
from elysium.data.scenes import draw_scene
from elysium.files import write_atomic

SEED = 977  # of worlds that belong to no split
RIGHT_IOU = 0.3  # the bound of the paper under which a track has drifted
RELIABILITY = Path(__file__).parents[1] / "assets" / "tracker_reliability.json"
_THRESHOLD = CurationParams().tracking_threshold
_FRAMES, _SIZE, _THINGS = 24, 192, 4


def measure(videos: int, seed: int = SEED) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every tracked frame of rendered worlds: features `[n, 4]`, IoU with the truth `[n]`, track number `[n]`."""
    features, overlaps, numbers = zip(*_samples(videos, seed), strict=True)
    return np.array(features), np.array(overlaps), np.array(numbers)


def _samples(videos: int, seed: int) -> Iterator[tuple[np.ndarray, float, int]]:
    count = 0
    for index in progress(range(videos), "tracking rendered worlds"):
        rng = np.random.default_rng([seed, index])
        scene = draw_scene(rng, _FRAMES, _SIZE, _THINGS)
        for i in range(len(scene.things)):
            start = scene.boxes[i][0]
            if start is None or scene.visible[i][0] < 0.8:
                continue
            count += 1
            if count % 5 == 0:
                dx, dy = rng.uniform(-0.6, 0.6) * (start[2] - start[0]), rng.uniform(-0.6, 0.6) * (start[3] - start[1])
                moved = np.clip(np.array(start) + (dx, dy, dx, dy), 0, 1)
                if (moved[2:] - moved[:2]).min() < 0.05:
                    continue
                start = (float(moved[0]), float(moved[1]), float(moved[2]), float(moved[3]))
            for f, (frame, (box, appearance)) in enumerate(trackers.follow(scene.frames, start)):
                if appearance is not None:
                    truth = scene.boxes[i][f]
                    overlap = 0.0 if truth is None or scene.visible[i][f] < 0.4 else _overlap(box, truth)
                    yield appearance.features(frame, box), overlap, count


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return float(iou(np.array(a), np.array(b)))


def probabilities(features: np.ndarray) -> np.ndarray:
    """The confidence of feature rows `[n, 4]`."""
    return np.asarray(1 / (1 + np.exp(-(trackers.BIAS + features @ np.array(trackers.WEIGHTS)))))


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = 10) -> list[tuple[float, float, int]]:
    """Per bin of confidence: its mean, the share of right boxes, the number of frames."""
    cell = np.minimum((confidence * bins).astype(int), bins - 1)
    picks = (cell == b for b in range(bins))
    return [(float(confidence[p].mean()), float(right[p].mean()), int(p.sum())) for p in picks if p.any()]


def shipped_reliability() -> dict[str, Any]:
    """What `--write` stored: `weights`, `bias`, `seed`, `videos`, and what `_measured` returns."""
    return dict(json.loads(RELIABILITY.read_text()))


def _measured(confidence: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """`frames`, the share `right` of all, the `bins` by `reliability`; `above` the `threshold`: the share `right`, and
    how many of all right ones it `keeps`."""
    above = confidence > _THRESHOLD
    return {
        "frames": len(right),
        "right": round(float(right.mean()), 4),
        "threshold": _THRESHOLD,
        "above": {"right": round(float(right[above].mean()), 4), "keeps": round(float(above[right].mean()), 4)},
        "bins": [(round(mean, 4), round(share, 4), count) for mean, share, count in reliability(confidence, right)],
    }


def main() -> None:
    """Command line: how many videos to fit on; as many again are measured on."""
    from sklearn.linear_model import LogisticRegression

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=100)
    parser.add_argument(
        "--write", action="store_true", help=f"store the curve of the shipped weights: {RELIABILITY.name}"
    )
    arguments = parser.parse_args()
    features, overlaps, _ = measure(arguments.videos)
    model = LogisticRegression(C=10.0).fit(features, overlaps >= RIGHT_IOU)
    weights = ", ".join(f"{w:.2f}" for w in model.coef_[0])
    print(f"WEIGHTS = ({weights})\nBIAS = {model.intercept_[0]:.2f}\n")
    held, held_overlaps, _ = measure(arguments.videos, SEED + 1)
    right = held_overlaps >= RIGHT_IOU
    for name, confidence in (("fitted now", model.predict_proba(held)[:, 1]), ("shipped", probabilities(held))):
        found = _measured(confidence, right)
        print(f"{name}: confidence, share right, frames ({found['right']:.2f} right overall)")
        for mean, share, count in found["bins"]:
            print(f"  {mean:.2f}  {share:.2f}  {count}")
        above = found["above"]
        print(f"  above {_THRESHOLD}: {above['right']:.3f} right, keeps {above['keeps']:.3f} of the right boxes")
        if name == "shipped" and arguments.write:
            about = {"weights": trackers.WEIGHTS, "bias": trackers.BIAS, "seed": SEED + 1, "videos": arguments.videos}
            lines = (f" {json.dumps(key)}: {json.dumps(value)}" for key, value in (about | found).items())
            write_atomic(RELIABILITY, "{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
