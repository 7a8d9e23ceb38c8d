"""The table and the plot of the ablation, made anew from the results alone; intervals are over the seeds."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student_t

from elysium.ablations import variants
from elysium.config import Params
from elysium.errors import UserError
from elysium.evaluation.report import write_csv
from elysium.files import write_atomic

FIGURES = {"acc50": "REC accuracy at 0.5", "sot_auc": "SOT AUC", "rsot_auc": "RSOT AUC"}
PAPERS = "tselector-3_16"


def results(params: Params) -> list[dict[str, Any]]:
    """All results that are there, in the order of the table, seeds ascending."""
    order = list(variants())
    found = [json.loads(p.read_text()) for p in (Path(params.artifacts) / "ablations").glob("*/result.json")]
    return sorted((r for r in found if r["variant"] in order), key=lambda r: (order.index(r["variant"]), r["seed"]))


def rows(found: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One row per variant: means over its seeds, each with the half width of its 95% interval (Student's t)."""
    for name in dict.fromkeys(r["variant"] for r in found):
        runs = [r for r in found if r["variant"] == name]
        n = len(runs)
        row = {k: runs[0][k] for k in ("variant", "tokens", "gflops_8_frames")} | {"seeds": n}
        for figure in (f for f in FIGURES if f in runs[0]):
            values = np.array([r[figure] for r in runs])
            spread = float(values.std(ddof=1)) if n > 1 else math.nan
            half = float(student_t.ppf(0.975, n - 1)) * spread / math.sqrt(n) if n > 1 else math.nan
            row |= {figure: round(float(values.mean()), 2), f"{figure}_interval": round(half, 3)}
        yield row | {"loss": round(float(np.mean([r["loss"] for r in runs])), 3)}


def summarise(params: Params) -> Path:
    """Write `table7.csv`, `table7.md` and `table7.png` beside the results; returns their folder.

    Raises UserError if there is no result yet.
    """
    table = list(rows(results(params)))
    out = Path(params.artifacts) / "ablations"
    if not table:
        raise UserError(f"{out}: no result there; run `python flows/ablations.py`")
    write_csv(table, out / "table7.csv")
    write_atomic(out / "table7.md", _markdown(table))
    _plot(table, out / "table7.png")
    return out


def _markdown(table: list[dict[str, Any]]) -> str:
    parts = [_grid([r for r in table if "acc50" in r]), _grid([r for r in table if "acc50" not in r])]
    return "\n\n".join([*(p for p in parts if p), "± is the half width of the mean's 95% interval over the seeds.\n"])


def _grid(table: list[dict[str, Any]]) -> str:
    """A table of variants with the same figures."""
    if not table:
        return ""
    figures = [f for f in FIGURES if f in table[0]]
    names = " | ".join(FIGURES[f] for f in figures)
    lines = [f"| variant | tokens a frame | GFLOPs, 8 frames | {names} | seeds |"]
    lines += ["| --- | --: | --: " + "| --: " * len(figures) + "| --: |"]
    for r in table:
        told = [f"{r[f]:.1f}" + _plus_minus(r[f"{f}_interval"]) for f in figures]
        cells = [r["variant"], r["tokens"], f"{r['gflops_8_frames']:.2f}", *told, r["seeds"]]
        lines += [f"| {' | '.join(map(str, cells))} |"]
    return "\n".join(lines)


def _plus_minus(interval: float) -> str:
    return "" if math.isnan(interval) else f" ± {interval:.1f}"


def _plot(table: list[dict[str, Any]], path: Path) -> None:
    """The T-Selector over tokens and over FLOPs, without a compressor for comparison; the others by name."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    table = [r for r in table if "acc50" in r]
    curve = [r for r in table if r["variant"].startswith("tselector") and r["variant"].count("-") == 1]
    ends = [r for r in table if r["variant"] == "none"]
    named = sorted((r for r in table if r not in curve or r["variant"] == PAPERS), key=lambda r: float(r["acc50"]))
    style = {"capsize": 3, "marker": "o"}
    figure, axes = pyplot.subplots(1, 3, figsize=(13, 4), layout="constrained")
    for axis, key, label in zip(
        axes, ("tokens", "gflops_8_frames"), ("vision tokens a frame", "GFLOPs for 8 frames"), strict=False
    ):
        for drawn, name, line in ((curve, "T-Selector", "-"), (ends, "none", "")):
            x, y, e = ([r[k] for r in drawn] for k in (key, "acc50", "acc50_interval"))
            axis.errorbar(x, y, yerr=np.nan_to_num(e), label=name, linestyle=line, **style)
        axis.set_xlabel(label)
        axis.set_ylabel("REC accuracy at 0.5 (%)")
        axis.legend()
    for r in named:
        colour = "C0" if r["variant"] == PAPERS else "C1" if r["variant"] == "none" else "0.4"
        name = f"{r['variant']} ({r['tokens']})"
        axes[2].errorbar(r["acc50"], name, xerr=np.nan_to_num(r["acc50_interval"]), color=colour, **style)
    axes[2].set_xlabel("REC accuracy at 0.5 (%)")
    axes[2].set_title("tokens a frame in brackets", fontsize="medium")
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
