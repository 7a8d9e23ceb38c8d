"""A model that works by plain image processing: it finds things by the colour that the words or the first box name.

It implements what the evaluation asks of a model (`elysium.evaluation.predict.Model`) on scenes of plain coloured
rectangles, so that the whole evaluation runs on known answers without a network.
"""

from collections.abc import Sequence

import numpy as np

from elysium.boxes import Box
from elysium.inference.engine import Frames, Query

MODEL = {"model": "colours", "model_hash": "1"}  # what the results of these models are made from
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 220), "yellow": (230, 220, 30)}


def find_colour(image: np.ndarray, colour: Sequence[float], tolerance: float = 60.0) -> Box | None:
    """The box around all pixels near a colour, normalised; None if there are fewer than four."""
    near = np.linalg.norm(image.astype(float) - np.asarray(colour), axis=-1) < tolerance
    if near.sum() < 4:
        return None
    (height, width), (ys, xs) = near.shape, np.nonzero(near)
    return (xs.min() / width, ys.min() / height, (xs.max() + 1) / width, (ys.max() + 1) / height)


def colour_in(image: np.ndarray, box: Box) -> np.ndarray:
    """The median colour of the middle of a box."""
    height, width = image.shape[:2]
    x, y = (box[0] + box[2]) / 2 * width, (box[1] + box[3]) / 2 * height
    patch = image[max(int(y) - 1, 0) : int(y) + 2, max(int(x) - 1, 0) : int(x) + 2]
    return np.median(patch.reshape(-1, 3), axis=0)


class ColourModel:
    """Tracks, locates and describes by colour. `calls` counts how often the model was run, and on how many clips."""

    def __init__(self, max_frames: int = 32) -> None:
        self.calls: list[tuple[str, int]] = []
        self.max_frames = max_frames

    def track(self, videos: Sequence[Frames], queries: Sequence[Query]) -> list[list[Box | None]]:
        self.calls.append(("track", len(videos)))
        return [self._follow(frames, query) for frames, query in zip(videos, queries, strict=True)]

    def locate(self, images: Sequence[np.ndarray], expressions: Sequence[str]) -> list[Box | None]:
        self.calls.append(("locate", len(images)))
        return [find_colour(i, COLOURS[e.split()[0]]) for i, e in zip(images, expressions, strict=True)]

    def describe(self, videos: Sequence[Frames], boxes: Sequence[Box], frames: Sequence[int]) -> list[str]:
        self.calls.append(("describe", len(videos)))
        answers = []
        for video, box, frame in zip(videos, boxes, frames, strict=True):
            seen = colour_in(video[frame], box)
            answers.append(min(COLOURS, key=lambda name: float(np.linalg.norm(seen - COLOURS[name]))) + " box")
        return answers

    def _follow(self, frames: Frames, query: Query) -> list[Box | None]:
        if query.box is not None:
            colour: Sequence[float] | np.ndarray = colour_in(frames[0], query.box)
        else:
            assert query.expression
            colour = COLOURS[query.expression.split()[0]]
        return [find_colour(frame, colour) for frame in frames]


class AskedModel(ColourModel):
    """Answers every question with the colour that stands out in the first frame."""

    def ask(self, videos: Sequence[Frames], questions: Sequence[str]) -> list[str]:
        self.calls.append(("ask", len(videos)))
        self.lengths = [len(video) for video in videos]
        seen = [video[0][8:24, 4:24].reshape(-1, 3).mean(0) for video in videos]
        return [min(COLOURS, key=lambda c: float(np.linalg.norm(s - COLOURS[c]))) for s in seen]


def no_model() -> AskedModel:
    raise AssertionError("a model was loaded although every prediction is there")
