"""Question and answer text (paper, section 4.1 and figures 3 and 4).

A question is `Frame 1: <image>, Frame 2: <image>, ...` and a line with the task's template; templates live in
`assets/prompts/TASK.txt`, one a line. Evaluation uses the first, training draws one.
"""

from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files

import numpy as np

from elysium.boxes import Box, format_box

IMAGE = "<image>"


@lru_cache
def templates(task: str) -> tuple[str, ...]:
    """The question templates of a task, the one for evaluation first."""
    text = files("elysium").joinpath("assets", "prompts", f"{task}.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line.strip())


def question(task: str, rng: np.random.Generator | None = None, **fields: object) -> str:
    """The task's question, without the frames; the template is the first, or drawn with `rng`."""
    options = templates(task)
    template = options[0] if rng is None else options[int(rng.integers(len(options)))]
    return template.format(**fields)


def frames_text(n_frames: int, timestamps: bool = True) -> str:
    """`Frame 1: <image>, Frame 2: <image>`, each frame's tokens behind its time stamp, or `<image>, <image>`."""
    return ", ".join(f"Frame {i + 1}: {IMAGE}" if timestamps else IMAGE for i in range(n_frames))


def boxes_answer(boxes: Sequence[Box | None], bins: int = 100) -> str:
    """`Frame 1: [x1,y1,x2,y2], Frame 2: ...`; a frame without the object is named `Frame 3: none`."""
    return ", ".join(f"Frame {i + 1}: {'none' if b is None else format_box(b, bins)}" for i, b in enumerate(boxes))


def objects_answer(objects: Sequence[tuple[str, Box]], bins: int = 100) -> str:
    """All objects of a picture, as in grounded captions: `red ball [1,2,3,4], blue star [5,6,7,8]`."""
    return ", ".join(f"{name} {format_box(box, bins)}" for name, box in objects)
