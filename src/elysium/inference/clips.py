"""Tracking long videos clip by clip (paper, section 4.3).

A video of more than 32 frames is cut in clips of 8 that overlap in one frame; the box of the shared frame, found by the
earlier clip, seeds the next. Videos are streams: no more than the frames of one clip are held (33 while it is not yet
known whether a video is taken whole).
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from elysium.boxes import Box

if TYPE_CHECKING:  # cutting clips needs no model
    from elysium.inference.engine import Query

LOST_BELOW = 0.25  # mean confidence of a clip's boxes under which the object is lost; the small model: 0.33 to 0.5

Frames = Sequence[np.ndarray]  # RGB uint8 [H, W, 3]
Track = Callable[[Sequence[Frames], Sequence["Query"]], list[list[Box | None]]]


class Found(Protocol):
    """What is known of one object in one clip: a box or None, and a confidence, per frame."""

    boxes: list[Box | None]
    confidences: list[float]


Follow = Callable[[Sequence[Frames], Sequence[Sequence["Query"]]], Sequence[Sequence[Found]]]


@dataclass
class Trajectory:
    """One object through a video: per frame a box (normalised xyxy) or None, and a confidence in [0, 1].

    `lost` holds the numbers of the frames without a box, or with a confidence under the threshold; `regrounded` those
    frames from which on the object was looked for by its expression again.
    """

    query: "Query"
    boxes: list[Box | None] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    regrounded: list[int] = field(default_factory=list)

    def extend(self, found: Found, asked: "Query", n_frames: int, lost_below: float) -> "Query":
        """Add what the next clip of `n_frames` gave to the question `asked`; returns the question to the clip after."""
        if len(found.boxes) != n_frames:
            raise ValueError(f"the tracker gave {len(found.boxes)} boxes for a clip of {n_frames} frames")
        shared = 1 if self.boxes else 0
        new = list(zip(found.boxes, found.confidences, strict=True))[shared:]
        if shared and asked.box is None:
            self.regrounded.append(len(self.boxes))
        for box, confidence in new:
            if box is None or confidence < lost_below:
                self.lost.append(len(self.boxes))
            self.boxes.append(box)
            self.confidences.append(confidence)
        # The shared frame's box was given, not found: it says nothing about this clip.
        known = [(box, confidence) for box, confidence in new if box is not None]
        if known and sum(confidence for _, confidence in known) / len(known) >= lost_below:
            return replace(asked, box=known[-1][0])
        return asked if asked.expression is None else replace(asked, box=None)


def clip_ranges(n_frames: int, clip: int = 8, max_frames: int = 32) -> list[tuple[int, int]]:
    """Half-open `(start, end)` pairs that cover a video; neighbours share exactly one frame.

    Up to `max_frames` frames the video is one clip. No clip of a longer video has fewer than two frames, because the
    last clip holds at least one frame that is new. Raises ValueError on `n_frames < 1` or `clip < 2`.
    """
    if n_frames < 1:
        raise ValueError(f"a video has at least one frame, got {n_frames}")
    _check_clip(clip)
    if n_frames <= max(max_frames, 1):
        return [(0, n_frames)]
    starts = range(0, n_frames - 1, clip - 1)
    return [(start, min(start + clip, n_frames)) for start in starts]


def clip_stream(frames: Iterable[np.ndarray], clip: int = 8, max_frames: int = 32) -> Iterator[list[np.ndarray]]:
    """The clips of `clip_ranges` from frames whose number is not known beforehand. Raises ValueError on `clip < 2`."""
    _check_clip(clip)
    source = iter(frames)
    head = list(itertools.islice(source, max(max_frames, 1) + 1))
    if len(head) <= max(max_frames, 1):
        yield from [head] if head else []
        return
    source = itertools.chain(head, source)
    last = next(source)
    while new := list(itertools.islice(source, clip - 1)):
        yield [last, *new]
        last = new[-1]


def _check_clip(clip: int) -> None:
    if clip < 2:
        raise ValueError(f"clips that overlap in one frame have at least two, got {clip}")


def track_streams(
    follow: Follow,
    videos: Sequence[Iterable[np.ndarray]],
    queries: Sequence[Sequence["Query"]],
    clip: int = 8,
    max_frames: int = 32,
    lost_below: float = LOST_BELOW,
    advance: Callable[[int], object] = lambda n: None,
) -> list[list[Trajectory]]:
    """A trajectory for each query about each video: `follow` on the k-th clips of all videos in one call.

    Between clips:
    - the last box of a clip is the box of the next question, beside the expression if there is one;
    - if the last frame has no box, the last known box of that clip is used;
    - if the clip has no new box, or the mean confidence of its new boxes is below `lost_below`, the object is lost: a
      query with an expression looks for it afresh by the expression alone, a query without one keeps the box it had.
    The frame that two clips share keeps the earlier clip's box. `advance` hears how many new frames are done.
    """
    if len(videos) != len(queries):
        raise ValueError(f"{len(videos)} videos but {len(queries)} queries")
    found = [[Trajectory(query) for query in own] for own in queries]
    current = [list(own) for own in queries]
    clips = [clip_stream(frames, clip, max_frames) for frames in videos]
    active = list(range(len(videos)))
    while batch := [(i, frames) for i in active if (frames := next(clips[i], None)) is not None]:
        active = [i for i, _ in batch]
        answers = follow([frames for _, frames in batch], [current[i] for i in active])
        for (i, frames), told in zip(batch, answers, strict=True):
            before = len(found[i][0].boxes) if found[i] else 0
            for k, (trajectory, answer) in enumerate(zip(found[i], told, strict=True)):
                current[i][k] = trajectory.extend(answer, current[i][k], len(frames), lost_below)
            advance(len(frames) - (1 if before else 0))
    return found


def track_videos(
    track: Track,
    videos: Sequence[Frames],
    queries: Sequence["Query"],
    clip: int = 8,
    max_frames: int = 32,
) -> list[list[Box | None]]:
    """`track_streams` for a tracker without confidences and one query about each video: a box (or None) per frame.

    `videos` may decode on access: each frame is read once.
    """
    if len(videos) != len(queries):
        raise ValueError(f"{len(videos)} videos but {len(queries)} queries")

    def follow(clips: Sequence[Frames], asked: Sequence[Sequence["Query"]]) -> list[list[Trajectory]]:
        boxes = track(clips, [query for (query,) in asked])
        return [[Trajectory(q, b, [1.0] * len(b))] for (q,), b in zip(asked, boxes, strict=True)]

    streams = [map(frames.__getitem__, range(len(frames))) for frames in videos]
    found = track_streams(follow, streams, [[query] for query in queries], clip, max_frames, 0.0)
    return [trajectory.boxes for (trajectory,) in found]
