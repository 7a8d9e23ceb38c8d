"""What a tracker must beat: the first box held still, and OpenCV's CSRT. (REC and REG on single frames, the paper's
baselines of Tables 5 and 6, are jobs of `predict`.)"""

from collections.abc import Sequence

import cv2
import numpy as np

from elysium.boxes import Box

Frames = Sequence[np.ndarray]


def held(box: Sequence[float] | None, n_frames: int) -> list[Box | None]:
    """The box of frame 1 in every frame; no box at all if there is none."""
    if box is None:
        return [None] * n_frames
    x1, y1, x2, y2 = box
    return [(x1, y1, x2, y2)] * n_frames


def csrt(frames: Frames, box: Box) -> list[Box | None]:
    """OpenCV's CSRT from the box of the first frame: normalised xyxy in and out, None where it reports a loss.

    CSRT wants whole pixels and some texture: small frames are doubled until the box has 16 px a side (at most thrice).
    """
    height, width = frames[0].shape[:2]
    side = min((box[2] - box[0]) * width, (box[3] - box[1]) * height)
    scale = 1
    while side * scale < 16 and scale < 8:
        scale *= 2
    width, height = width * scale, height * scale
    x, y = min(int(box[0] * width), width - 2), min(int(box[1] * height), height - 2)
    w, h = max(round((box[2] - box[0]) * width), 2), max(round((box[3] - box[1]) * height), 2)
    params = cv2.TrackerCSRT.Params()
    # A third of the time of the defaults at the same overlap on the rendered worlds.
    params.template_size, params.number_of_scales, params.admm_iterations = 80.0, 11, 2
    tracker = cv2.TrackerCSRT.create(params)
    boxes: list[Box | None] = [box]
    for i in range(len(frames)):
        image = cv2.cvtColor(frames[i], cv2.COLOR_RGB2BGR)
        if scale > 1:
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        if i == 0:
            tracker.init(image, (x, y, min(w, width - x), min(h, height - y)))
            continue
        found, (px, py, pw, ph) = tracker.update(image)
        boxes.append((px / width, py / height, (px + pw) / width, (py + ph) / height) if found else None)
    return boxes
