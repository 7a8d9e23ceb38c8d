"""A handful of rendered, captioned videos, made once."""

from dataclasses import replace

import pytest

from elysium.config import WorldParams
from elysium.data.world import build

WORLD = WorldParams(seed=3, images=0, train_videos=0, eval_videos=0, raw_videos=6, raw_frames=16, workers=1)


@pytest.fixture(scope="session")
def raw_world(tmp_path_factory):
    """Folder with six mp4, captions.jsonl and truth.jsonl."""
    out = tmp_path_factory.mktemp("world")
    build(replace(WORLD, raw_size=160), out)
    return out / "raw"
