"""From stored predictions to rows of figures. Figures are in percent, as the paper prints them.

A row is `{"set", "task", "method", "n", <metric>: value, <metric>_low / _high: 95% interval}`. Our method is
`elysium`; the baselines are `held` (the box of frame 1, given or found by REC), `per_frame` (REC on each frame alone,
Table 5), `csrt` (from the box of frame 1, given or found by REC), and `one_frame` (REG on one frame, Table 6).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from elysium.boxes import as_array, iou
from elysium.evaluation import ope, rec
from elysium.evaluation.baselines import held
from elysium.evaluation.bootstrap import confidence_interval
from elysium.evaluation.items import boxes_px
from elysium.evaluation.reg import REGScorer

Rows = list[dict[str, Any]]  # lines of a prediction file, or rows of figures

NAMES = {
    "elysium": "Elysium (ours)",
    "held": "frame 1 held still",
    "per_frame": "REC on each frame",
    "csrt": "CSRT (OpenCV)",
    "one_frame": "REG on one frame",
    "given": "the given predictions",
}
TRACKING = ("auc", "precision", "norm_precision", "norm_precision_auc", "success_50")


@dataclass
class Scores:
    """All figures of a set: rows for the tables, and per task and method the results of each sequence."""

    rows: Rows = field(default_factory=list)
    sequences: dict[tuple[str, str], list[ope.OPEResult]] = field(default_factory=dict)
    items: dict[tuple[str, str], Rows] = field(default_factory=dict)
    groups: Rows = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def score_set(
    name: str,
    jobs: Mapping[str, Rows],
    tasks: Sequence[str],
    reg: REGScorer | None,
    absent: ope.Absent = "exclude",
) -> Scores:
    """Score the predictions (`job -> lines`) of one set. Tasks without predictions are passed over.

    `absent` is how OPE counts frames without the object. A tracking line has normalised `boxes` and `truth`; where it
    has `boxes_px` and `truth_px`, too (`[n, 4]` x, y, width, height), OPE takes those, so that whole pixels stay whole.
    """
    scores = Scores()
    if "rec" in tasks and jobs.get("frames"):
        scores.rows += _rec(name, jobs["frames"])
    for task in ("sot", "rsot"):
        if task in tasks and jobs.get(task):
            _tracking(scores, name, task, _methods(task, jobs), absent)
    if "rsot" in tasks and jobs.get("rsot"):
        _follows_words(scores, name, jobs["rsot"])
    if "reg" in tasks and jobs.get("reg"):
        assert reg is not None
        for job, method in (("reg", "elysium"), ("reg_one_frame", "one_frame")):
            if jobs.get(job):
                _reg(scores, name, method, jobs[job], reg)
    return scores


def _methods(task: str, jobs: Mapping[str, Rows]) -> dict[str, Rows]:
    """Our predictions and those of the baselines, all on the same sequences."""
    ours = jobs[task]
    if task == "sot":
        still = [_held(r, "truth") for r in ours]
        return {"elysium": ours, "held": still} | ({"csrt": jobs["csrt"]} if jobs.get("csrt") else {})
    alone = jobs.get("frames")
    still = [_held(r, "boxes") for r in alone or ours]
    others = {"per_frame": alone, "csrt": jobs.get("csrt_words")}
    return {"elysium": ours, "held": still} | {method: lines for method, lines in others.items() if lines}


def _held(line: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The line with the first box of `source` (truth or boxes) in every frame."""
    n = len(line["frames"])
    still = {**line, "boxes": held(line[source][0], n)}
    if f"{source}_px" in line:
        still["boxes_px"] = np.repeat(line[f"{source}_px"][:1], n, axis=0)
    return still


def _pixels(line: Mapping[str, Any], source: str) -> np.ndarray:
    exact = line.get(f"{source}_px")
    return boxes_px(line[source], line["frame_size"]) if exact is None else exact


