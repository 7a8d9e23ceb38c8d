"""Confidence intervals by resampling sequences."""

from collections.abc import Hashable, Sequence

import numpy as np


def confidence_interval(
    values: np.ndarray,
    groups: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> np.ndarray:
    """Percentile bootstrap of the mean over rows: `values [n, m]` (or `[n]`) -> `[2, m]` (or `[2]`), low and high.

    Rows are sequences. With `groups` (one label per row, the video it comes from) whole groups are resampled, because
    objects of one video are not independent. Rows with NaN are left out; without rows the interval is NaN.
    """
    array = np.asarray(values, dtype=np.float64)
    flat = array.reshape(len(array), -1)
    kept = ~np.isnan(flat).any(1)
    flat = flat[kept]
    shape = (2, *array.shape[1:])
    if not len(flat):
        return np.full(shape, np.nan)
    labels = np.arange(len(array)) if groups is None else np.unique([str(g) for g in groups], return_inverse=True)[1]
    labels = np.unique(labels[kept], return_inverse=True)[1]
    n_groups = int(labels.max()) + 1
    sums = np.zeros((n_groups, flat.shape[1]))
    np.add.at(sums, labels, flat)
    draws = np.random.default_rng(seed).multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=resamples)
    means = (draws @ sums) / (draws @ np.bincount(labels))[:, None]
    tail = (1 - level) / 2
    return np.quantile(means, [tail, 1 - tail], axis=0).reshape(shape)
