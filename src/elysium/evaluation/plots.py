"""Success and precision plots as the toolkits draw them, and the same curves as CSV for `dvc plots`."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from elysium.evaluation import ope

_KINDS = {
    # file name: (curve, thresholds, label, unit of the x axis, scalar in the legend)
    "success": ("success_curve", ope.SUCCESS_THRESHOLDS, "Overlap threshold", "auc", "AUC"),
    "precision": ("precision_curve", ope.PRECISION_THRESHOLDS, "Location error threshold [px]", "precision", "P@20"),
    "norm_precision": (
        "norm_precision_curve",
        ope.NORM_PRECISION_THRESHOLDS,
        "Location error threshold, normalised",
        "norm_precision",
        "P_norm@0.2",
    ),
}


def draw_curves(means: Mapping[str, ope.OPEResult], title: str, folder: Path, name: str) -> list[Path]:
    """`<kind>_<name>.png` and `.csv` for the three curves of each method (`means`: label -> average over sequences).

    Methods are ordered by their score, which stands in the legend in percent.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for kind, (curve, thresholds, label, scalar, short) in _KINDS.items():
        order = sorted(means, key=lambda m: -getattr(means[m], scalar))
        figure = Figure(figsize=(5.6, 4.2))
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0.11, 0.12, 0.86, 0.8))
        for i, method in enumerate(order):
            values = 100 * getattr(means[method], curve)
            text = f"{method} [{100 * getattr(means[method], scalar):.1f}]"
            axes.plot(thresholds, values, label=text, linewidth=2, linestyle=("-", "--", "-.", ":")[i % 4])
        axes.set(xlabel=label, ylabel="Frames [%]", title=title, xlim=(0, thresholds[-1]), ylim=(0, 100))
        axes.grid(True, alpha=0.4)
        axes.legend(title=short, loc="lower left" if kind == "success" else "lower right", fontsize=8)
        path = folder / f"{kind}_{name}.png"
        figure.savefig(path, dpi=120, metadata={"Software": None})
        _write_csv(path.with_suffix(".csv"), thresholds, {m: getattr(means[m], curve) for m in order})
        paths.append(path)
    return paths


def draw_groups(groups: Sequence[Mapping[str, Any]], labels: Mapping[str, str], title: str, path: Path) -> Path | None:
    """AUC by object size, motion and length side by side, a line per method; None if there is nothing to compare.

    `groups` are the rows of one set and task (`elysium.evaluation.score`), `labels` the methods' names.
    """
    kinds = {"size": "Object's side / frame's", "motion": "Step / object's side", "frames": "Frames"}
    bins = {kind: sorted({(g["from"], g["to"]) for g in groups if g["by"] == kind}) for kind in kinds}
    if max(map(len, bins.values()), default=0) < 2:
        return None
    figure = Figure(figsize=(11, 3.6))
    FigureCanvasAgg(figure)
    for k, (kind, label) in enumerate(kinds.items()):
        axes = figure.add_axes((0.06 + 0.32 * k, 0.16, 0.28, 0.72))
        for i, method in enumerate(dict.fromkeys(g["method"] for g in groups)):
            values = {g["from"]: g["auc"] for g in groups if g["by"] == kind and g["method"] == method}
            found = [values.get(low, np.nan) for low, _ in bins[kind]]
            axes.plot(found, marker="o", label=labels[method], linestyle=("-", "--", "-.", ":")[i % 4])
        ticks = [f"{low:g}+" if np.isinf(high) else f"{low:g}-{high:g}" for low, high in bins[kind]]
        axes.set_xticks(range(len(ticks)), ticks, fontsize=8)
        axes.set(xlabel=label, ylim=(0, 100), ylabel="Success AUC [%]" if k == 0 else "", title=title if k == 1 else "")
        axes.grid(True, alpha=0.4)
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    return path


def _write_csv(path: Path, thresholds: np.ndarray, curves: Mapping[str, np.ndarray]) -> None:
    """One line per method and threshold: `threshold,percent,method`."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["threshold", "percent", "method"])
        for method, curve in curves.items():
            for threshold, value in zip(thresholds, curve, strict=True):
                writer.writerow([f"{threshold:.2f}", f"{100 * value:.3f}", method])