def _tracking(scores: Scores, name: str, task: str, methods: Mapping[str, Rows], absent: ope.Absent) -> None:
    """SOT and RSOT by OPE. In SOT the first box is given: it counts as right for every method, as in the toolkits."""
    for method, lines in methods.items():
        pred = [_pixels(r, "boxes") for r in lines]
        truth = [_pixels(r, "truth") for r in lines]
        results = ope.evaluate_sequences(pred, truth, absent=absent, first_given=task == "sot")
        mean = ope.average(results)
        videos = [r["video"] for r in lines]
        low, high = confidence_interval(np.array([r.values() for r in results]), videos)
        row: dict[str, Any] = {"set": name, "task": task, "method": method, "n": len(results)}
        for i, metric in enumerate(ope.METRICS):
            row |= _percent(metric, getattr(mean, metric), low[i], high[i])
        row["no_box"] = round(100 * mean.n_missing / mean.n_frames, 2)
        faulty = ope.evaluate_sequences(pred, truth, absent=absent, first_given=task == "sot", legacy=True)
        legacy = ope.average(faulty)
        row["legacy_auc"] = round(100 * legacy.auc, 2)
        scores.rows.append(row)
        scores.sequences[task, method] = results
        scores.items[task, method] = lines
        scores.groups += _by_group(name, task, method, lines, results)


def _rec(name: str, lines: Rows) -> Rows:
    """Accuracy at IoU 0.5 over the frames with the object in them that answer the expression alone; one row or none."""
    pred, truth, videos = [], [], []
    for r in lines:
        answerable = r.get("answerable") or [True] * len(r["boxes"])
        for box, true, asked in zip(r["boxes"], r["truth"], answerable, strict=True):
            if true is not None and asked:
                pred.append(box)
                truth.append(true)
                videos.append(r["video"])
    if not videos:
        return []
    right = rec.hits(as_array(pred), as_array(truth)).astype(float)
    low, high = confidence_interval(right, videos)
    row = {"set": name, "task": "rec", "method": "elysium", "n": len(right)}
    return [row | _percent("acc50", float(right.mean()), float(low), float(high))]


def _reg(scores: Scores, name: str, method: str, lines: Rows, scorer: REGScorer) -> None:
    result = scorer.score([r["phrase"] for r in lines], [r["references"] for r in lines])
    videos = [r["video"] for r in lines]
    row: dict[str, Any] = {"set": name, "task": "reg", "method": method, "n": len(lines)}
    for metric, value in result.scores.items():
        if metric == "meteor":  # a corpus score, not the mean of the phrases' scores
            row[metric] = round(100 * value, 2)
        else:
            low, high = confidence_interval(result.per_sample[metric], videos)
            row |= _percent(metric, value, float(low), float(high))
    scores.rows.append(row)
    if result.note and result.note not in scores.notes:
        scores.notes.append(result.note)


def _follows_words(scores: Scores, name: str, lines: Rows) -> None:
    """With the words of object B in a scene that also holds A: how often the tracked box stays with B rather than A.

    Over ordered pairs of objects of a scene with different expressions; chance, or a tracker deaf to words, is 50 or
    less. `follows_words` goes to our RSOT row.
    """
    by_video: dict[str, Rows] = {}
    for r in lines:
        by_video.setdefault(r["video"], []).append(r)
    outcomes, videos = [], []
    for video, scene in by_video.items():
        for asked in scene:
            for other in scene:
                if asked is other or asked["expression"] == other["expression"]:
                    continue
                outcomes.append(float(_mean_iou(asked, asked) > _mean_iou(asked, other)))
                videos.append(video)
    if not outcomes:
        scores.notes.append(f"{name}: no scene with two different expressions, so `follows_words` is not measured")
        return
    low, high = confidence_interval(np.array(outcomes), videos)
    row = next(r for r in scores.rows if (r["task"], r["method"]) == ("rsot", "elysium"))
    row |= _percent("follows_words", float(np.mean(outcomes)), float(low), float(high))


