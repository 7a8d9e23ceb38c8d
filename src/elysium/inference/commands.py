"""What `elysium track`, `describe` and `ask` do: one video, one question."""

import json
from collections.abc import Sequence
from pathlib import Path

from elysium.boxes import Box
from elysium.data.video import read_frames
from elysium.errors import UserError
from elysium.inference.clips import Frames, track_videos
from elysium.inference.engine import Engine, Query


def track(
    video: Path,
    expression: str | None,
    box: Box | None,
    model: Path,
    device: str = "cpu",
    json_out: Path | None = None,
    render_out: Path | None = None,
) -> None:
    """Print, or write, one box per frame of the object that the expression or the box in the first frame names.

    The JSON holds, per frame, `times` in seconds, `boxes` (xyxy, normalised; null where the object is absent), the same
    as `boxes_px`, and `confidences`. Raises UserError on an unreadable video or a folder without an Elysium model.
    """
    frames, times = read_frames(video)
    engine = Engine.from_pretrained(model, device)
    confidences: list[float] = []

    def follow(clips: Sequence[Frames], queries: Sequence[Query]) -> list[list[Box | None]]:
        (found,) = engine.follow(clips, queries)
        confidences.extend(found.confidences[1 if confidences else 0 :])  # clips share a frame
        return [found.boxes]

    (boxes,) = track_videos(follow, [frames], [Query(expression=expression, box=box)])
    height, width = frames[0].shape[:2]
    scale = (width, height, width, height)
    answer = {
        "video": str(video),
        "expression": expression,
        "frame_size": [width, height],
        "times": times,
        "boxes": boxes,
        "boxes_px": [b and [round(v * s, 1) for v, s in zip(b, scale, strict=True)] for b in boxes],
        "confidences": [round(c, 4) for c in confidences],
    }
    if json_out is not None:
        json_out.parent.mkdir(parents=True, exist_ok=True)
        json_out.write_text(json.dumps(answer) + "\n")
    if render_out is not None:
        from elysium.inference.render import render_tracks

        render_tracks(render_out, frames, times, {expression or "object": boxes})
    seen = sum(b is not None for b in boxes)
    print(f"{video}: found in {seen} of {len(boxes)} frames")
    for path in filter(None, (json_out, render_out)):
        print(f"wrote {path}")
    if json_out is None and render_out is None:
        print(json.dumps(boxes))


def describe(video: Path, box: Box, frame: int, model: Path, device: str = "cpu") -> str:
    """A phrase for the object in `box` of frame number `frame` (from 0). Raises UserError if there is no such frame."""
    frames, _ = read_frames(video)
    if not 0 <= frame < len(frames):
        raise UserError(f"{video}: has frames 0 to {len(frames) - 1}, not {frame}")
    engine = Engine.from_pretrained(model, device)
    # The model reads at most 8 frames at once here: those around the one in question.
    start = max(0, min(frame - 3, len(frames) - 8))
    return engine.describe([frames[start : start + 8]], [box], [frame - start])[0]


def ask(video: Path, question: str, model: Path, device: str = "cpu") -> str:
    """The answer to a question about 16 evenly spaced frames of the video (paper, section 4.3)."""
    if not question.strip():
        raise UserError("the question is empty")
    frames, _ = read_frames(video)
    engine = Engine.from_pretrained(model, device)
    count = min(16, len(frames))
    chosen = [frames[round(i * (len(frames) - 1) / max(1, count - 1))] for i in range(count)]
    return engine.ask([chosen], [question])[0]
