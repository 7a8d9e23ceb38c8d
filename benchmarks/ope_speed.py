"""Scoring a data set of LaSOT's size: our OPE beside the GOT-10k toolkit's, in one run on one core, equal figures.

    python benchmarks/ope_speed.py [--sequences 280] [--frames 2500]

Ours makes three curves (success, precision, normalised precision), the toolkit's OTB experiment two. Once on arrays,
once from text files (truth and results, one line a frame), each side with its own reader, and once from these files to
plots and a JSON file of every sequence's curves: there the toolkit's side is its own `report`.
"""

import argparse
import contextlib
import io
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from got10k.experiments.otb import ExperimentOTB

from elysium.evaluation import ope, plots
from elysium.evaluation.benchmarks.sequences import read_boxes

ROUNDS = 3


def main() -> None:
    """Print the best of three rounds of both sides and their ratio; fails if the figures differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sequences", type=int, default=280)
    parser.add_argument("--frames", type=int, default=2500)
    arguments = parser.parse_args()
    matplotlib.use("Agg")
    rng = np.random.default_rng(0)
    gts, preds = [], []
    for _ in range(arguments.sequences):
        start, step = rng.uniform(50, 400, 4), rng.normal(0, 1, (arguments.frames, 4))
        gt = np.abs(start + step.cumsum(0)).round() + 5
        gts.append(gt)
        preds.append(gt + rng.normal(0, 6, gt.shape).clip(-4))
    ours = best_of(lambda: ope.average(ope.evaluate_sequences(preds, gts)))
    theirs = best_of(lambda: toolkit_curves(preds, gts))
    compare(arguments, "arrays", ours, theirs)
    with tempfile.TemporaryDirectory() as folder:
        paths = [(Path(folder) / f"{i}.gt.txt", Path(folder) / f"{i}.txt") for i in range(len(gts))]
        for (true, told), gt, pred in zip(paths, gts, preds, strict=True):
            np.savetxt(true, gt, fmt="%d", delimiter=",")
            np.savetxt(told, pred, fmt="%.3f", delimiter=",")

        def ours_from_files() -> ope.OPEResult:
            found = [(read_boxes(told, None, None, result=True), read_boxes(true, None, None)) for true, told in paths]
            return ope.average(ope.evaluate_sequences(*map(list, zip(*found, strict=True))))

        def theirs_from_files() -> tuple[np.ndarray, np.ndarray]:
            found = [(np.loadtxt(told, delimiter=","), np.loadtxt(true, delimiter=",")) for true, told in paths]
            return toolkit_curves(*map(list, zip(*found, strict=True)))

        compare(arguments, "text files", best_of(ours_from_files), best_of(theirs_from_files))

        def our_report() -> ope.OPEResult:
            pred, gt = [], []
            for true, told in paths:
                pred.append(read_boxes(told, None, None, result=True))
                gt.append(read_boxes(true, None, None))
            results = ope.evaluate_sequences(pred, gt, first_given=True)
            mean = ope.average(results)
            told = {f"{i}": {k: np.asarray(v).tolist() for k, v in vars(r).items()} for i, r in enumerate(results)}
            (Path(folder) / "ours.json").write_text(json.dumps(told, indent=4))
            plots.draw_curves({"tracker": mean}, "OPE", Path(folder) / "ours", "all")
            return mean

        def toolkit_report() -> tuple[np.ndarray, np.ndarray]:
            toolkit = ExperimentOTB.__new__(ExperimentOTB)
            toolkit.nbins_iou, toolkit.nbins_ce = 21, 51
            toolkit.dataset, toolkit.result_dir, toolkit.report_dir = OnDisk(paths), folder, f"{folder}/reports"
            with contextlib.redirect_stdout(io.StringIO()):
                overall = toolkit.report(["."])["."]["overall"]
            return np.array(overall["success_curve"]), np.array(overall["precision_curve"])

        compare(arguments, "text files to plots and JSON", best_of(our_report), best_of(toolkit_report))


class OnDisk:
    """The truth as the toolkit's data set gives it, without looking for pictures."""

    def __init__(self, paths: Sequence[tuple[Path, Path]]) -> None:
        self.paths, self.seq_names = paths, [told.stem for _, told in paths]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[list[str], np.ndarray]:
        return [], np.loadtxt(io.StringIO(self.paths[index][0].read_text().replace(",", " ")))


def toolkit_curves(preds: list[np.ndarray], gts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean success and precision curve by the toolkit's own functions."""
    toolkit = ExperimentOTB.__new__(ExperimentOTB)  # its constructor wants the data set on disk
    toolkit.nbins_iou, toolkit.nbins_ce = 21, 51
    curves = [toolkit._calc_curves(*toolkit._calc_metrics(p.copy(), g.copy())) for p, g in zip(preds, gts, strict=True)]
    return np.mean([c[0] for c in curves], axis=0), np.mean([c[1] for c in curves], axis=0)


def best_of(run: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of the fastest of some rounds, and the result: one core of a machine that may be busy."""
    seconds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        result = run()
        seconds.append(time.process_time() - start)
    return min(seconds), result


def compare(
    arguments: argparse.Namespace,
    source: str,
    ours: tuple[float, ope.OPEResult],
    theirs: tuple[float, tuple[np.ndarray, np.ndarray]],
) -> None:
    """Check that the curves agree and print one line."""
    np.testing.assert_allclose(ours[1].success_curve, theirs[1][0], atol=1e-9)
    np.testing.assert_allclose(ours[1].precision_curve, theirs[1][1], atol=1e-9)
    print(
        f"{arguments.sequences} sequences of {arguments.frames} frames from {source}: ours {ours[0]:.2f} s, "
        f"GOT-10k toolkit {theirs[0]:.2f} s, {theirs[0] / ours[0]:.1f} times"
    )


if __name__ == "__main__":
    main()
