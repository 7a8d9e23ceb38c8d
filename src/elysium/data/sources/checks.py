"""From an item of the official files to a record: what does not fit is left out and named."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from elysium.boxes import Box, as_array, iou
from elysium.data.sources.media import MediaError, load
from elysium.data.sources.reading import Drop, Item, RawBox, RawObject
from elysium.prompts import IMAGE
from elysium.samples import ObjectTrack, Turn, VideoRecord

MIN_INSIDE = 0.5  # share of a box that must lie in the picture
SAME_IOU = 0.5  # boxes that overlap so much are taken to show one object
MAX_SKEW = 0.03  # the annotated and the found width-to-height ratio may differ by so much
MAX_FRAMES = 9999  # a shard numbers frames with four digits

_ARTICLE = re.compile(r"^(an?|the)\s+", re.IGNORECASE)


class BoxError(ValueError):
    """A box that cannot be used; the text is the reason."""


def record(
    item: Item, key: str, source: str, longest_side: int, max_frames: int
) -> tuple[VideoRecord | None, list[Drop]]:
    """The record of an item, or None, and all that was left out of it."""
    dropped = list(item.dropped)
    try:
        frames, size, times = load(item.media, longest_side, max_frames)
    except MediaError as error:
        return None, [*dropped, Drop(error.reason, f"{item.where}: {error.where}")]
    scale = item.scale or (float(size[0]), float(size[1]))
    skew = 0.0 if scale == (1.0, 1.0) or min(scale) <= 0 else abs(scale[0] / scale[1] * size[1] / size[0] - 1)
    if min(scale) <= 0 or skew > MAX_SKEW:
        said = f"annotated as {scale[0]:g}x{scale[1]:g}, the picture is {size[0]}x{size[1]}"
        return None, [*dropped, Drop("picture of another shape than annotated", f"{item.where}: {said}")]
    if len(frames) > MAX_FRAMES:
        return None, [*dropped, Drop("too many frames", f"{item.where}: {len(frames)}")]
    objects, references = _objects(item, scale, len(frames), dropped)
    dialogues = _dialogues(item, scale, dropped)
    captions = tuple(" ".join(c.split()) for c in item.captions if c.strip() and IMAGE not in c)
    if not objects and not dialogues and not captions:
        return None, [*dropped, Drop("nothing left to ask about", item.where)]
    made = VideoRecord(
        key=key,
        source=source,
        frame_size=size,
        frame_times=item.frame_times or tuple(times),
        objects=objects,
        captions=captions,
        metadata={"references": references} if any(len(r) > 1 for r in references) else {},
        frames=tuple(frames),
        dialogues=dialogues,
    )
    return made, dropped


def expression(text: object) -> str:
    """A phrase as prompts take it ("Find the ..."): one line, without a leading article and a full stop.

    Raises BoxError with the reason for one that cannot be used.
    """
    if not isinstance(text, str):
        raise BoxError("phrase that is no text")
    words = _ARTICLE.sub("", " ".join(text.split()).rstrip(". "))
    if not words:
        raise BoxError("empty phrase")
    if IMAGE in words:
        raise BoxError(f"phrase with {IMAGE}")
    return words


def normalised(box: RawBox, scale: tuple[float, float]) -> Box:
    """A box in [0, 1], cut at the border of the picture. Raises BoxError with the reason for one that is none."""
    if not all(math.isfinite(v) for v in box):
        raise BoxError("box that is not finite")
    x1, y1, x2, y2 = box[0] / scale[0], box[1] / scale[1], box[2] / scale[0], box[3] / scale[1]
    if x2 <= x1 or y2 <= y1:
        raise BoxError("box without area")
    cut = (max(x1, 0.0), max(y1, 0.0), min(x2, 1.0), min(y2, 1.0))
    inside = max(0.0, cut[2] - cut[0]) * max(0.0, cut[3] - cut[1])
    if inside < MIN_INSIDE * (x2 - x1) * (y2 - y1):
        raise BoxError("box mostly outside the picture")
    return cut


def _objects(
    item: Item, scale: tuple[float, float], n_frames: int, dropped: list[Drop]
) -> tuple[tuple[ObjectTrack, ...], list[list[str]]]:
    """The objects, each with the phrases that name it alone, the first as its expression."""
    sound: list[tuple[RawObject, list[str], tuple[Box | None, ...]]] = []
    for raw in item.objects:
        try:
            if len(raw.boxes) != n_frames or all(b is None for b in raw.boxes):
                raise BoxError("object without a box, or with another number of boxes than frames")
            boxes = tuple(None if b is None else normalised(b, scale) for b in raw.boxes)
            phrases = list(dict.fromkeys(expression(p) for p in raw.phrases))
        except BoxError as error:
            dropped.append(Drop(str(error), f"{item.where}: {str(raw.phrases[:1])[:80]}"))
        else:
            sound.append((raw, phrases, boxes))
    kept: list[ObjectTrack] = []
    references: list[list[str]] = []
    for phrases, (raw, _, boxes) in zip(_unambiguous(sound), sound, strict=True):
        if phrases:
            kept.append(ObjectTrack(phrases[0], boxes, raw.object_class))
            references.append(phrases)
        else:
            dropped.append(Drop("phrase that names several objects", f"{item.where}: {raw.phrases[0][:80]!r}"))
    return tuple(kept), references


def _unambiguous(sound: Sequence[tuple[RawObject, list[str], tuple[Box | None, ...]]]) -> list[list[str]]:
    """Each object's phrases without those that another object of the picture has, too.

    Where the boxes are as good as the same, it is one object that was annotated twice: the first keeps the phrase.
    """
    owners: dict[str, list[int]] = {}
    for i, (_, phrases, _) in enumerate(sound):
        for phrase in phrases:
            owners.setdefault(phrase.casefold(), []).append(i)
    taken: list[set[str]] = [set() for _ in sound]
    for phrase, those in owners.items():
        first = those[0]
        same = all(_overlap(sound[first][2], sound[i][2]) >= SAME_IOU for i in those[1:])
        for i in those[1:] if same else those:
            taken[i].add(phrase)
    return [
        [p for p in phrases if p.casefold() not in gone]
        for (_, phrases, _), gone in zip(sound, taken, strict=True)
    ]  # fmt: skip


def _overlap(a: Sequence[Box | None], b: Sequence[Box | None]) -> float:
    """Mean IoU over the frames in which one of them is."""
    shown = [i for i in range(len(a)) if a[i] is not None or b[i] is not None]
    return float(np.mean(iou(as_array([a[i] for i in shown]), as_array([b[i] for i in shown]))))


def _dialogues(item: Item, scale: tuple[float, float], dropped: list[Drop]) -> tuple[tuple[Turn, ...], ...]:
    kept = []
    for dialogue in item.dialogues:
        try:
            if any(IMAGE in turn.question + turn.answer for turn in dialogue):
                raise BoxError(f"question or answer with {IMAGE}")
            kept.append(tuple(replace(t, boxes=tuple(normalised(b, scale) for b in t.boxes)) for t in dialogue))
        except BoxError as error:
            dropped.append(Drop(str(error), f"{item.where}: {dialogue[0].question[:80]!r}"))
    return tuple(kept)
