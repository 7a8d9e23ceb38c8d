"""What is evaluated: one item per described object of a held-out video, with the raw annotation as truth."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, overload

import numpy as np

from elysium.boxes import Box, as_array, to_xywh_px
from elysium.data.shards import decode_jpeg, read_records
from elysium.samples import VideoRecord, speaks_of_motion

Source = TypeVar("Source")


class LazyFrames(Sequence[np.ndarray]):
    """Pictures (RGB uint8 `[H, W, 3]`) that are read when they are looked at, so a long video is never held whole.

    `read` makes a picture of a source: of a path (`sequences.read_picture`), of a JPEG's bytes (`shards.decode_jpeg`).
    """

    def __init__(self, sources: Sequence[Source], read: Callable[[Source], np.ndarray]) -> None:
        self._sources, self._read = sources, read

    def __len__(self) -> int:
        return len(self._sources)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> "LazyFrames": ...
    def __getitem__(self, index: int | slice) -> "np.ndarray | LazyFrames":
        if isinstance(index, slice):
            return LazyFrames(self._sources[index], self._read)
        return self._read(self._sources[index])


@dataclass(frozen=True)
class Item:
    """One object of one video, from the first evaluated frame in which it is visible to the end.

    `frames` are frame numbers of the record, `times` their seconds, `boxes` the annotation (normalised xyxy, None:
    absent), `references` the phrases that describe the object, `frame_size` (width, height) in pixels. `answerable`
    says of each frame whether that picture alone answers the expression: the object is not hidden in it, and no word
    speaks of motion. REC is asked of those frames only; empty: of all.
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
    answerable: tuple[bool, ...] = ()


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
            pixels=LazyFrames([record.frames[f] for f in numbers], decode_jpeg),
            answerable=tuple(record.shows(i, f) and not speaks_of_motion(obj.expression) for f in numbers),
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
