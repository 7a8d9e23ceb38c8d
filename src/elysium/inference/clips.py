"""Tracking long videos clip by clip (paper, section 4.3).

A video of more than 32 frames is cut in clips of 8 that overlap in one frame; the box of the shared frame, found by the
earlier clip, seeds the next.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from elysium.boxes import Box

if TYPE_CHECKING:  # cutting clips needs no model
    from elysium.inference.engine import Query

Frames = Sequence[np.ndarray]  # RGB uint8 [H, W, 3]
Track = Callable[[Sequence[Frames], Sequence["Query"]], list[list[Box | None]]]


def clip_ranges(n_frames: int, clip: int = 8, whole_up_to: int = 32) -> list[tuple[int, int]]:
    """Half-open `(start, end)` pairs that cover a video; neighbours share exactly one frame.

    Up to `whole_up_to` frames the video is one clip. No clip of a longer video has fewer than two frames, because the
    last clip holds at least one frame that is new. Raises ValueError on `n_frames < 1` or `clip < 2`.
    """
    if n_frames < 1:
        raise ValueError(f"a video has at least one frame, got {n_frames}")
    if clip < 2:
        raise ValueError(f"clips that overlap in one frame have at least two, got {clip}")
    if n_frames <= max(whole_up_to, 1):
        return [(0, n_frames)]
    starts = range(0, n_frames - 1, clip - 1)
    return [(start, min(start + clip, n_frames)) for start in starts]


def track_videos(
    track: Track,
    videos: Sequence[Frames],
    queries: Sequence["Query"],
    clip: int = 8,
    whole_up_to: int = 32,
) -> list[list[Box | None]]:
    """One box (or None) per frame of each video: `track` on each clip, the k-th clips of all videos in one call.

    Between clips:
    - the last box of a clip is the box of the next query, beside the expression if there is one;
    - if the last frame has no box, the last known box of that clip is used;
    - if the clip has none, a query with an expression grounds afresh by the expression alone, and a query without
      one keeps the last box known.
    The frame that two clips share keeps the earlier clip's box. `videos` may decode on access: each frame of a clip is
    read once, and no more than the clips of one call are held.
    """
    if len(videos) != len(queries):
        raise ValueError(f"{len(videos)} videos but {len(queries)} queries")
    ranges = [clip_ranges(len(frames), clip, whole_up_to) for frames in videos]
    boxes: list[list[Box | None]] = [[] for _ in videos]
    current = list(queries)
    for k in range(max(map(len, ranges), default=0)):
        active = [i for i, r in enumerate(ranges) if k < len(r)]
        clips = [[videos[i][f] for f in range(*ranges[i][k])] for i in active]
        found = track(clips, [current[i] for i in active])
        for i, clip_boxes in zip(active, found, strict=True):
            expected = ranges[i][k][1] - ranges[i][k][0]
            if len(clip_boxes) != expected:
                raise ValueError(f"the tracker gave {len(clip_boxes)} boxes for a clip of {expected} frames")
            boxes[i] += clip_boxes if k == 0 else clip_boxes[1:]
            known = [b for b in clip_boxes if b is not None]
            if known:
                current[i] = replace(current[i], box=known[-1])
            elif current[i].expression is not None:
                current[i] = replace(current[i], box=None)
    return boxes
