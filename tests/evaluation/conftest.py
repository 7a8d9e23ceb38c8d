"""Held-out scenes of plain coloured boxes, as the stages world and curate would leave them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from elysium.boxes import Box
from elysium.config import EvalParams, Params
from elysium.data.shards import write_shards
from elysium.evaluation.reg import REGScorer
from elysium.samples import ObjectTrack, VideoRecord
from tests.evaluation.colour_model import COLOURS

SIZE = (96, 64)  # width, height


def scene(key: str, n_frames: int, colours: list[str], hidden: frozenset[int] = frozenset()) -> VideoRecord:
    """Boxes of 14 px, one per colour, that drift to the right; the first one is absent from the frames `hidden`."""
    width, height = SIZE
    frames, tracks = [], [[] for _ in colours]  # type: ignore[var-annotated]
    for f in range(n_frames):
        image = np.full((height, width, 3), 90, np.uint8)
        for k, colour in enumerate(colours):
            x, y = 4 + f * 60 // n_frames + 5 * k, 3 + 20 * k
            if k == 0 and f in hidden:
                tracks[k].append(None)
                continue
            image[y : y + 14, x : x + 14] = COLOURS[colour]
            tracks[k].append((x / width, y / height, (x + 14) / width, (y + 14) / height))
        ok, jpeg = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 98])
        assert ok
        frames.append(jpeg.tobytes())
    boxes: list[tuple[Box | None, ...]] = [tuple(t) for t in tracks]
    return VideoRecord(
        key=key,
        source="colours",
        frame_size=SIZE,
        frame_times=tuple(f / 10 for f in range(n_frames)),
        objects=tuple(ObjectTrack(f"{c} box", b, "box") for c, b in zip(colours, boxes, strict=True)),
        frames=tuple(frames),
    )


def write_scenes(root: Path) -> Params:
    """Three world videos (one of 40 frames, one whose object is hidden in two frames); nothing curated."""
    records = [
        scene("eval-000000", 8, ["red", "green"]),
        scene("eval-000001", 40, ["blue", "yellow", "red"]),
        scene("eval-000002", 8, ["green"], frozenset({3, 4})),
    ]
    write_shards(root / "world", "eval", records, per_shard=2)
    return replace(Params(preset="debug", artifacts=str(root)), eval=EvalParams(batch_size=4, render=2))


@pytest.fixture
def scenes(tmp_path: Path) -> Params:
    """The parameters of `write_scenes` in a folder of its own."""
    return write_scenes(tmp_path)


@pytest.fixture(scope="session")
def caption_scorer() -> Iterator[REGScorer]:
    """One METEOR process for all tests: it loads for many seconds."""
    with REGScorer() as scorer:
        yield scorer
