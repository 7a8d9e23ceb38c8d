"""Motion that no real thing makes: drift against a Kalman filter, and shot cuts (section 3.2, step 2)."""

from collections.abc import Sequence

import cv2
import numpy as np
from filterpy.kalman import KalmanFilter

from elysium.boxes import Box

# Standard deviations, per frame, in diagonals of the box (position) and in natural log of the side (size).
_MEASURED = 0.05
_ACCELERATION = 0.10

# A cut changes three things at once; the bounds lie midway between cuts and the fastest motion of the videos at hand.
CUT_COLOUR = 0.25  # least Bhattacharyya distance (0 to 1) of the colour histograms
CUT_LIKENESS = 0.5  # largest correlation of the two pictures
CUT_RATIO = 2.0  # the pixels change so many times more than they did in the frames before
CUT_PIXELS = 0.04  # and by this share of full scale
_THUMB = (64, 48)


def drift(boxes: Sequence[Box]) -> np.ndarray:
    """How far each box lies from where a constant-velocity Kalman filter expects it, `[n]`, in box diagonals.

    The state is the centre (in diagonals of the first box), the log of the two sides, and their velocities; a change
    of size counts by the log of its factor. 0.3 to 0.5 is a hard turn, 1 is a jump by the whole length of the object
    between two frames. The first frame has none. Frames are assumed evenly spaced.
    """
    out = np.zeros(len(boxes))
    if len(boxes) < 2:
        return out
    measured = np.array([_measurement(box) for box in boxes])
    kalman = KalmanFilter(dim_x=8, dim_z=4)
    kalman.F = np.eye(8)
    kalman.F[:4, 4:] = np.eye(4)
    kalman.H = np.eye(4, 8)
    kalman.R *= _MEASURED**2
    # White acceleration over one frame: position changes by half of it, velocity by all of it.
    block = np.array([[0.25, 0.5], [0.5, 1.0]]) * _ACCELERATION**2
    kalman.Q = np.kron(block, np.eye(4))
    kalman.P = np.diag([_MEASURED**2] * 4 + [0.3**2] * 4)
    first = _size(boxes[0])
    measured[:, :2] /= first
    kalman.x[:4, 0] = measured[0]
    for i in range(1, len(boxes)):
        kalman.predict()
        off = measured[i] - kalman.x[:4, 0]
        centre = float(np.hypot(off[0], off[1])) * first / _size(boxes[i - 1])
        out[i] = np.hypot(centre, float(np.abs(off[2:]).max()))
        kalman.update(measured[i])
    return out


def _size(box: Box) -> float:
    return max(float(np.hypot(box[2] - box[0], box[3] - box[1])), 1e-6)


def _measurement(box: Box) -> tuple[float, float, float, float]:
    width, height = max(box[2] - box[0], 1e-6), max(box[3] - box[1], 1e-6)
    return ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, float(np.log(width)), float(np.log(height)))


class CutFinder:
    """Finds shot cuts while frames stream by: `is_cut(frame)` says whether the frame starts a new shot.

    A cut changes the colours of the whole picture *and* its pixels, at once, and much more than the frames before it
    did; fast motion and slow fades do not.
    """

    def __init__(self) -> None:
        self._last: tuple[np.ndarray, np.ndarray] | None = None
        self._changes: list[float] = []

    def is_cut(self, frame: np.ndarray) -> bool:
        """Whether RGB uint8 `frame` and the frame given before it belong to different shots."""
        current = _signature(frame)
        if self._last is None:
            self._last = current
            return False
        colours = float(cv2.compareHist(self._last[0], current[0], cv2.HISTCMP_BHATTACHARYYA))
        likeness = float(cv2.matchTemplate(self._last[1], current[1], cv2.TM_CCOEFF_NORMED)[0, 0])
        pixels = float(np.abs(self._last[1] - current[1]).mean())
        usual = float(np.median(self._changes)) if self._changes else 0.0
        stands_out = pixels > max(CUT_PIXELS, CUT_RATIO * usual)
        cut = colours > CUT_COLOUR and likeness < CUT_LIKENESS and stands_out
        self._changes = [] if cut else [*self._changes[-8:], pixels]
        self._last = current
        return cut


def _signature(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colour histogram and small grey picture (float32 in [0, 1]) of a frame."""
    small = cv2.resize(frame, _THUMB, interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
    histogram = cv2.calcHist([lab], [0, 1, 2], None, [8, 8, 8], [0, 256, 64, 192, 64, 192])
    gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    return histogram / max(float(histogram.sum()), 1.0), gray


def find_cuts(frames: Sequence[np.ndarray]) -> list[int]:
    """The frame numbers at which a new shot starts (never 0)."""
    finder = CutFinder()
    return [i for i, frame in enumerate(frames) if finder.is_cut(frame)]
