"""OPE against the GOT-10k toolkit and pytracking.

`golden_ope.npz` holds 28 random sequences (truth in whole pixels) of seven kinds: whole; NaN predictions; truth absent
as NaN and as size 0; predictions too short, empty, too long. Beside them stands what the toolkits make of them: got10k
0.1.3 (`ExperimentOTB` and `ExperimentUAV123`, `_calc_metrics` and `_calc_curves`: 21 + 51 values) and pytracking
(`calc_seq_err_robust` with the thresholds of `extract_results`: 21 + 51 + 51 values).
"""

from pathlib import Path

import numpy as np
import pytest
from got10k.experiments.otb import ExperimentOTB
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from elysium.evaluation import ope
from elysium.evaluation.bootstrap import confidence_interval
from tests.evaluation.plain_ope import MODES
from tests.evaluation.plain_ope import curves as plain_curves


def golden() -> list[tuple[str, np.ndarray, np.ndarray, str, np.ndarray]]:
    stored = np.load(Path(__file__).parent / "golden_ope.npz")
    cases = []
    for name in stored.files:
        for mode in MODES:
            if name.endswith(mode):
                sequence = name.removesuffix("_" + mode)
                cases.append((sequence, stored[sequence + "_pred"], stored[sequence + "_gt"], mode, stored[name]))
    return cases


def curves(result: ope.OPEResult) -> np.ndarray:
    return np.concatenate([result.success_curve, result.precision_curve, result.norm_precision_curve])


