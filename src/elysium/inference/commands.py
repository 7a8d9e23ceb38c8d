"""What `elysium track`, `describe` and `ask` do, and the page and the served model with them: one video, questions."""

import itertools
import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from elysium.boxes import Box
from elysium.data.video import iter_frames, probe
from elysium.errors import UserError
from elysium.files import write_atomic
from elysium.inference.clips import Trajectory, track_streams
from elysium.inference.engine import Engine, Query
from elysium.prompts import IMAGE

LONGEST_TEXT = 300  # characters of an expression or a question
ASKED_FRAMES = 16  # evenly spaced, for a question about a video (paper, section 4.3)
DESCRIBED_FRAMES = 8
RENDERED = (".mp4", ".gif")


def check_text(text: str, what: str = "expression") -> str:
    """An expression or question as the model may be asked. Raises UserError on an empty or unreasonable one."""
    text = " ".join(text.split())
    if not text:
        raise UserError(f"the {what} is empty")
    if len(text) > LONGEST_TEXT:
        raise UserError(f"the {what} has {len(text)} characters; at most {LONGEST_TEXT}")
    if IMAGE in text:
        raise UserError(f"the {what} must not contain {IMAGE}")
    return text


def check_box(box: Sequence[float]) -> Box:
    """A normalised xyxy box. Raises UserError if it leaves the frame or its corners are swapped."""
    if len(box) != 4 or not all(isinstance(v, float | int) for v in box):
        raise UserError(f"{box!r}: a box is four numbers x1, y1, x2, y2 in [0, 1]")
    x1, y1, x2, y2 = map(float, box)
    if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
        raise UserError(f"box {x1:g},{y1:g},{x2:g},{y2:g}: needs 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1")
    return (x1, y1, x2, y2)


def make_query(expression: str | None, box: Sequence[float] | None) -> Query:
    """A checked query. Raises UserError, also if both are None."""
    if expression is None and box is None:
        raise UserError("give an expression, or a box of four numbers x1, y1, x2, y2 in [0, 1]")
    return Query(
        None if expression is None else check_text(expression),
        None if box is None else check_box(box),
    )


@dataclass
class Stream:
    """The frames of a video as the model sees them, decoded as they are asked for; times and size are noted on the way.

    `frame_size` is the original's width and height in pixels. Raises UnreadableVideo while it is read.
    """

    video: Path
    engine: Engine
    times: list[float] = field(default_factory=list)
    frame_size: tuple[int, int] = (0, 0)

    def __iter__(self) -> Iterator[np.ndarray]:
        for frame, time in iter_frames(self.video):
            self.times.append(time)
            self.frame_size = (frame.shape[1], frame.shape[0])
            yield self.engine.processor.square(frame)


@dataclass
class Tracked:
    """The trajectories of a video, one per query, and what is needed to write them down."""

    video: Path
    frame_size: tuple[int, int]
    times: list[float]
    trajectories: list[Trajectory]

    def labels(self) -> list[str]:
        """A name for each trajectory: its expression, or "box"; numbered where several have the same."""
        names = [t.query.expression or "box" for t in self.trajectories]
        return [n if names.count(n) == 1 else f"{n} {names[: i + 1].count(n)}" for i, n in enumerate(names)]

    def as_json(self) -> dict[str, Any]:
        """Per track and frame: `boxes` (xyxy, normalised; null where the object is absent), `boxes_px`, `confidences`.

        `times` are seconds from the first frame; `lost` and `regrounded` are frame numbers (see `Trajectory`).
        """
        width, height = self.frame_size
        tracks = [
            {
                "label": label,
                "expression": t.query.expression,
                "first_box": t.query.box,
                "boxes": [b and [round(v, 4) for v in b] for b in t.boxes],
                "boxes_px": [
                    b and [round(v * s, 1) for v, s in zip(b, (width, height) * 2, strict=True)] for b in t.boxes
                ],
                "confidences": [round(c, 4) for c in t.confidences],
                "lost": t.lost,
                "regrounded": t.regrounded,
            }
            for label, t in zip(self.labels(), self.trajectories, strict=True)
        ]
        times = [round(t, 4) for t in self.times]
        return {"video": self.video.name, "frame_size": [width, height], "times": times, "tracks": tracks}

    def write_json(self, path: Path) -> None:
        """Whole or not there."""
        write_atomic(path, json.dumps(self.as_json()) + "\n")

    def render(self, path: Path) -> None:
        """Decode the video once more and write it with its boxes, as mp4 or gif; whole or not there."""
        from elysium.inference.render import render_tracks

        tracks = {label: t.boxes for label, t in zip(self.labels(), self.trajectories, strict=True)}
        render_tracks(path, (frame for frame, _ in iter_frames(self.video)), self.times, tracks)


