"""What writing boxes as whole numbers costs, by object size, and what finer numbers win back.

    python benchmarks/rounding.py [--out docs/images/rounding.png]

Boxes are drawn at random places, written as text and read back. Three ways of writing: 100 bins (the paper's), 1000
bins, and the soft coordinate, the mean of the model's distribution over 100 bins instead of its most likely bin. The
distribution is taken as a normal one around the coordinate that the model means, `sigma` bins wide, cut into bins: the
narrower it is, the less it tells. Left: the model means the truth. Right: what it means is off by 5% of the object's
side (standard deviation), and the loss against writing that exactly is shown.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.stats import norm

from elysium.boxes import format_box, iou, parse_boxes, to_xywh_px
from elysium.evaluation import ope

SIDES = np.array([0.01, 0.015, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5])
BOXES, FRAME = 4000, (1280, 720)
NOISE = 0.05  # of the object's side


def rounded(boxes: np.ndarray, bins: int) -> np.ndarray:
    """Boxes `[n, 4]` after `format_box` and `parse_boxes`, all at once: the centres of their bins."""
    return (np.clip(np.floor(boxes * bins + 1e-9), 0, bins - 1) + 0.5) / bins


def soft(boxes: np.ndarray, sigma: float, bins: int = 100) -> np.ndarray:
    """The mean of a normal distribution of `sigma` bins around each coordinate, cut into bins; `[n, 4]`."""
    edges = np.arange(bins + 1)
    cut = np.diff(norm.cdf((edges - boxes[..., None] * bins) / sigma), axis=-1)
    return (cut * (edges[:-1] + 0.5)).sum(-1) / cut.sum(-1) / bins


WRITINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "100 bins": lambda b: rounded(b, 100),
    "1000 bins": lambda b: rounded(b, 1000),
    "soft, sigma 0.15 bins": lambda b: soft(b, 0.15),
    "soft, sigma 0.3 bins": lambda b: soft(b, 0.3),
    "soft, sigma 1 bin": lambda b: soft(b, 1.0),
}


def measure() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """`writing -> mean IoU [sides]` of a perfect model, and `writing -> AUC lost [sides]`, percent, of a noisy one."""
    rng = np.random.default_rng(0)
    perfect: dict[str, list[float]] = {name: [] for name in WRITINGS}
    lost: dict[str, list[float]] = {name: [] for name in WRITINGS}
    for side in SIDES:
        corner = rng.uniform(0, 1 - side, (BOXES, 2))
        truth = np.concatenate([corner, corner + side], 1)
        assert parse_boxes(format_box(truth[0]), 1)[0] == tuple(rounded(truth[:1], 100)[0])
        meant = (truth + rng.normal(0, NOISE * side, truth.shape)).clip(0, 1)
        for name, write in WRITINGS.items():
            perfect[name].append(float(iou(write(truth), truth).mean()))
            lost[name].append(_auc(meant, truth) - _auc(write(meant), truth))
    return {k: np.array(v) for k, v in perfect.items()}, {k: np.array(v) for k, v in lost.items()}


def _auc(pred: np.ndarray, truth: np.ndarray) -> float:
    return 100 * ope.evaluate(to_xywh_px(pred, *FRAME), to_xywh_px(truth, *FRAME)).auc


def main() -> None:
    """Print both tables and draw them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/images/rounding.png"))
    out: Path = parser.parse_args().out
    tables = measure()
    for title, table in zip(("mean IoU, perfect model", "AUC lost, model off by 5%"), tables, strict=True):
        print(f"{title:26}" + "".join(f"{side:>7.1%}" for side in SIDES))
        for name, values in table.items():
            print(f"  {name:24}" + "".join(f"{v:>7.2f}" for v in values))
    figure = Figure(figsize=(10, 4.2))
    FigureCanvasAgg(figure)
    labels = ("Mean IoU of a perfect model", "AUC lost by a model that is off by 5% [points]")
    for k, (table, label) in enumerate(zip(tables, labels, strict=True)):
        axes = figure.add_axes((0.06 + 0.5 * k, 0.13, 0.43, 0.83))
        for i, (name, values) in enumerate(table.items()):
            axes.plot(
                100 * SIDES, values, label=name, marker="o", markersize=3, linestyle=("-", "--", ":", "-.", "-")[i]
            )
        axes.set(xscale="log", xlabel="Side of the object [% of the frame]", ylabel=label)
        axes.set_xticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
        axes.grid(True, alpha=0.4)
    axes.legend(fontsize=8)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110, metadata={"Software": None})
    print(out)


if __name__ == "__main__":
    main()
