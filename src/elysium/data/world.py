"""The rendered world: data to train and to measure on without any download, bit-identical for a seed.

Splits that share no seed: pictures and videos to train on, videos to evaluate on (short ones and, where asked for, long
ones), and captioned videos (mp4) as the raw input of the curation; `photos` are videos of unnamed cut-outs of
photographs (`data.cutouts`). Each item is drawn from `(world seed, split, index)`.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track as progress

from elysium.config import WorldParams
from elysium.data.cutouts import NAME, draw_cutouts
from elysium.data.scenes import Scene, Thing, draw_scene
from elysium.data.shards import write_shard
from elysium.files import write_atomic
from elysium.samples import ObjectTrack, VideoRecord

SPLITS = {"images": 1, "train": 2, "eval": 3, "raw": 4, "backbones": 5, "single": 6, "album": 7, "photos": 8, "long": 9}
_STILL = ("images", "backbones", "single", "album")
FPS = 10.0
IMAGES_PER_SHARD, VIDEOS_PER_SHARD = 1000, 50
ALBUM_FRAMES = 8
_MIN_VISIBLE = 0.4  # a thing hidden more than this in every frame is not referred to


def rng_of(seed: int, split: str, index: int) -> np.random.Generator:
    """The generator of one item; items of different splits or indices are independent."""
    return np.random.default_rng([seed, SPLITS[split], index])


def build(params: WorldParams, out: Path) -> None:
    """Render every split into `out`: `{images,train,photos,eval,long}-*.tar` and `raw/`. What is there is kept."""
    parts: list[Callable[[], None]] = []
    for split, count, per_shard in (
        ("images", params.images, IMAGES_PER_SHARD),
        ("train", params.train_videos, VIDEOS_PER_SHARD),
        ("photos", params.photo_videos, VIDEOS_PER_SHARD),
        ("eval", params.eval_videos, VIDEOS_PER_SHARD),
        ("long", params.long_videos, VIDEOS_PER_SHARD),
    ):
        parts += _shard_parts(params, out, split, count, per_shard)
    parts += [partial(_raw_video, params, out / "raw", i) for i in range(params.raw_videos)]
    _run_all(parts, params.workers, "rendering the world")
    _join_raw(params, out / "raw")


def build_backbone_images(params: WorldParams, out: Path, count: int) -> None:
    """The pictures on which the small backbones are pretrained: `count` of a split of their own, `count` / 4 with one
    thing each, and `count` / 5 albums: the same things anywhere in each of several pictures.
    """
    parts = _shard_parts(params, out, "backbones", count, IMAGES_PER_SHARD)
    parts += _shard_parts(params, out, "single", count // 4, IMAGES_PER_SHARD)
    parts += _shard_parts(params, out, "album", count // 5, IMAGES_PER_SHARD // ALBUM_FRAMES)
    _run_all(parts, params.workers, "rendering pictures")


def _shard_parts(params: WorldParams, out: Path, split: str, count: int, per_shard: int) -> list[Callable[[], None]]:
    starts = range(0, count, per_shard)
    return [
        partial(_shard, params, out / f"{split}-{k:06d}.tar", split, start, min(start + per_shard, count))
        for k, start in enumerate(starts)
    ]


def _shard(params: WorldParams, path: Path, split: str, start: int, stop: int) -> None:
    if not path.exists():
        write_shard(path, (world_record(params, split, i) for i in range(start, stop)))


def world_record(params: WorldParams, split: str, index: int) -> VideoRecord:
    """Item `index` of a split, with JPEG frames."""
    if split == "photos":
        return _photo_record(params, index)
    moving = split not in _STILL
    most = 1 if split == "single" else params.max_objects
    lengths = {"train": params.train_frames, "eval": params.eval_frames, "long": params.long_frames}
    n_frames = ALBUM_FRAMES if split == "album" else lengths.get(split, 1)
    size = params.eval_size if split in ("eval", "long") else params.image_size
    rng = rng_of(params.seed, split, index)
    scene = draw_scene(rng, n_frames, size, most, moving, album=split == "album")
    record = as_record(scene, f"{split}-{index:06d}", caption(rng, scene), moving)
    jpegs = tuple(_jpeg(frame) for frame in scene.frames)
    return VideoRecord(**{**record.__dict__, "frames": jpegs})


def _photo_record(params: WorldParams, index: int) -> VideoRecord:
    """A video of cut-outs: objects without a description, to be tracked by a given box."""
    rng = rng_of(params.seed, "photos", index)
    drawn = draw_cutouts(rng, params.train_frames, params.image_size, params.max_objects)
    return VideoRecord(
        key=f"photos-{index:06d}",
        source="world",
        frame_size=(params.image_size, params.image_size),
        frame_times=tuple(f / FPS for f in range(params.train_frames)),
        objects=tuple(ObjectTrack(NAME, boxes, NAME) for boxes in drawn.boxes),
        captions=(),
        metadata={"fps": FPS, "visible": drawn.visible},
        frames=tuple(_jpeg(frame) for frame in drawn.frames),
    )


def as_record(scene: Scene, key: str, captions: tuple[str, ...], moving: bool) -> VideoRecord:
    """The record of a scene, without pixels; `metadata.references` lists the descriptions that fit one thing alone."""
    shown = [i for i in range(len(scene.things)) if _is_shown(scene, i)]
    return VideoRecord(
        key=key,
        source="world",
        frame_size=(scene.frames.shape[2], scene.frames.shape[1]),
        frame_times=tuple(f / FPS for f in range(len(scene.frames))),
        objects=tuple(ObjectTrack(scene.things[i].name, scene.boxes[i], scene.things[i].shape) for i in shown),
        captions=captions,
        metadata={
            "fps": FPS,
            "ground": scene.ground,
            "references": [scene.references(scene.things[i], moving) for i in shown],
            "visible": [scene.visible[i] for i in shown],
        },
    )


def _is_shown(scene: Scene, i: int) -> bool:
    """Whether thing `i` can be referred to: there in the first frame, where tracking starts, and not hidden there."""
    return scene.boxes[i][0] is not None and scene.visible[i][0] >= _MIN_VISIBLE


def caption(rng: np.random.Generator, scene: Scene) -> tuple[str, ...]:
    """Captions as people write them: things by name, now and then a plural or an abstract word."""
    names = [_with_article(t) for t in scene.things]
    listed = names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
    verb = "moves" if len(names) == 1 else "move"
    place = {"wall": "in front of", "sky": "under"}.get(scene.ground.split()[-1], "over")
    tails = ["", "", " in slow motion", " for a long time", " between two shadows"]
    return (f"{listed} {verb} {place} a {scene.ground}{rng.choice(tails)}.".capitalize(),)


def _with_article(thing: Thing) -> str:
    name = thing.name
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _jpeg(frame: np.ndarray) -> bytes:
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92])
    assert ok
    return data.tobytes()


def _raw_video(params: WorldParams, folder: Path, index: int) -> None:
    """One captioned video: `NAME.mp4` and `NAME.json` (caption and truth), each by atomic rename, the mp4 last."""
    from elysium.data.video import write_video

    name = f"world-{index:05d}"
    if (folder / f"{name}.mp4").exists():
        return
    rng = rng_of(params.seed, "raw", index)
    scene = draw_scene(rng, params.raw_frames, params.raw_size, params.max_objects)
    record = as_record(scene, name, caption(rng, scene), True)
    write_atomic(folder / f"{name}.json", record.to_json())
    write_video(folder / f"{name}.mp4", scene.frames, FPS)


def _join_raw(params: WorldParams, folder: Path) -> None:
    """`captions.jsonl` for the curation, `truth.jsonl` for measuring it."""
    records = [VideoRecord.from_json((folder / f"world-{i:05d}.json").read_text()) for i in range(params.raw_videos)]
    _write_lines(folder / "captions.jsonl", ({"video": f"{r.key}.mp4", "captions": r.captions} for r in records))
    truth = (
        {
            "video": f"{r.key}.mp4",
            "objects": [{"expression": o.expression, "class": o.object_class, "boxes": o.boxes} for o in r.objects],
        }
        for r in records
    )
    _write_lines(folder / "truth.jsonl", truth)


def _write_lines(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    write_atomic(path, "".join(json.dumps(row) + "\n" for row in rows))


def _run_all(parts: list[Callable[[], None]], workers: int, title: str) -> None:
    if workers <= 1:
        for part in progress(parts, title):
            part()
        return
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        futures = [pool.submit(part) for part in parts]
        for future in progress(futures, title):
            future.result()