def track(
    engine: Engine, video: Path, queries: Sequence[Query], advance: Callable[[int], object] = lambda n: None
) -> Tracked:
    """Follow what each query names through a video of any length. Raises UnreadableVideo."""
    stream = Stream(video, engine)
    (trajectories,) = track_streams(
        engine.follow_many, [stream], [queries], max_frames=engine.max_frames, advance=advance
    )
    return Tracked(video, stream.frame_size, stream.times, trajectories)


def track_command(
    engine: Engine, videos: Iterator[Path], queries: Sequence[Query], json_out: Path | None, render_out: Path | None,
    several: bool,
) -> None:  # fmt: skip
    """Track in each video; JSON to a file or to stdout, pictures to a file, or (`several`) to a folder.

    Of several videos those that cannot be read are named on stderr and left out. Raises UserError after the last one,
    or on the only one.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    lines: list[str] = []
    bad = count = 0
    for count, video in enumerate(videos, 1):
        try:
            with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
                bar = progress.add_task(video.name, total=probe(video).n_frames)
                done = track(engine, video, queries, lambda n, p=progress, b=bar: p.advance(b, n))  # type: ignore[misc]
                target = _place(render_out, video, several, count)
                if target is not None:
                    done.render(target)
        except UserError as error:
            if not several:
                raise
            bad += 1
            console.print(f"error: {' '.join(str(error).split())}", markup=False)
            continue
        for label, t in zip(done.labels(), done.trajectories, strict=True):
            seen = sum(box is not None for box in t.boxes)
            console.print(f"{video}: {label} found in {seen} of {len(t.boxes)} frames", markup=False)
        if target is not None:
            console.print(f"wrote {target}", markup=False)
        lines.append(json.dumps(done.as_json()))
        if json_out is None and (several or render_out is None):
            print(lines.pop(), flush=True)
    if json_out is not None and lines:
        write_atomic(json_out, "\n".join(lines) + "\n")
        console.print(f"wrote {json_out}", markup=False)
    if not count:
        raise UserError("no video was named")
    if bad:
        raise UserError(f"{bad} of {count} videos could not be tracked")


def _place(render_out: Path | None, video: Path, several: bool, number: int) -> Path | None:
    """Where the picture of a video goes; of several, into a folder under a name of their own."""
    if render_out is None or not several:
        return render_out
    return render_out / f"{number:04}-{video.name.rsplit('.', 1)[0]}.mp4"


def check_render(path: Path | None, several: bool) -> None:
    """Raises UserError if pictures cannot go there."""
    if path is None:
        return
    if several:
        if path.exists() and not path.is_dir():
            raise UserError(f"{path}: several videos are rendered into a folder, and this is a file")
    elif path.suffix.lower() not in RENDERED:
        raise UserError(f"{path}: the name of a rendered video ends in {' or '.join(RENDERED)}")


def describe(engine: Engine, video: Path, box: Box, frame: int) -> str:
    """A phrase for the object in `box` of frame number `frame` (from 0), from it and its neighbours.

    Raises UserError if there is no such frame.
    """
    near: deque[np.ndarray] = deque(maxlen=DESCRIBED_FRAMES)
    count = 0
    for count, picture in enumerate(Stream(video, engine), 1):
        near.append(picture)
        if count >= max(DESCRIBED_FRAMES, frame + DESCRIBED_FRAMES // 2 + 1):
            break
    if not 0 <= frame < count:
        raise UserError(f"{video}: has frames 0 to {count - 1}, not {frame}")
    return engine.describe([list(near)], [box], [frame - (count - len(near))])[0]


def ask(engine: Engine, video: Path, question: str) -> str:
    """The answer to a question about 16 evenly spaced frames of the video (paper, section 4.3)."""
    asked = check_text(question, "question")
    # Containers do not always know how many frames they hold, so they are counted first.
    count = sum(1 for _ in iter_frames(video, longest_side=16))
    few = min(ASKED_FRAMES, count)
    chosen = sorted({round(i * (count - 1) / max(1, few - 1)) for i in range(few)})
    pictures = list(itertools.compress(Stream(video, engine), (i in chosen for i in range(chosen[-1] + 1))))
    return engine.ask([pictures], [asked])[0]
