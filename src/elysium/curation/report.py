"""The report of a curation: filter funnel, the columns of the paper's Table 1, histograms, drawn samples.

Writes `report.html`, `report.md`, `funnel.png`, `histograms.png`, `reliability.png`, `samples/*.png` and `counts.json`;
the same data set gives the same report.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import jinja2
import matplotlib
import numpy as np

from elysium.curation.calibrate import shipped_reliability
from elysium.curation.filters import FILTERS
from elysium.data.shards import Shard, decode_jpeg
from elysium.samples import VideoRecord

matplotlib.use("Agg")
from matplotlib import pyplot as plt

CAPTION_FILTERS = tuple(
    f"caption_{name}" for name in ("language", "pronoun", "meta", "plural", "virtual", "name", "repeated")
)
WHAT = {
    "caption_language": "caption not in English",
    "caption_pronoun": "no noun at its head",
    "caption_meta": "names the picture itself",
    "caption_plural": "plural, counted or collective",
    "caption_virtual": "abstract (virtual) word",
    "caption_name": "proper name",
    "caption_repeated": "said before of the same video",
    "shot_too_short": "shot too short",
    "grounding_first": "not grounded in the first frame",
    "grounding_middle": "not grounded in the middle frame",
    "grounding_last": "not grounded in the last frame",
    "tracking_confidence": "tracking confidence at or under the threshold",
    "drift": "extreme drift (Kalman filter)",
    "iou_middle": "track and grounding apart in the middle frame",
    "iou_last": "track and grounding apart in the last frame",
    "not_unique": "evaluation split: not the only such object of the first frame",
}
SAMPLES = 12
_PANEL = 224  # pixels, side of a drawn frame
_INK = [(214, 39, 40), (31, 119, 180), (44, 160, 44), (255, 127, 14), (148, 103, 189), (23, 190, 207)]


def write(
    folder: Path,
    counts: Counter[str],
    by_input: dict[str, Counter[str]],
    records: Sequence[VideoRecord],
    quarantined: Sequence[dict[str, Any]],
    by_csrt: bool,
) -> None:
    """Write the report of records (without pixels; the tars lie in the folder above) and the counts of their making.

    `by_csrt`: an input was tracked by `csrt`, whose confidence is calibrated; the report then shows how well.
    """
    samples = folder / "samples"
    samples.mkdir(parents=True, exist_ok=True)
    for old in samples.glob("*.png"):
        old.unlink()
    table = table_one(records)
    funnel = {name: funnel_rows(part) for name, part in [("all inputs", counts), *sorted(by_input.items())]}
    drawn = draw_samples(folder.parent, records, samples)
    _plot_funnel(folder / "funnel.png", funnel["all inputs"])
    _plot_histograms(folder / "histograms.png", records)
    calibration = shipped_reliability() if by_csrt else None
    (folder / "reliability.png").unlink(missing_ok=True)
    if calibration:
        _plot_reliability(folder / "reliability.png", calibration["bins"])
    view = {
        "calibration": calibration,
        "table": table,
        "funnel": funnel,
        "what": WHAT,
        "counts": counts,
        "quarantined": quarantined,
        "drawn": drawn,
        "confidence": _confidence_rows(records),
    }
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("elysium", "assets"),
        autoescape=jinja2.select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    for name in ("report.html", "report.md"):
        (folder / name).write_text(environment.get_template(f"curation_{name}").render(view))
    body = {"counts": dict(sorted(counts.items())), "table": table, "inputs": {k: dict(v) for k, v in by_input.items()}}
    (folder / "counts.json").write_text(json.dumps(body, indent=1, sort_keys=True) + "\n")


def table_one(records: Sequence[VideoRecord]) -> list[dict[str, Any]]:
    """Rows of the paper's Table 1 per split: trajectories, expressions, duration in seconds (of all trajectories)."""
    rows = []
    for split in ("train", "eval"):
        part = [r for r in records if r.metadata["split"] == split]
        tracks = [(r, o) for r in part for o in r.objects]
        seconds = sum(_seconds(r) for r in part)
        rows.append(
            {
                "split": split,
                "videos": len(part),
                "trajectories": len(tracks),
                "expressions": len(tracks),
                "distinct": len({o.expression.lower() for _, o in tracks}),
                "seconds": round(seconds, 2),
                "track_seconds": round(sum(_seconds(r) for r, _ in tracks), 2),
                "frames": sum(len(r.frame_times) for r in part),
            }
        )
    return rows


def _seconds(record: VideoRecord) -> float:
    """A clip lasts until the end of its last frame."""
    times = record.frame_times
    return times[-1] - times[0] + (times[-1] - times[0]) / max(1, len(times) - 1)


def funnel_rows(counts: Counter[str]) -> list[tuple[str, int, int]]:
    """(filter, how many it dropped, how many were left) in order; captions count chunks, the rest chunks per shot."""
    rows = []
    left = counts["chunks"]
    for name in CAPTION_FILTERS:
        left -= counts[name]
        rows.append((name, counts[name], left))
    left = counts["candidates"]
    for name in FILTERS:
        left -= counts[name]
        rows.append((name, counts[name], left))
    return rows


def _confidence_rows(records: Sequence[VideoRecord]) -> list[tuple[str, str, str, float, float]]:
    """(video, phrase, split, least confidence, drift) of the kept trajectories the pipeline was least sure of."""
    rows = [
        (record.metadata["video"], track.expression, record.metadata["split"], confidence, drift)
        for record in records
        for track, confidence, drift in zip(
            record.objects, record.metadata["confidence"], record.metadata["drift"], strict=True
        )
    ]
    return sorted(rows, key=lambda row: row[3])[:10]


