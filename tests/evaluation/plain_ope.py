"""One-pass evaluation by its published definitions, frame by frame in plain Python: slow, short, easy to check.

OTB (Wu et al., 2015): success is the share of frames whose IoU exceeds a threshold, precision the share whose centre
error in pixels is at most one. TrackingNet (Mueller et al., 2018): normalised precision divides the error by the true
width and height. What a frame without truth counts is each toolkit's choice: left out (`exclude`), a miss (`miss`), or
a miss of success and a hit of both precisions (`uav`).

    python -m tests.evaluation.plain_ope    # compares with the values that the toolkits gave, in golden_ope.npz
"""

import math
from pathlib import Path

import numpy as np

# Name of a toolkit's mode -> (frames without truth, the first box is given)
MODES = {
    "got10k_otb": ("exclude", False),
    "got10k_uav": ("exclude", False),
    "pytracking_otb": ("exclude", True),
    "pytracking_lasot": ("miss", True),
    "pytracking_uav": ("uav", True),
}


def frame(pred: list[float] | None, gt: list[float]) -> tuple[float, float, float]:
    """IoU, centre error in pixels and normalised centre error of one frame (x, y, width, height)."""
    if pred is None or not all(map(math.isfinite, pred)) or min(pred[2:]) < 0:
        return 0.0, math.inf, math.inf
    (px, py, pw, ph), (gx, gy, gw, gh) = pred, gt
    width = max(0.0, min(px + pw, gx + gw) - max(px, gx))
    height = max(0.0, min(py + ph, gy + gh) - max(py, gy))
    overlap = width * height / (pw * ph + gw * gh - width * height)
    dx, dy = px + pw / 2 - gx - gw / 2, py + ph / 2 - gy - gh / 2
    return overlap, math.sqrt(dx * dx + dy * dy), math.sqrt((dx / gw) ** 2 + (dy / gh) ** 2)


def curves(pred: np.ndarray, gt: np.ndarray, absent: str, first_given: bool) -> np.ndarray:
    """Success (21 values), precision (51) and normalised precision (51) of one sequence, one after the other."""
    frames = []
    for i, true in enumerate(gt.tolist()):
        if all(map(math.isfinite, true)) and min(true[2:]) > 0:
            told = true if i == 0 and first_given else pred[i].tolist() if i < len(pred) else None
            frames.append(frame(told, true))
        elif absent == "miss":
            frames.append((-1.0, math.inf, math.inf))
        elif absent == "uav":
            frames.append((-1.0, -1.0, -1.0))
    success = [sum(f[0] > t for f in frames) for t in np.linspace(0, 1, 21)]
    precision = [sum(f[1] <= t for f in frames) for t in range(51)]
    norm_precision = [sum(f[2] <= t / 100 for f in frames) for t in range(51)]
    return np.array(success + precision + norm_precision) / len(frames)


def main() -> None:
    """Print the largest difference from the stored values of each mode."""
    stored = np.load(Path(__file__).parent / "golden_ope.npz")
    for mode, (absent, first_given) in MODES.items():
        differences = []
        for name in (n for n in stored.files if n.endswith(mode)):
            sequence = name.removesuffix("_" + mode)
            found = curves(stored[sequence + "_pred"], stored[sequence + "_gt"], absent, first_given)
            differences.append(np.abs(found[: len(stored[name])] - stored[name]).max())
        print(f"{mode}: {len(differences)} sequences, largest difference {max(differences):.1e}")


if __name__ == "__main__":
    main()
