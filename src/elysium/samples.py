"""The record that flows from shard to batch: a video (or a picture: one frame) with described, boxed objects."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from elysium.boxes import Box


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
class VideoRecord:
    """A captioned video. `frames` holds one encoded JPEG per frame; a picture is a video of one frame.

    `frame_times` are seconds from the start of the source video, so boxes stay aligned when a user re-extracts frames.
    `frame_size` is (width, height) in pixels of the original frame, to which the boxes are normalised.
    """

    key: str
    source: str
    frame_size: tuple[int, int]
    frame_times: tuple[float, ...]
    objects: tuple[ObjectTrack, ...]
    captions: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    frames: tuple[bytes, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        n = len(self.frame_times)
        if self.frames and len(self.frames) != n:
            raise ValueError(f"{self.key}: {len(self.frames)} frames but {n} frame times")
        for obj in self.objects:
            if len(obj.boxes) != n:
                raise ValueError(f"{self.key}: {obj.expression!r} has {len(obj.boxes)} boxes for {n} frames")

    def to_json(self) -> str:
        """The `.json` member of a shard: all fields except the pixels, keys sorted."""
        return json.dumps(
            {
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