def draw_samples(out: Path, records: Sequence[VideoRecord], folder: Path, count: int = SAMPLES) -> list[dict[str, str]]:
    """Four frames with all boxes of some records of each input, as PNG strips; file name and caption of each."""
    by_input: dict[str, list[VideoRecord]] = {}
    for record in records:
        by_input.setdefault(record.metadata["input"], []).append(record)
    chosen: list[VideoRecord] = []
    for part in by_input.values():
        picks = np.linspace(0, len(part) - 1, min(len(part), -(-count // len(by_input)))).astype(int)
        chosen += [part[i] for i in dict.fromkeys(picks.tolist())]
    wanted = {record.key for record in chosen}
    drawn = []
    for path in sorted([*out.glob("train-*.tar"), *out.glob("eval-*.tar")]):
        shard = Shard(path)
        for i in range(len(shard)):
            record = shard.header(i)
            if record.key in wanted:
                numbers = np.linspace(0, len(record.frame_times) - 1, 4).astype(int).tolist()
                name = f"{record.key}.png"
                strip = draw_strip(record, shard.frames(i, numbers), numbers)
                cv2.imwrite(str(folder / name), cv2.cvtColor(strip, cv2.COLOR_RGB2BGR))
                drawn.append({"file": name, "caption": " / ".join(record.captions), "split": record.metadata["split"]})
    return drawn


def draw_strip(record: VideoRecord, jpegs: Sequence[bytes], numbers: Sequence[int]) -> np.ndarray:
    """Frames side by side with boxes and a legend of phrases, RGB uint8."""
    panels = []
    for jpeg, number in zip(jpegs, numbers, strict=True):
        image = decode_jpeg(jpeg)
        scale = _PANEL / image.shape[0]
        image = cv2.resize(image, (max(1, round(image.shape[1] * scale)), _PANEL), interpolation=cv2.INTER_AREA)
        height, width = image.shape[:2]
        for i, track in enumerate(record.objects):
            box = track.boxes[number]
            if box is not None:
                corners = [round(v * s) for v, s in zip(box, (width, height, width, height), strict=True)]
                cv2.rectangle(image, corners[:2], corners[2:], _INK[i % len(_INK)], 2)
        cv2.putText(image, str(number), (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 0), 1, cv2.LINE_AA)
        panels.append(image)
    strip = np.hstack(panels)
    legend = np.full((18 * len(record.objects) + 6, strip.shape[1], 3), 255, dtype=np.uint8)
    for i, track in enumerate(record.objects):
        text = track.expression.encode("ascii", "replace").decode()
        at = (6, 16 + 18 * i)
        cv2.putText(legend, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, _INK[i % len(_INK)], 1, cv2.LINE_AA)
    return np.vstack([strip, legend])


def _plot_funnel(path: Path, rows: Sequence[tuple[str, int, int]]) -> None:
    names = [WHAT[name] for name, _, _ in rows]
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    at = np.arange(len(rows))
    axes.barh(at, [left for _, _, left in rows], color="#4c78a8", label="left")
    starts = [left for _, _, left in rows]
    axes.barh(at, [dropped for _, dropped, _ in rows], left=starts, color="#e45756", label="dropped")
    axes.set_yticks(at, names, fontsize=8)
    axes.invert_yaxis()
    axes.axhline(len(CAPTION_FILTERS) - 0.5, color="grey", linewidth=0.8)
    axes.set_xlabel("noun chunks (above the line), noun chunks per shot (below)")
    axes.legend()
    figure.savefig(path, dpi=100, metadata={"Software": None})
    plt.close(figure)


def _plot_reliability(path: Path, bins: Sequence[tuple[float, float, int]]) -> None:
    """Confidence against the share of right boxes; a dot's number is how many frames it stands for."""
    figure, axes = plt.subplots(figsize=(4.5, 4), layout="constrained")
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle="--", label="as sure as right")
    axes.plot([mean for mean, _, _ in bins], [share for _, share, _ in bins], "o-", color="#4c78a8", label="measured")
    for mean, share, count in bins:
        axes.annotate(str(count), (mean, share), textcoords="offset points", xytext=(4, -10), fontsize=7)
    axes.set_xlabel("confidence of the tracker")
    axes.set_ylabel("share of boxes with IoU of 0.3 and more")
    axes.legend()
    figure.savefig(path, dpi=100, metadata={"Software": None})
    plt.close(figure)


def _plot_histograms(path: Path, records: Sequence[VideoRecord]) -> None:
    lengths = [len(r.frame_times) for r in records]
    tracks = [(r, o) for r in records for o in r.objects]
    sizes, motions = [], []
    for _, track in tracks:
        boxes = np.array([b for b in track.boxes if b is not None])
        sides = boxes[:, 2:] - boxes[:, :2]
        sizes.append(float(np.sqrt(sides.prod(1)).mean()))
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        steps = np.linalg.norm(np.diff(centres, axis=0), axis=1) / np.linalg.norm(sides[:-1], axis=1)
        motions.append(float(steps.mean()) if len(steps) else 0.0)
    words = Counter(o.expression.lower().split()[-1] for _, o in tracks).most_common(12)
    figure, axes = plt.subplots(2, 2, figsize=(9, 6), layout="constrained")
    for axis, values, title in (
        (axes[0, 0], lengths, "frames per clip"),
        (axes[0, 1], sizes, "box side (share of the frame)"),
        (axes[1, 0], motions, "motion (box diagonals per frame)"),
    ):
        if values:
            axis.hist(values, bins=16, color="#4c78a8")
        axis.set_title(title)
    axes[1, 1].barh([w for w, _ in words][::-1], [n for _, n in words][::-1], color="#4c78a8")
    axes[1, 1].set_title("last word of the expression")
    figure.savefig(path, dpi=100, metadata={"Software": None})
    plt.close(figure)
