"""Which frames of a video a training sample shows (paper, section 4.2)."""

import numpy as np


def sample_clip(
    n_frames: int,
    rng: np.random.Generator,
    frames: tuple[int, int] = (2, 8),
    interval: tuple[int, int] = (1, 60),
    widest: bool = False,
) -> np.ndarray:
    """Sorted frame indices with one constant interval.

    The number of frames n is drawn from `frames`; the interval is drawn among those of `interval` whose span
    `(n - 1) * interval + 1` fits into the video, so short videos still see varied intervals; then the start. A video
    with fewer frames than asked gives all it has; where even the smallest interval does not fit, n is what does.
    `widest` takes the largest interval that fits: a question about a whole video needs as much of it as n frames show.
    Raises ValueError on an empty video or an empty range.
    """
    (few, many), (near, far) = frames, interval
    if n_frames < 1 or not 1 <= few <= many or not 1 <= near <= far:
        raise ValueError(f"cannot draw {frames} frames at interval {interval} from {n_frames} frames")
    most = min(many, (n_frames - 1) // near + 1)
    n = int(rng.integers(min(few, most), most + 1))
    if n == 1:
        return np.array([rng.integers(n_frames)])
    most_apart = min(far, (n_frames - 1) // (n - 1))
    step = most_apart if widest else int(rng.integers(near, most_apart + 1))
    start = int(rng.integers(n_frames - (n - 1) * step))
    return start + step * np.arange(n)
