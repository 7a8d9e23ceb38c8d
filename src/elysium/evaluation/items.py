"""What is evaluated: one item per described object of a held-out video, with the raw annotation as truth."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

import cv2
import numpy as np

from elysium.boxes import Box, as_array, to_xywh_px
from elysium.data.shards import read_records
from elysium.errors import UserError
from elysium.samples import VideoRecord


class JpegFrames(Sequence[np.ndarray]):
    """Frames decoded when they are read (RGB uint8 `[H, W, 3]`), so a long video is never held whole."""

    def __init__(self, jpegs: Sequence[bytes]) -> None:
        self._jpegs = tuple(jpegs)

    def __len__(self) -> int:
        return len(self._jpegs)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> "JpegFrames": ...
    def __getitem__(self, index: int | slice) -> "np.ndarray | JpegFrames":
        if isinstance(index, slice):
            return JpegFrames(self._jpegs[index])
        image = cv2.imdecode(np.frombuffer(self._jpegs[index], np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise UserError(f"frame {index} is not a readable JPEG; rebuild the stage that wrote the shard")
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


@dataclass(frozen=True)
class Item:
    """One object of one video, from the first evaluated frame in which it is visible to the end.

    `frames` are frame numbers of the record, `times` their seconds, `boxes` the annotation (normalised xyxy, None:
    absent), `references` the phrases that describe the object, `frame_size` (width, height) in pixels.
    """

    id: str
    video: str
    expression: str
    references: tuple[str, ...]
    frame_size: tuple[int, int]
    frames: tuple[int, ...]
    boxes: tuple[Box | None, ...]
    times: tuple[float, ...]
    pixels: Sequence[np.ndarray] = field(repr=False, compare=False)


def load_items(folder: Path, prefix: str = "eval", *, frames: int = 0, limit: int = 0) -> list[Item]:
    """The items of a folder's shards `PREFIX*.tar`.

    `frames` > 0 keeps so many evenly spaced frames of each video, `limit` > 0 so many videos. Objects that are visible
    in fewer than two of the frames cannot be tracked and are left out. Raises UserError if there is no shard.
    """
    items: list[Item] = []
    for n, record in enumerate(read_records(folder, prefix)):
        if limit and n >= limit:
            break
        items += _items_of(record, frames)
    return items


def _items_of(record: VideoRecord, frames: int) -> Iterable[Item]:
    n = len(record.frames)
    kept = np.unique(np.linspace(0, n - 1, min(frames, n) if frames else n).round().astype(int)).tolist()
    references = record.metadata.get("references") or []
    for i, obj in enumerate(record.objects):
        visible = [f for f in kept if obj.boxes[f] is not None]
        if len(visible) < 2:
            continue
        numbers = tuple(f for f in kept if f >= visible[0])
        phrases = references[i] if len(references) == len(record.objects) else []
        yield Item(
            id=f"{record.key}/{i}",
            video=record.key,
            expression=obj.expression,
            references=tuple(dict.fromkeys([obj.expression, *phrases])),
            frame_size=record.frame_size,
            frames=numbers,
            boxes=tuple(obj.boxes[f] for f in numbers),
            times=tuple(record.frame_times[f] for f in numbers),
            pixels=JpegFrames([record.frames[f] for f in numbers]),
        )


def boxes_px(boxes: Sequence[Sequence[float] | None], frame_size: Sequence[int]) -> np.ndarray:
    """Normalised xyxy boxes -> `[n, 4]` x, y, width, height in pixels of the original frame; NaN where None."""
    return to_xywh_px(as_array(boxes), frame_size[0], frame_size[1])


def fingerprint(paths: Iterable[Path]) -> str:
    """SHA-256 over names and contents of files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + b"\0")
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
