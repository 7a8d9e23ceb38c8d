"""The record that flows from shard to batch: a video (or a picture: one frame) with described, boxed objects, captions,
and dialogues about it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from elysium.boxes import Box

BOX = "<box>"
MIN_VISIBLE = 0.35  # share of an object that must be unhidden in the frame that refers to it


@dataclass(frozen=True)
class ObjectTrack:
    """One referred object: an expression and one normalised xyxy box per frame (None: absent from that frame)."""

    expression: str
    boxes: tuple[Box | None, ...]
    object_class: str = ""

    def __post_init__(self) -> None:
        if not self.expression.strip():
            raise ValueError("an object needs an expression")


@dataclass(frozen=True)
class Turn:
    """A question and its answer; the n-th `<box>` in the two texts stands for the n-th of `boxes` (normalised xyxy)."""

    question: str
    answer: str
    boxes: tuple[Box, ...] = ()

    def __post_init__(self) -> None:
        if not self.question.strip() or not self.answer.strip():
            raise ValueError("a turn needs a question and an answer")
        if (self.question + self.answer).count(BOX) != len(self.boxes):
            raise ValueError(f"{len(self.boxes)} boxes for the {BOX} of {self.question!r}, {self.answer!r}")


@dataclass(frozen=True)
class VideoRecord:
    """A captioned video. `frames` holds one encoded JPEG per frame; a picture is a video of one frame.

    `frame_times` are seconds from the start of the source video, so boxes stay aligned when a user re-extracts frames.
    `frame_size` is (width, height) in pixels of the original frame, to which the boxes are normalised. The turns of one
    dialogue belong together and keep their order; several dialogues are independent of each other.
    """

    key: str
    source: str
    frame_size: tuple[int, int]
    frame_times: tuple[float, ...]
    objects: tuple[ObjectTrack, ...]
    captions: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    frames: tuple[bytes, ...] = field(default=(), repr=False)
    dialogues: tuple[tuple[Turn, ...], ...] = ()

    def __post_init__(self) -> None:
        n = len(self.frame_times)
        if self.frames and len(self.frames) != n:
            raise ValueError(f"{self.key}: {len(self.frames)} frames but {n} frame times")
        for obj in self.objects:
            if len(obj.boxes) != n:
                raise ValueError(f"{self.key}: {obj.expression!r} has {len(obj.boxes)} boxes for {n} frames")

    def shows(self, index: int, frame: int) -> bool:
        """Whether an object has a box in a frame and, as far as `metadata.visible` says, is not hidden there."""
        visible = self.metadata.get("visible")
        return self.objects[index].boxes[frame] is not None and (
            visible is None or visible[index][frame] >= MIN_VISIBLE
        )

    def to_json(self) -> str:
        """The `.json` member of a shard: all fields except the pixels, keys sorted."""
        talk = [[[t.question, t.answer, t.boxes] for t in dialogue] for dialogue in self.dialogues]
        return json.dumps(
            {
                **({"dialogues": talk} if talk else {}),
                "key": self.key,
                "source": self.source,
                "frame_size": self.frame_size,
                "frame_times": self.frame_times,
                "captions": self.captions,
                "metadata": self.metadata,
                "objects": [
                    {"expression": o.expression, "class": o.object_class, "boxes": o.boxes} for o in self.objects
                ],
            },
            sort_keys=True,
        )

    @classmethod
    def from_json(cls, text: str | bytes, frames: Sequence[bytes] = ()) -> "VideoRecord":
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError on a record of another form."""
        d = json.loads(text)
        return cls(
            key=d["key"],
            source=d["source"],
            frame_size=(int(d["frame_size"][0]), int(d["frame_size"][1])),
            frame_times=tuple(map(float, d["frame_times"])),
            captions=tuple(d["captions"]),
            dialogues=tuple(
                tuple(Turn(question, answer, tuple(map(_box, boxes))) for question, answer, boxes in dialogue)
                for dialogue in d.get("dialogues", ())
            ),
            metadata=d["metadata"],
            objects=tuple(
                ObjectTrack(o["expression"], tuple(None if b is None else _box(b) for b in o["boxes"]), o["class"])
                for o in d["objects"]
            ),
            frames=tuple(frames),
        )


def _box(values: Sequence[float]) -> Box:
    x1, y1, x2, y2 = map(float, values)
    return (x1, y1, x2, y2)


def speaks_of_motion(expression: str) -> bool:
    """Whether a description needs several frames to be understood."""
    return " moving " in expression
