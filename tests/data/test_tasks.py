"""From records to conversations."""

import numpy as np
import pytest

from elysium.boxes import format_box, parse_boxes
from elysium.data.tasks import Clip, make_conversation
from elysium.samples import ObjectTrack, Turn, VideoRecord

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


def test_time_stamps_can_be_left_out_of_the_question() -> None:
    bare = make_conversation(("sot",), RECORD, np.random.default_rng(0), EVERY, timestamps=False)
    assert bare is not None and bare.turns[0][0].startswith(", ".join(["<image>"] * 6) + "\n")
    assert bare.turns[0][1] == talk("sot").turns[0][1]


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


WHERE = Turn("Which is left of <box>?", "<box>", ((0.5, 0.5, 0.8, 0.8), (0.1, 0.1, 0.3, 0.3)))
TALKS = ((Turn("What?", "A ball."), Turn("Its colour?", "Red.")), (WHERE,), (Turn("How many?", "2"),))
TALKED = VideoRecord("k", "test", (100, 100), tuple(map(float, range(20))), (), ("A red ball.",), dialogues=TALKS)


def test_ask_gives_one_dialogue_whole_and_in_order() -> None:
    seen = set()
    for seed in range(20):
        made = talk("ask", record=TALKED, seed=seed)
        (first, *_), *later = made.turns
        assert first.startswith("Frame 1: <image>, Frame 2: <image>")
        seen.add((first.split("\n")[1], *later))
    assert seen == {("What?", ("Its colour?", "Red.")), ("Which is left of [50,50,80,80]?",), ("How many?",)}
    assert talk("ask") is None


def test_vqa_gives_several_questions_and_says_what_kind_of_answer_it_wants() -> None:
    made = talk("vqa", "vqa", "vqa", record=TALKED)
    assert sorted(answer for _, answer in made.turns) == ["2", "A ball.", "[10,10,30,30]"]
    for asked, answer in made.turns:
        assert ("coordinates" in asked) == answer.startswith("[")
        assert asked.rstrip() != asked.split("?")[0] + "?"
    assert sum("<image>" in asked for asked, _ in made.turns) == 1
    assert len(talk("vqa", record=TALKED).turns) == 1


def test_what_is_about_the_whole_video_sees_as_much_of_it_as_the_frames_allow() -> None:
    for task in ("ask", "vqa", "caption"):
        for seed in range(20):
            frames = talk(task, record=TALKED, seed=seed, clip=Clip((2, 8), (1, 60))).frames
            step = frames[1] - frames[0]
            assert frames[-1] + step > 19 - frames[0]  # no wider interval fits


def test_a_picture_is_not_called_a_video() -> None:
    still = VideoRecord("k", "test", (9, 9), (0.0,), (), ("A red ball.",))
    for seed in range(8):
        ((asked, answer),) = talk("caption", record=still, seed=seed).turns
        assert "picture" in asked and answer == "A red ball."
