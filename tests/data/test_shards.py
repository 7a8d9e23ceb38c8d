"""Shards: atomic, reproducible, read by position; damaged ones say so."""

import numpy as np
import pytest

from elysium.data.shards import Shard, list_shards, write_shard, write_shards
from elysium.errors import UserError
from elysium.samples import ObjectTrack, Turn, VideoRecord


def record(key: str, n: int = 3) -> VideoRecord:
    track = ObjectTrack("red ball", tuple((0.1, 0.1, 0.5, 0.5) if i % 2 == 0 else None for i in range(n)), "ball")
    jpegs = tuple(f"{key}-{i}".encode() for i in range(n))
    return VideoRecord(
        key, "test", (640, 480), tuple(i / 10 for i in range(n)), (track,), ("A ball.",), {"a": 1}, jpegs
    )


def test_records_come_back_as_they_were(tmp_path) -> None:
    records = [record(f"v{i:03d}", n=i % 4 + 1) for i in range(25)]
    paths = write_shards(tmp_path, "train", records, per_shard=10)
    assert [p.name for p in paths] == ["train-000000.tar", "train-000001.tar", "train-000002.tar"]
    back = [shard[i] for shard in map(Shard, paths) for i in range(len(shard))]
    assert back == records


def test_a_few_frames_are_read_alone(tmp_path) -> None:
    write_shard(tmp_path / "a.tar", [record("x", 9)])
    shard = Shard(tmp_path / "a.tar")
    assert shard.header(0).frames == ()
    assert shard.frames(0, [7, 2]) == [b"x-7", b"x-2"]


def test_the_same_records_give_the_same_bytes(tmp_path) -> None:
    for name in ("a.tar", "b.tar"):
        write_shard(tmp_path / name, [record("x"), record("y")])
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_a_failed_write_leaves_nothing(tmp_path) -> None:
    def records():
        yield record("x")
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError):
        write_shard(tmp_path / "a.tar", records())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", [0.3, 0.9])
def test_a_cut_or_foreign_file_is_refused_with_its_name(tmp_path, cut: float) -> None:
    write_shard(tmp_path / "a.tar", [record(f"k{i}") for i in range(5)])
    data = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "broken.tar").write_bytes(np.random.default_rng(0).bytes(int(len(data) * cut)))
    with pytest.raises(UserError, match=r"broken\.tar"):
        Shard(tmp_path / "broken.tar")


def test_a_folder_without_shards_says_what_to_do(tmp_path) -> None:
    with pytest.raises(UserError, match="run the stage"):
        list_shards(tmp_path, "train")


def test_an_object_needs_as_many_boxes_as_frames() -> None:
    with pytest.raises(ValueError, match="2 boxes for 3 frames"):
        VideoRecord("k", "s", (1, 1), (0.0, 0.1, 0.2), (ObjectTrack("ball", (None, None)),))


def test_dialogues_come_back_as_they_were(tmp_path) -> None:
    turns = (Turn("What is in <box>?", "A dog.", ((0.1, 0.2, 0.3, 0.4),)), Turn("Where?", "On the <not a box>."))
    made = VideoRecord("k", "s", (9, 9), (0.0,), (), (), {}, (b"x",), (turns, turns[1:]))
    write_shard(tmp_path / "a.tar", [made])
    assert Shard(tmp_path / "a.tar")[0] == made
    assert b"dialogues" not in record("k").to_json().encode()  # shards of before keep their bytes


@pytest.mark.parametrize(("question", "answer", "boxes"), [("", "a", ()), ("q", " ", ()), ("q <box>", "a", ())])
def test_a_turn_needs_two_texts_and_its_boxes(question: str, answer: str, boxes: tuple) -> None:
    with pytest.raises(ValueError, match=r"question and an answer|boxes for"):
        Turn(question, answer, boxes)
