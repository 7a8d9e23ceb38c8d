"""Frame sampling of section 4.2."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elysium.data.sampling import sample_clip


@given(
    st.integers(1, 400),
    st.integers(0, 10_000),
    st.integers(1, 8),
    st.integers(0, 24),
    st.integers(1, 9),
    st.integers(0, 51),
)
def test_indices_are_sorted_inside_and_equally_spaced(
    n_frames: int, seed: int, few: int, more: int, near: int, further: int
) -> None:
    clip = sample_clip(n_frames, np.random.default_rng(seed), (few, few + more), (near, near + further))
    assert clip[0] >= 0 and clip[-1] < n_frames
    assert len(clip) <= few + more
    steps = np.diff(clip)
    assert len(set(steps.tolist())) <= 1
    assert all(near <= s <= near + further for s in steps)
    if (few - 1) * near + 1 <= n_frames:
        assert len(clip) >= few


def test_a_short_video_still_sees_varied_intervals() -> None:
    rng = np.random.default_rng(0)
    steps = {int(np.diff(sample_clip(20, rng, (2, 8), (1, 60)))[0]) for _ in range(300)}
    assert {1, 2, 3, 5, 10} <= steps


def test_starts_vary() -> None:
    rng = np.random.default_rng(0)
    assert len({int(sample_clip(64, rng)[0]) for _ in range(200)}) > 10


def test_an_empty_video_is_refused() -> None:
    with pytest.raises(ValueError, match="0 frames"):
        sample_clip(0, np.random.default_rng(0))
