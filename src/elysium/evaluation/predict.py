"""Running a model over a set and keeping every prediction: `predictions/<set>_<job>.jsonl`, one line per item.

A job's file appears by atomic rename together with `<set>_<job>.meta.json`, which says what it was made from; a later
run with the same model, data and settings reads it instead of computing it again.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np
from rich.progress import Progress

from elysium.boxes import Box
from elysium.config import EvalParams
from elysium.evaluation.baselines import csrt
from elysium.evaluation.items import Item
from elysium.files import write_atomic
from elysium.inference.clips import Frames, track_videos

if TYPE_CHECKING:  # scoring stored predictions needs no model
    from elysium.inference.engine import Query

VERSION = 2  # raised when the meaning of the stored predictions changes
REG_FRAMES = 16  # a longer video is sampled evenly, as for VideoQA (section 4.3)

JOBS_OF_TASK = {
    "rec": ("frames",),
    "sot": ("sot", "csrt"),
    "rsot": ("rsot", "frames", "csrt_words"),
    "reg": ("reg", "reg_one_frame"),
}


class Model(Protocol):
    """What is asked of a model; `elysium.inference.engine.Engine` is one."""

    @property
    def max_frames(self) -> int:
        """Up to so many frames a video is one clip."""
        ...

    def track(self, videos: Sequence[Frames], queries: Sequence["Query"]) -> list[list[Box | None]]:
        """One box per frame of each clip, from a box of its first frame, an expression, or both."""
        ...

    def locate(self, images: Sequence[np.ndarray], expressions: Sequence[str]) -> list[Box | None]:
        """The box of each expression in its picture."""
        ...

    def describe(self, videos: Sequence[Frames], boxes: Sequence[Box], frames: Sequence[int]) -> list[str]:
        """A phrase for the object in a box of the given frame (0-based) of each video."""
        ...


def jobs_of(params: EvalParams) -> list[str]:
    """The jobs behind `params.tasks`, each once, in a fixed order."""
    jobs = dict.fromkeys(job for task in params.tasks for job in JOBS_OF_TASK[task])
    return [job for job in jobs if not job.startswith("csrt") or params.csrt]


def predict(
    model: Model,
    job: str,
    items: Sequence[Item],
    params: EvalParams,
    path: Path,
    made_from: dict[str, Any],
    progress: Progress,
) -> bool:
    """Write the predictions of one job; True if they were computed, False if they were there already."""
    key = json.loads(json.dumps({"version": VERSION, "job": job, **made_from}))
    meta = path.with_suffix(".meta.json")
    if path.is_file() and meta.is_file() and json.loads(meta.read_text()).get("made_from") == key:
        return False
    meta.unlink(missing_ok=True)
    began = time.perf_counter()
    # Clips of one length batch without padding; the order of the lines does not depend on it.
    order = sorted(range(len(items)), key=lambda i: (len(items[i].frames), items[i].id))
    rows: dict[int, dict[str, Any]] = {}
    bar = progress.add_task(path.stem, total=len(items))
    for start in range(0, len(order), params.batch_size):
        chunk = order[start : start + params.batch_size]
        rows.update(zip(chunk, run_job(model, job, [items[i] for i in chunk], params), strict=True))
        progress.advance(bar, len(chunk))
    write_atomic(path, "".join(json.dumps(rows[i]) + "\n" for i in range(len(items))))
    frames = sum(len(i.frames) for i in items)
    seconds = round(time.perf_counter() - began, 3)
    write_atomic(meta, json.dumps({"made_from": key, "items": len(items), "frames": frames, "seconds": seconds}))
    return True


def run_job(model: Model, job: str, items: Sequence[Item], params: EvalParams) -> list[dict[str, Any]]:
    """The lines of a few items, in their order."""
    return list(_RUN[job](model, items, params))


def read_predictions(path: Path) -> list[dict[str, Any]]:
    """The lines of a prediction file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def _sot(model: Model, items: Sequence[Item], params: EvalParams) -> Iterator[dict[str, Any]]:
    from elysium.inference.engine import Query

    return _tracked(model, items, params, [Query(box=item.boxes[0]) for item in items])


def _rsot(model: Model, items: Sequence[Item], params: EvalParams) -> Iterator[dict[str, Any]]:
    from elysium.inference.engine import Query

    return _tracked(model, items, params, [Query(expression=item.expression) for item in items])


