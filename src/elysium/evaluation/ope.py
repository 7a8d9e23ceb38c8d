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
    return evaluate_sequences([pred_xywh_px], [gt_xywh_px], absent=absent, first_given=first_given, legacy=legacy)[0]


def evaluate_sequences(
    preds_xywh_px: Sequence[np.ndarray],
    gts_xywh_px: Sequence[np.ndarray],
    *,
    absent: Absent = "exclude",
    first_given: bool = False,
    legacy: bool = False,
) -> list[OPEResult]:
    """`evaluate` for many sequences in one pass over all their frames."""
    if absent not in ("exclude", "miss", "uav"):
        raise ValueError(f"absent is exclude, miss or uav, not {absent!r}")
    if len(preds_xywh_px) != len(gts_xywh_px):
        raise ValueError(f"{len(preds_xywh_px)} predicted sequences but {len(gts_xywh_px)} true ones")
    if not gts_xywh_px:
        return []
    gts = [_check(gt, "truth") for gt in gts_xywh_px]
    lengths = np.array([len(gt) for gt in gts])
    preds = [_fit(_check(p, "prediction"), gt, first_given) for p, gt in zip(preds_xywh_px, gts, strict=True)]
    pred, gt = np.concatenate(preds), np.concatenate(gts)
    sequence = np.repeat(np.arange(len(gts)), lengths)

    with np.errstate(invalid="ignore"):
        present = _finite(gt) & (gt[:, 2] > 0) & (gt[:, 3] > 0)
        found = _finite(pred) & (pred[:, 2] >= 0) & (pred[:, 3] >= 0)
    if legacy:
        pred, gt = np.clip(pred, 1, 100), np.clip(gt, 1, 100)
    overlap, error, norm_error = _errors(pred, gt, present & found)
    if absent == "uav":
        error[~present] = norm_error[~present] = -1.0
    kept = present if absent == "exclude" else np.ones_like(present)

    n = len(gts)
    overlap, error, norm_error, sequence_kept = overlap[kept], error[kept], norm_error[kept], sequence[kept]
    frames = np.bincount(sequence_kept, minlength=n)
    missing = np.bincount(sequence[present & ~found], minlength=n)
    with np.errstate(invalid="ignore"):
        share = 1.0 / np.where(frames > 0, frames, np.nan)[:, None]
        success = (frames[:, None] - _at_most(overlap, SUCCESS_THRESHOLDS, sequence_kept, n)) * share
        precision = _at_most(error, PRECISION_THRESHOLDS, sequence_kept, n) * share
        norm_precision = _at_most(norm_error, NORM_PRECISION_THRESHOLDS, sequence_kept, n) * share
        average = np.bincount(sequence_kept, weights=overlap, minlength=n) * share[:, 0]
    return [
        OPEResult(
            auc=float(success[i].mean()),
            precision=float(precision[i, 20]),
            norm_precision=float(norm_precision[i, 20]),
            norm_precision_auc=float(norm_precision[i].mean()),
            success_50=float(success[i, 10]),
            average_overlap=float(average[i]),
            success_curve=success[i],
            precision_curve=precision[i],
            norm_precision_curve=norm_precision[i],
            n_frames=int(frames[i]),
            n_missing=int(missing[i]),
            definition="legacy (boxes clamped to 1..100 px)" if legacy else "OPE",
        )
        for i in range(n)
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


def _check(boxes: np.ndarray, name: str) -> np.ndarray:
    boxes = np.asarray(boxes, dtype=np.float64)
    if boxes.size == 0:
        return boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{name}: boxes are an array [n, 4] of x, y, width, height, got shape {boxes.shape}")
    return boxes


def _finite(boxes: np.ndarray) -> np.ndarray:
    finite = np.isfinite(boxes)
    return finite[:, 0] & finite[:, 1] & finite[:, 2] & finite[:, 3]


def _fit(pred: np.ndarray, gt: np.ndarray, first_given: bool) -> np.ndarray:
    """Predictions cut or filled with NaN to the truth's length."""
    fitted = np.full_like(gt, np.nan)
    fitted[: len(pred)] = pred[: len(gt)]
    if first_given:
        fitted[:1] = gt[:1]
    return fitted


def _errors(pred: np.ndarray, gt: np.ndarray, scored: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """IoU, centre error in px and normalised centre error `[n]`; (0, inf, inf) on rows that are not scored."""
    overlap = np.zeros(len(pred))
    error, norm_error = np.full(len(pred), np.inf), np.full(len(pred), np.inf)
    # Column by column: numpy is several times slower along an axis of length 2 or 4.
    px, py, pw, ph = np.ascontiguousarray(pred[scored].T)
    gx, gy, gw, gh = np.ascontiguousarray(gt[scored].T)
    inter = np.maximum(np.minimum(px + pw, gx + gw) - np.maximum(px, gx), 0)
    inter *= np.maximum(np.minimum(py + ph, gy + gh) - np.maximum(py, gy), 0)
    overlap[scored] = np.clip(inter / (pw * ph + gw * gh - inter), 0, 1)
    dx, dy = (px + pw / 2) - (gx + gw / 2), (py + ph / 2) - (gy + gh / 2)
    error[scored] = np.sqrt(dx * dx + dy * dy)
    dx /= gw
    dy /= gh
    norm_error[scored] = np.sqrt(dx * dx + dy * dy)
    return overlap, error, norm_error


def _at_most(values: np.ndarray, thresholds: np.ndarray, sequence: np.ndarray, n: int) -> np.ndarray:
    """`[n, thresholds]`: how many values of each sequence are <= each threshold."""
    k = len(thresholds)
    first = np.searchsorted(thresholds, values, side="left")  # the first threshold that the value does not exceed
    histogram = np.bincount(sequence * (k + 1) + first, minlength=n * (k + 1)).reshape(n, k + 1)
    return histogram[:, :k].cumsum(1)