@pytest.mark.parametrize(
    ("sequence", "pred", "gt", "mode", "expected"), golden(), ids=lambda v: v if isinstance(v, str) else ""
)
def test_curves_equal_the_toolkits(
    sequence: str, pred: np.ndarray, gt: np.ndarray, mode: str, expected: np.ndarray
) -> None:
    absent, first_given = MODES[mode]
    result = ope.evaluate(pred, gt, absent=absent, first_given=first_given)  # type: ignore[arg-type]
    np.testing.assert_allclose(curves(result)[: len(expected)], expected, atol=1e-6)
    assert result.auc == pytest.approx(expected[:21].mean(), abs=1e-6)
    assert result.precision == pytest.approx(expected[21 + 20], abs=1e-6)
    if len(expected) > 72:
        assert result.norm_precision == pytest.approx(expected[72 + 20], abs=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_stored_values_follow_from_the_published_definitions(mode: str) -> None:
    """The toolkits' values, the definitions in plain Python, and (above) ours are the same."""
    for _, pred, gt, found_by, expected in golden():
        if found_by == mode:
            np.testing.assert_allclose(plain_curves(pred, gt, *MODES[mode])[: len(expected)], expected, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_equal_to_the_published_definitions_on_fresh_sequences(mode: str) -> None:
    """20 random sequences, each with NaN, negative and empty boxes, absent truth, and fewer or more predictions."""
    absent, first_given = MODES[mode]
    rng = np.random.default_rng(11)
    for _ in range(20):
        n = int(rng.integers(5, 60))
        gt = rng.integers(5, 200, (n, 4)).astype(float)
        pred = np.vstack([gt, gt[:5]])[: int(rng.integers(0, n + 5))] + rng.integers(-4, 5, (1, 4))
        pred[rng.random(len(pred)) < 0.1] = np.nan
        pred[rng.random(len(pred)) < 0.1, 2] = -3
        pred[rng.random(len(pred)) < 0.1, 2:] = 0
        gt[1:][rng.random(n - 1) < 0.1] = np.nan
        gt[1:][rng.random(n - 1) < 0.1, 3] = 0
        result = ope.evaluate(pred, gt, absent=absent, first_given=first_given)  # type: ignore[arg-type]
        np.testing.assert_allclose(curves(result), plain_curves(pred, gt, absent, first_given), atol=1e-12)


@pytest.mark.parametrize("n", [1, 9])
def test_the_callers_arrays_stay_as_they_are(n: int) -> None:
    pred, gt = np.full((n, 4), 7.0), np.full((n, 4), 9.0)
    ope.evaluate(pred, gt, first_given=True)
    assert (pred == 7).all() and (gt == 9).all()


def test_the_golden_file_covers_every_kind_and_toolkit() -> None:
    cases = golden()
    assert {c[3] for c in cases} == set(MODES)
    assert len({c[0] for c in cases}) == 28


def test_equal_to_the_installed_got10k_toolkit() -> None:
    """On 280 fresh random sequences, all at once."""
    toolkit = ExperimentOTB.__new__(ExperimentOTB)
    toolkit.nbins_iou, toolkit.nbins_ce = 21, 51
    rng = np.random.default_rng(3)
    gts = [rng.uniform(5, 200, (int(rng.integers(2, 40)), 4)) for _ in range(280)]
    preds = [gt + rng.normal(0, 8, gt.shape).clip(-4.9) for gt in gts]
    ours = ope.evaluate_sequences(preds, gts)
    for pred, gt, result in zip(preds, gts, ours, strict=True):
        success, precision = toolkit._calc_curves(*toolkit._calc_metrics(pred.copy(), gt.copy()))
        np.testing.assert_allclose(result.success_curve, success, atol=1e-12)
        np.testing.assert_allclose(result.precision_curve, precision, atol=1e-12)


def test_many_sequences_at_once_equal_one_by_one() -> None:
    stored = np.load(Path(__file__).parent / "golden_ope.npz")
    names = sorted({n.rpartition("_")[0] for n in stored.files if n.endswith("_pred")})
    preds, gts = [stored[n + "_pred"] for n in names], [stored[n + "_gt"] for n in names]
    for pred, gt, result in zip(preds, gts, ope.evaluate_sequences(preds, gts), strict=True):
        np.testing.assert_array_equal(curves(result), curves(ope.evaluate(pred, gt)))


def test_the_average_is_over_sequences_not_frames() -> None:
    box = np.array([[50.0, 50, 20, 20]])
    perfect, lost = np.repeat(box, 90, 0), np.repeat(box, 10, 0)
    results = ope.evaluate_sequences([perfect, lost + [300, 0, 0, 0]], [perfect, lost])
    mean = ope.average(results)
    assert mean.auc == pytest.approx((20 / 21 + 0) / 2)
    assert mean.precision == pytest.approx(0.5)
    assert mean.n_frames == 100


def test_a_missing_box_scores_zero_and_is_counted() -> None:
    gt = np.tile([50.0, 50, 20, 20], (4, 1))
    pred = gt.copy()
    pred[1] = np.nan
    result = ope.evaluate(pred, gt)
    assert (result.n_frames, result.n_missing) == (4, 1)
    assert result.average_overlap == pytest.approx(0.75)
    assert result.precision == result.norm_precision == pytest.approx(0.75)
    assert result.precision_curve[-1] == pytest.approx(0.75)


def test_a_sequence_without_truth_is_left_out_of_the_average() -> None:
    gt = np.tile([50.0, 50, 20, 20], (3, 1))
    results = ope.evaluate_sequences([gt, gt], [gt, np.full_like(gt, np.nan)])
    assert results[1].n_frames == 0 and np.isnan(results[1].auc)
    assert ope.average(results).precision == 1.0
    with pytest.raises(ValueError, match="no sequence"):
        ope.average(results[1:])


def test_legacy_gives_two_disjoint_boxes_iou_one() -> None:
    """The released script clamps x, y, w, h to [1, 100] px: boxes beyond 100 px become the same box."""
    a, b = np.array([[200.0, 200, 150, 150]]), np.array([[600.0, 500, 150, 150]])
    assert ope.evaluate(a, b).average_overlap == 0.0
    faulty = ope.evaluate(a, b, legacy=True)
    assert faulty.average_overlap == 1.0
    assert "legacy" in faulty.definition


def test_boxes_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="x, y, width, height"):
        ope.evaluate(np.zeros((3, 5)), np.zeros((3, 4)))


boxes = arrays(np.float64, (7, 4), elements=st.floats(-50, 500))


@given(boxes, arrays(np.float64, (7, 4), elements=st.floats(0.5, 500)))
def test_scores_are_fractions_and_curves_monotone(pred: np.ndarray, gt: np.ndarray) -> None:
    result = ope.evaluate(pred, gt)
    assert ((result.values() >= 0) & (result.values() <= 1)).all()
    assert (np.diff(result.success_curve) <= 0).all()
    assert (np.diff(result.precision_curve) >= 0).all()
    assert (np.diff(result.norm_precision_curve) >= 0).all()


@given(arrays(np.float64, (7, 4), elements=st.floats(1, 500)), st.floats(1.5, 4))
def test_success_and_normalised_precision_do_not_depend_on_the_resolution(gt: np.ndarray, scale: float) -> None:
    pred = gt + np.array([0.11, -0.07, 0.05, 0.03]) * np.tile(gt[:, 2:], 2)
    once, scaled = ope.evaluate(pred, gt), ope.evaluate(pred * scale, gt * scale)
    np.testing.assert_allclose(scaled.average_overlap, once.average_overlap, rtol=1e-9)
    np.testing.assert_allclose(scaled.norm_precision_curve, once.norm_precision_curve, atol=1e-12)


def test_the_confidence_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        low, high = confidence_interval(rng.normal(0.6, 0.2, 80), resamples=400, seed=seed)
        covered += low <= 0.6 <= high
    assert 0.89 <= covered / 200 <= 0.99


def test_resampling_whole_videos_widens_the_interval_of_dependent_sequences() -> None:
    values = np.repeat(np.random.default_rng(1).normal(0.5, 0.2, 20), 5)
    alone = confidence_interval(values)
    together = confidence_interval(values, groups=np.repeat(np.arange(20), 5).tolist())
    assert np.diff(together)[0] > 1.5 * np.diff(alone)[0]
    assert np.isnan(confidence_interval(np.full(3, np.nan))).all()