def _tracked(
    model: Model, items: Sequence[Item], params: EvalParams, queries: Sequence["Query"]
) -> Iterator[dict[str, Any]]:
    videos = [item.pixels for item in items]
    found = track_videos(model.track, videos, queries, params.clip, model.max_frames)
    return (_tracking_row(item, boxes) for item, boxes in zip(items, found, strict=True))


def _frames(model: Model, items: Sequence[Item], params: EvalParams) -> Iterator[dict[str, Any]]:
    """REC on each frame alone: the paper's baseline of Table 5, and what REC accuracy is taken from."""
    places = [(item, f) for item in items for f in range(len(item.frames))]
    found: list[Box | None] = []
    at_once = params.batch_size * params.clip  # pictures: as many as in that many clips
    for start in range(0, len(places), at_once):
        part = places[start : start + at_once]
        found += model.locate([item.pixels[f] for item, f in part], [item.expression for item, _ in part])
    boxes = iter(found)
    for item in items:
        yield _tracking_row(item, [next(boxes) for _ in item.frames])


def _csrt(model: Model, items: Sequence[Item], params: EvalParams) -> Iterator[dict[str, Any]]:
    return _from_first_box(items, [item.boxes[0] for item in items])


def _csrt_words(model: Model, items: Sequence[Item], params: EvalParams) -> Iterator[dict[str, Any]]:
    """CSRT from the box that REC finds in the first frame; no box at all where it finds none."""
    return _from_first_box(items, model.locate([i.pixels[0] for i in items], [i.expression for i in items]))


def _from_first_box(items: Sequence[Item], boxes: Sequence[Box | None]) -> Iterator[dict[str, Any]]:
    """CSRT works outside Python's lock, so each core follows another object, with one of OpenCV's threads each."""

    def follow(item: Item, box: Box | None) -> list[Box | None]:
        return [None] * len(item.frames) if box is None else csrt(item.pixels, box)

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for item, found in zip(items, pool.map(follow, items, boxes), strict=True):
                yield _tracking_row(item, found)
    finally:
        cv2.setNumThreads(threads)


def _reg(model: Model, items: Sequence[Item], params: EvalParams) -> Iterator[dict[str, Any]]:
    """The object of the first frame described from the video; a long one is sampled evenly, that frame included."""
    videos: list[Frames] = []
    most = min(REG_FRAMES, model.max_frames)
    for item in items:
        n = len(item.frames)
        few = range(n) if n <= model.max_frames else np.linspace(0, n - 1, most).round().astype(int)
        videos.append([item.pixels[int(f)] for f in few])
    return _described(model, items, videos)


def _reg_one_frame(model: Model, items: Sequence[Item], params: EvalParams) -> Iterator[dict[str, Any]]:
    """The object described from that frame alone: the paper's baseline of Table 6."""
    return _described(model, items, [[item.pixels[0]] for item in items])


def _described(model: Model, items: Sequence[Item], videos: Sequence[Frames]) -> Iterator[dict[str, Any]]:
    boxes = [item.boxes[0] for item in items]
    phrases = model.describe(videos, [b for b in boxes if b is not None], [0] * len(items))
    for item, phrase in zip(items, phrases, strict=True):
        yield {**_row(item), "references": item.references, "frame": item.frames[0], "phrase": phrase}


def _row(item: Item) -> dict[str, Any]:
    return {"id": item.id, "video": item.video, "expression": item.expression}


def _tracking_row(item: Item, boxes: Sequence[Box | None]) -> dict[str, Any]:
    """Normalised boxes of the prediction and of the raw annotation, frame by frame: scoring needs nothing else."""
    size = {"frame_size": item.frame_size, "frames": item.frames}
    row = {**_row(item), **size, "truth": item.boxes, "boxes": list(boxes)}
    return row | {"answerable": item.answerable} if item.answerable else row


_RUN: dict[str, Callable[[Model, Sequence[Item], EvalParams], Iterator[dict[str, Any]]]] = {
    "sot": _sot,
    "rsot": _rsot,
    "frames": _frames,
    "csrt": _csrt,
    "csrt_words": _csrt_words,
    "reg": _reg,
    "reg_one_frame": _reg_one_frame,
}
JOBS = tuple(_RUN)
