"""One-pass evaluation (OPE) of tracked boxes: success, precision and normalised precision (paper, section 3.3).

Boxes here are x, y, width, height in pixels, as in the toolkits; a row of NaN is a missing box. Scores are fractions
in [0, 1], per sequence; averages are taken over sequences, never over frames or clips.

Conventions and where they come from:

- success: the share of frames whose IoU is *greater* than each of 21 thresholds 0, 0.05, ..., 1; `auc` is the mean of
  that curve (OTB, GOT-10k toolkit, pytracking).
- precision: the share of frames whose centre error is *at most* 0, 1, ..., 50 px; `precision` is the value at 20 px.
- normalised precision: the centre error divided by the true width and height, at most 0, 0.01, ..., 0.5;
  `norm_precision` is the value at 0.2 (what pytracking and LaSOT print), `norm_precision_auc` the mean of the curve
  (what TrackingNet ranks by).
- a missing prediction (NaN, a negative size, a prediction file that ends early) scores 0 in everything. The GOT-10k
  toolkit does the same with NaN; pytracking refuses NaN and repeats the last box when a size is zero.
- frames without truth (NaN, or a side of 0): `absent="exclude"` leaves them out (GOT-10k toolkit on UAV123, pytracking
  with `exclude_invalid_frames`); `absent="miss"` counts them as failures (pytracking on LaSOT, the
  official toolkits of LaSOT and TNL2K); `absent="uav"` counts
  them as failures of success but as hits of both precisions (pytracking on UAV123).
- `first_given=True` replaces the first prediction by the truth, as both toolkits do, for trackers that are given it.
- an IoU of 1 does not exceed the last threshold. In pytracking rounding can lift the IoU of identical boxes with
  fractions of pixels a hair above 1; with whole pixels, as benchmarks annotate, the numbers are the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

SUCCESS_THRESHOLDS = np.linspace(0, 1, 21)
PRECISION_THRESHOLDS = np.arange(51, dtype=np.float64)
NORM_PRECISION_THRESHOLDS = np.arange(51) / 100
METRICS = ("auc", "precision", "norm_precision", "norm_precision_auc", "success_50", "average_overlap")

Absent = Literal["exclude", "miss", "uav"]


@dataclass(frozen=True)
class OPEResult:
    """The scores of one sequence, or their mean over sequences, as fractions in [0, 1].

    A sequence without a scored frame has NaN everywhere and `n_frames` 0; averages leave it out.
    """

    auc: float
    precision: float
    norm_precision: float
    norm_precision_auc: float
    success_50: float
    average_overlap: float
    success_curve: np.ndarray
    precision_curve: np.ndarray
    norm_precision_curve: np.ndarray
    n_frames: int
    n_missing: int
    definition: str = "OPE"

    def values(self) -> np.ndarray:
        """The scalars named in `METRICS`, in that order."""
        return np.array([getattr(self, name) for name in METRICS])


def evaluate(
    pred_xywh_px: np.ndarray,
    gt_xywh_px: np.ndarray,
    *,
    absent: Absent = "exclude",
    first_given: bool = False,
    legacy: bool = False,
) -> OPEResult:
    """OPE of one sequence: predictions `[m, 4]` against truth `[n, 4]`, x, y, width, height in pixels.

    Predictions beyond the truth's length are ignored, missing ones at the end count as missing. `legacy=True` clamps
    x, y, width and height of both to [1, 100] px first, as the paper's released script does: not a measure of
    anything, kept only to relate published figures. Raises ValueError if an array is not `[n, 4]`.
    """
    if absent not in ("exclude", "miss", "uav"):
        raise ValueError(f"absent is exclude, miss or uav, not {absent!r}")
    gt = _rows(gt_xywh_px, "truth")
    pred = _fit(_rows(pred_xywh_px, "prediction"), gt, first_given)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        present = np.isfinite(gt).all(0) & (gt[2:] > 0).all(0)
        found = np.isfinite(pred).all(0) & (pred[2:] >= 0).all(0)
        if legacy:
            pred, gt = np.clip(pred, 1, 100), np.clip(gt, 1, 100)
        overlap, error, norm_error = _errors(pred, gt)
    missed = ~(present & found)
    n_missing = int(missed.sum())
    if n_missing:
        overlap[missed] = 0.0
        error[missed] = norm_error[missed] = np.inf
    if not present.all():
        n_missing -= int((~present).sum())
        if absent == "uav":
            error[~present] = norm_error[~present] = -1.0
        elif absent == "exclude":
            overlap, error, norm_error = overlap[present], error[present], norm_error[present]
    n = len(overlap)
    share = 1 / n if n else np.nan
    success = (n - _at_most(overlap, SUCCESS_THRESHOLDS)) * share
    precision = _at_most(error, PRECISION_THRESHOLDS) * share
    norm_precision = _at_most(norm_error, NORM_PRECISION_THRESHOLDS) * share
    return OPEResult(
        auc=float(success.mean()),
        precision=float(precision[20]),
        norm_precision=float(norm_precision[20]),
        norm_precision_auc=float(norm_precision.mean()),
        success_50=float(success[10]),
        average_overlap=float(overlap.sum() * share),
        success_curve=success,
        precision_curve=precision,
        norm_precision_curve=norm_precision,
        n_frames=n,
        n_missing=n_missing,
        definition="legacy (boxes clamped to 1..100 px)" if legacy else "OPE",
    )


def evaluate_sequences(
    preds_xywh_px: Sequence[np.ndarray],
    gts_xywh_px: Sequence[np.ndarray],
    *,
    absent: Absent = "exclude",
    first_given: bool = False,
    legacy: bool = False,
) -> list[OPEResult]:
    """`evaluate` for each of many sequences."""
    if len(preds_xywh_px) != len(gts_xywh_px):
        raise ValueError(f"{len(preds_xywh_px)} predicted sequences but {len(gts_xywh_px)} true ones")
    return [
        evaluate(pred, gt, absent=absent, first_given=first_given, legacy=legacy)
        for pred, gt in zip(preds_xywh_px, gts_xywh_px, strict=True)
    ]


def average(results: Sequence[OPEResult]) -> OPEResult:
    """The mean over sequences; sequences without a scored frame are left out. Raises ValueError if none is left."""
    scored = [r for r in results if r.n_frames]
    if not scored:
        raise ValueError("no sequence with a scored frame")
    scalars = np.mean([r.values() for r in scored], axis=0)
    return OPEResult(
        **dict(zip(METRICS, map(float, scalars), strict=True)),
        success_curve=np.mean([r.success_curve for r in scored], axis=0),
        precision_curve=np.mean([r.precision_curve for r in scored], axis=0),
        norm_precision_curve=np.mean([r.norm_precision_curve for r in scored], axis=0),
        n_frames=sum(r.n_frames for r in scored),
        n_missing=sum(r.n_missing for r in scored),
        definition=scored[0].definition,
    )


def _rows(boxes: np.ndarray, name: str) -> np.ndarray:
    """`[4, n]`: numpy is several times slower along an axis of length 2 or 4."""
    boxes = np.asarray(boxes, dtype=np.float64)
    if boxes.size == 0:
        return np.empty((4, 0))
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{name}: boxes are an array [n, 4] of x, y, width, height, got shape {boxes.shape}")
    return boxes.T.copy()


def _fit(pred: np.ndarray, gt: np.ndarray, first_given: bool) -> np.ndarray:
    """Predictions `[4, m]` cut or filled with NaN to the truth's length `[4, n]`."""
    if pred.shape != gt.shape:
        fitted = np.full_like(gt, np.nan)
        fitted[:, : pred.shape[1]] = pred[:, : gt.shape[1]]
        pred = fitted
    if first_given:
        pred[:, :1] = gt[:, :1]
    return pred


def _errors(pred: np.ndarray, gt: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """IoU, centre error in px and normalised centre error `[n]` of boxes `[4, n]`."""
    pred_side, gt_side = pred[2:], gt[2:]
    side = np.minimum(pred[:2] + pred_side, gt[:2] + gt_side)
    side -= np.maximum(pred[:2], gt[:2])
    np.maximum(side, 0, out=side)
    overlap = side[0] * side[1]
    overlap /= pred_side[0] * pred_side[1] + gt_side[0] * gt_side[1] - overlap
    np.minimum(overlap, 1, out=overlap)
    offset = (pred[:2] + 0.5 * pred_side) - (gt[:2] + 0.5 * gt_side)
    norm_offset = offset / gt_side
    return overlap, _length(offset), _length(norm_offset)


def _length(offset: np.ndarray) -> np.ndarray:
    offset *= offset
    return np.sqrt(offset[0] + offset[1])


def _at_most(values: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """How many of the values are <= each threshold; leaves the values sorted, which is quicker than to compare each."""
    values.sort()
    return values.searchsorted(thresholds, side="right")
