"""Referring expression comprehension: accuracy at IoU 0.5 (paper, Table 2)."""

import numpy as np

from elysium.boxes import iou


def hits(pred: np.ndarray, gt: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Which predictions are right: normalised or pixel xyxy `[n, 4]` each -> bool `[n]`.

    A missing prediction (NaN) is wrong. IoU equal to the threshold counts, as in the RefCOCO evaluations.
    Raises ValueError if a truth is missing.
    """
    pred, gt = np.asarray(pred, dtype=np.float64), np.asarray(gt, dtype=np.float64)
    if not np.isfinite(gt).all():
        raise ValueError("every expression needs a true box")
    return iou(pred, gt) >= threshold


def accuracy(pred: np.ndarray, gt: np.ndarray, threshold: float = 0.5) -> float:
    """The share of `hits`; NaN without samples."""
    right = hits(pred, gt, threshold)
    return float(right.mean()) if len(right) else float("nan")
