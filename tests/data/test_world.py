"""The rendered world: reproducible, with boxes that fit what is drawn."""

from dataclasses import replace

import numpy as np
import pytest

from elysium.config import WorldParams
from elysium.data import world
from elysium.data.cutouts import Piece, photographs
from elysium.data.scenes import SHAPES, draw_scene
from elysium.data.shards import list_shards, read_records

SMALL = WorldParams(images=6, train_videos=2, train_frames=8, eval_videos=2, eval_frames=8, raw_videos=1, workers=1)
LONG = replace(SMALL, photo_videos=2, long_videos=1, long_frames=12)


def test_the_same_seed_gives_the_same_bytes(tmp_path) -> None:
    for name in ("a", "b"):
        world.build(LONG, tmp_path / name)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert files
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_splits_share_no_scene() -> None:
    draws = [world.rng_of(0, split, i).random(4).tobytes() for split in world.SPLITS for i in range(200)]
    assert len(set(draws)) == len(draws)


@pytest.mark.parametrize("index", range(12))
def test_boxes_are_exact(index: int) -> None:
    """A scene with one thing on flat ground: the box is that of the pixels the thing changes."""
    rng = np.random.default_rng([5, index])
    scene = draw_scene(rng, 1, 256, 1, moving=False)
    box = scene.boxes[0][0]
    assert box is not None
    colour = scene.frames[0].astype(int)
    ground = np.median(colour.reshape(-1, 3), axis=0)
    inside = np.zeros((256, 256), dtype=bool)
    x1, y1, x2, y2 = (round(v * 256) for v in box)
    inside[max(0, y1 - 2) : y2 + 2, max(0, x1 - 2) : x2 + 2] = True
    far = np.abs(colour - ground).max(-1)
    assert far[~inside].max() < far[inside].max()
    ys, xs = np.nonzero((far > 0.5 * far[inside].max()) & inside)
    found = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
    # Patterns may leave the outermost row pale; a star's tip is thinner than a pixel.
    assert np.abs(np.array(found) - (x1, y1, x2, y2)).max() <= 0.12 * 256 * scene.things[0].side + 3


@pytest.mark.parametrize("index", range(6))
def test_boxes_of_cutouts_are_those_of_their_pixels(index: int) -> None:
    """The alpha that is painted ends where the box ends, frame by frame."""
    rng = np.random.default_rng([7, index])
    piece = Piece.draw(rng, photographs()[0], 256)
    for frame in range(8):
        box = piece.box(frame)
        alpha = piece.paint(np.zeros((256, 256, 3), dtype=np.float32), frame)
        if box is not None:
            ys, xs = np.nonzero(alpha > 0.5)
            found = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
            assert np.abs(found - np.array(box) * 256).max() <= 1.5


def test_photos_and_long_videos_are_records_like_the_others(tmp_path) -> None:
    world.build(LONG, tmp_path)
    photos = list(read_records(tmp_path, "photos"))
    assert [len(r.frames) for r in photos] == [8, 8]
    assert all(o.expression == "thing" and len(o.boxes) == 8 for r in photos for o in r.objects)
    (long,) = read_records(tmp_path, "long-")
    assert len(long.frames) == 12
    assert long.frame_size == (128, 128)


def test_every_reference_fits_one_thing_alone() -> None:
    for index in range(60):
        scene = draw_scene(np.random.default_rng([6, index]), 1, 32, 4)
        lists = [scene.references(t, moving=True) for t in scene.things]
        names = [name for names in lists for name in names]
        assert len(set(names)) == len(names)
        assert all(t.shape in name for t, names in zip(scene.things, lists, strict=True) for name in names)


def test_records_carry_times_and_expressions(tmp_path) -> None:
    world.build(SMALL, tmp_path)
    records = list(read_records(tmp_path, "eval"))
    assert len(records) == 2
    for record in records:
        assert len(record.frames) == 8 and record.frame_times[1] == pytest.approx(0.1)
        assert all(o.object_class in SHAPES for o in record.objects)
    assert len(list_shards(tmp_path, "images")) == 1
    assert (tmp_path / "raw" / "captions.jsonl").read_text().startswith('{"video": "world-00000.mp4"')


def test_an_album_shows_the_same_things_at_unrelated_places() -> None:
    moves = []
    for index in range(20):
        record = world.world_record(SMALL, "album", index)
        assert len(record.frames) == world.ALBUM_FRAMES and record.frame_size == (64, 64)
        for track in record.objects:
            boxes = np.array([b for b in track.boxes if b is not None])
            assert len(boxes) == world.ALBUM_FRAMES
            moves += list(np.abs(np.diff((boxes[:, :2] + boxes[:, 2:]) / 2, axis=0)).max(1))
            assert " moving " not in " ".join(record.metadata["references"][record.objects.index(track)])
    assert np.median(moves) > 0.25  # of the frame: a box held still, or one pushed on, is wrong


def test_the_backbones_pictures_come_as_three_splits(tmp_path) -> None:
    world.build_backbone_images(SMALL, tmp_path, 20)
    counts = {split: sum(1 for _ in read_records(tmp_path, split)) for split in ("backbones", "single", "album")}
    assert counts == {"backbones": 20, "single": 5, "album": 4}
    assert all(len(r.objects) <= 1 for r in read_records(tmp_path, "single"))