def _mean_iou(predicted: Mapping[str, Any], object_: Mapping[str, Any]) -> float:
    """Mean IoU of one line's prediction with another line's truth, over the frames that both have."""
    truth = dict(zip(object_["frames"], object_["truth"], strict=True))
    both = [(b, truth[f]) for f, b in zip(predicted["frames"], predicted["boxes"], strict=True) if f in truth]
    return float(iou(as_array([b for b, _ in both]), as_array([t for _, t in both])).mean()) if both else 0.0


def relative_size(line: Mapping[str, Any]) -> float:
    """Mean over the frames of sqrt(box area / frame area): the side of the object relative to the frame's."""
    boxes = as_array([b for b in line["truth"] if b is not None])
    return float(np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1)).mean())


def relative_motion(line: Mapping[str, Any]) -> float:
    """Median over neighbouring frames of the centre's step, relative to the object's side."""
    boxes = as_array(line["truth"])
    steps = np.linalg.norm(np.diff((boxes[:, :2] + boxes[:, 2:]) / 2, axis=0), axis=1)
    steps = steps[np.isfinite(steps)]
    return float(np.median(steps) / max(relative_size(line), 1e-9)) if len(steps) else 0.0


GROUPS: dict[str, tuple[Callable[[Mapping[str, Any]], float], tuple[float, ...]]] = {
    "size": (relative_size, (0, 0.1, 0.2, 0.3, float("inf"))),
    "motion": (relative_motion, (0, 0.05, 0.15, 0.5, float("inf"))),
    "frames": (lambda line: float(len(line["frames"])), (0, 16.5, 64.5, 512.5, float("inf"))),
}


def _by_group(name: str, task: str, method: str, lines: Rows, results: Sequence[ope.OPEResult]) -> Rows:
    """AUC by size, motion and length of the sequences; bins without a sequence are left out."""
    rows = []
    for kind, (measure, edges) in GROUPS.items():
        bins = np.digitize([measure(line) for line in lines], edges[1:-1])
        for i in range(len(edges) - 1):
            chosen = [r for r, b in zip(results, bins, strict=True) if b == i]
            if chosen:
                mean = ope.average(chosen)
                row = {"set": name, "task": task, "method": method, "by": kind, "from": edges[i], "to": edges[i + 1]}
                rows.append(row | {"n": len(chosen), "auc": round(100 * mean.auc, 2)})
    return rows


def figures(metric: str, values: np.ndarray, videos: Sequence[Any], *, percent: bool = True) -> dict[str, float]:
    """The mean of one value per sample with its 95% interval over videos, as columns of a row."""
    values = np.asarray(values, dtype=np.float64) / (1 if percent else 100)
    low, high = confidence_interval(values, videos)
    return _percent(metric, float(values.mean()), float(low), float(high))


def _percent(metric: str, value: float, low: float, high: float) -> dict[str, float]:
    names = (metric, f"{metric}_low", f"{metric}_high")
    return {n: round(100 * float(v), 2) for n, v in zip(names, (value, low, high), strict=True)}


def flat_metrics(rows: Rows) -> dict[str, float]:
    """Names as `world/sot/auc`, for our method, and `world/sot/held/auc` for a baseline.

    `<set>/<task>/margin` is our AUC less the best of the baselines `held` and `per_frame`.
    """
    flat: dict[str, float] = {}
    for row in rows:
        prefix = f"{row['set']}/{row['task']}/" + ("" if row["method"] == "elysium" else f"{row['method']}/")
        flat |= {prefix + k: v for k, v in row.items() if k not in ("set", "task", "method")}
    for row in rows:
        if row["method"] == "elysium" and "auc" in row:
            prefix = f"{row['set']}/{row['task']}/"
            best = max(flat[f"{prefix}{b}/auc"] for b in ("held", "per_frame") if f"{prefix}{b}/auc" in flat)
            flat[prefix + "margin"] = round(row["auc"] - best, 2)
    return flat
