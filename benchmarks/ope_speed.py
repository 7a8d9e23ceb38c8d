"""Scoring a data set of LaSOT's size: our OPE beside the GOT-10k toolkit's, in one run on one core, equal figures.

    python benchmarks/ope_speed.py [--sequences 280] [--frames 2500]

Ours makes three curves (success, precision, normalised precision), the toolkit's OTB experiment two.
"""

import argparse
import time

import numpy as np
from got10k.experiments.otb import ExperimentOTB

from elysium.evaluation import ope

ROUNDS = 3


def main() -> None:
    """Print the best of three rounds of both and their ratio; fails if the figures differ or a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sequences", type=int, default=280)
    parser.add_argument("--frames", type=int, default=2500)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    gts, preds = [], []
    for _ in range(arguments.sequences):
        start, step = rng.uniform(50, 400, 4), rng.normal(0, 1, (arguments.frames, 4))
        gt = np.abs(start + step.cumsum(0)).round() + 5
        gts.append(gt)
        preds.append(gt + rng.normal(0, 6, gt.shape).clip(-4))
    toolkit = ExperimentOTB.__new__(ExperimentOTB)  # its constructor wants the data set on disk
    toolkit.nbins_iou, toolkit.nbins_ce = 21, 51
    ours_s, theirs_s = [], []
    for _ in range(ROUNDS):
        start_s = time.perf_counter()
        ours = ope.average(ope.evaluate_sequences(preds, gts))
        ours_s.append(time.perf_counter() - start_s)
        start_s = time.perf_counter()
        curves = [
            toolkit._calc_curves(*toolkit._calc_metrics(p.copy(), g.copy())) for p, g in zip(preds, gts, strict=True)
        ]
        theirs_s.append(time.perf_counter() - start_s)
        np.testing.assert_allclose(ours.success_curve, np.mean([c[0] for c in curves], axis=0), atol=1e-9)
        np.testing.assert_allclose(ours.precision_curve, np.mean([c[1] for c in curves], axis=0), atol=1e-9)
    ratio = min(theirs_s) / min(ours_s)
    print(
        f"{arguments.sequences} sequences of {arguments.frames} frames: ours {min(ours_s):.2f} s, "
        f"GOT-10k toolkit {min(theirs_s):.2f} s, {ratio:.1f} times"
    )


if __name__ == "__main__":
    main()
