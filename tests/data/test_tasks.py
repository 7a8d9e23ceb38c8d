"""From records to conversations."""

import numpy as np
import pytest

from elysium.boxes import format_box, parse_boxes
from elysium.data.tasks import Clip, make_conversation
from elysium.samples import ObjectTrack, VideoRecord

BALL = ObjectTrack("red ball", tuple((0.1 + 0.05 * i, 0.1, 0.3 + 0.05 * i, 0.3) for i in range(6)), "ball")
LEAVES = ObjectTrack("blue box", ((0.5, 0.5, 0.8, 0.8), *[None] * 5), "box")
RECORD = VideoRecord("k", "test", (100, 100), tuple(i / 10 for i in range(6)), (BALL, LEAVES), ("A red ball.",))
EVERY = Clip((6, 6), (1, 1))


def talk(*tasks: str, record: VideoRecord = RECORD, seed: int = 0, clip: Clip = EVERY):
    return make_conversation(tasks, record, np.random.default_rng(seed), clip)


def test_sot_asks_with_the_first_box_and_answers_with_all() -> None:
    only = VideoRecord("k", "test", (100, 100), RECORD.frame_times, (BALL,))
    turns = talk("sot", record=only).turns
    assert format_box(BALL.boxes[0]) in turns[0][0]
    assert [format_box(b) for b in parse_boxes(turns[0][1], 6)] == [format_box(b) for b in BALL.boxes]


def test_a_frame_without_the_object_says_none() -> None:
    only = VideoRecord("k", "test", (100, 100), RECORD.frame_times, (LEAVES,))
    answer = talk("rsot", record=only).turns[0][1]
    assert answer.startswith("Frame 1: [50,50,80,80], Frame 2: none, ")


def test_the_question_shows_as_many_frames_as_are_given() -> None:
    for seed in range(20):
        made = talk("reg", seed=seed, clip=Clip((1, 5), (1, 3)))
        if made is not None:
            assert made.turns[0][0].count("<image>") == len(made.frames)


def test_turns_are_about_different_objects() -> None:
    for seed in range(20):
        made = talk("rsot", "rsot", "rsot", seed=seed)
        assert made is not None and len(made.turns) == 2
        assert made.turns[0][1] != made.turns[1][1]
        assert "<image>" not in made.turns[1][0]


def test_a_hidden_object_is_not_asked_for() -> None:
    hidden = VideoRecord("k", "test", (9, 9), (0.0,), (ObjectTrack("ball", ((0, 0, 1, 1),)),), (), {"visible": [[0.1]]})
    assert talk("rec", record=hidden) is None


def test_motion_words_are_kept_from_still_pictures() -> None:
    twin = ObjectTrack("ball moving left", ((0, 0, 1, 1),))
    still = VideoRecord("k", "test", (9, 9), (0.0,), (twin,), (), {"references": [["ball moving left"]]})
    assert talk("rec", record=still) is None


def test_an_unknown_task_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        talk("segment")
