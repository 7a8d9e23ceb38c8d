"""Decoding by the grammar: valid boxes whatever the weights, the same answer as plain generation."""

import numpy as np
import pytest
import torch

from elysium.boxes import Box
from elysium.inference.decoding import next_box
from elysium.inference.engine import Engine, Query
from tests.inference.test_engine import speaker  # noqa: F401 -- a fixture
from tests.model.tiny import CONV, frames, tiny_config, tiny_model, tiny_processor


def valid(box: Box | None) -> bool:
    return box is None or (0 < box[0] < box[2] < 1 and 0 < box[1] < box[3] < 1)


@pytest.mark.parametrize("n", [1, 2, 8, 32])
def test_random_weights_still_give_n_valid_boxes(n: int) -> None:
    engine = Engine(tiny_model(tiny_config(CONV)), tiny_processor())
    answers = engine.follow([frames(n, seed=s) for s in range(6)], [Query(expression="red ball")] * 6)
    for answer in answers:
        assert len(answer.boxes) == len(answer.confidences) == n
        assert all(valid(box) for box in answer.boxes)
        assert all(0 < c <= 1 for c in answer.confidences)
    (box,) = engine.locate([frames(1, seed=7)[0]], ["red ball"])
    assert box is not None and valid(box)


def test_the_boxes_are_those_of_plain_generation(speaker: Engine) -> None:  # noqa: F811
    plain = Engine(speaker.model, speaker.processor, plain=True)
    videos = [frames(n, seed=n) for n in (1, 2, 3)]
    queries = [Query(expression="red ball")] * 3
    wanted = plain.track(videos, queries)
    assert all(box is not None for boxes in wanted for box in boxes)
    for drafts in (False, True):
        engine = Engine(speaker.model, speaker.processor, drafts=drafts)
        assert engine.track(videos, queries) == wanted


def test_drafts_change_the_cost_and_not_the_answer(speaker: Engine) -> None:  # noqa: F811
    """With random weights nothing is guessed right; with the speaker's still objects most of it is."""
    videos = [frames(n, seed=n) for n in (3, 2, 3)]
    queries = [Query(expression="red ball"), Query(box=(0.2, 0.2, 0.5, 0.9)), Query(expression="blue star")]
    for model in (speaker.model, tiny_model(tiny_config(CONV))):
        slow, fast = (Engine(model, speaker.processor, drafts=d).follow(videos, queries) for d in (False, True))
        for a, b in zip(slow, fast, strict=True):
            assert a.boxes == b.boxes
            np.testing.assert_allclose(a.confidences, b.confidences, rtol=1e-3)
            assert b.passes <= a.passes <= 8 * len(a.boxes) and a.drafted == 0
    still = Engine(speaker.model, speaker.processor).follow([frames(3, seed=3)], [Query(expression="red ball")])[0]
    assert still.accepted > 0.5 * still.drafted > 0
    assert (
        still.passes
        < 2
        / 3
        * Engine(speaker.model, speaker.processor, drafts=False)
        .follow([frames(3, seed=3)], [Query(expression="red ball")])[0]
        .passes
    )


def test_neighbours_change_nothing(speaker: Engine) -> None:  # noqa: F811
    videos = [frames(n, seed=n) for n in (3, 1, 2, 3)]
    queries = [Query(expression="red ball"), Query(expression="a"), Query(box=(0.1, 0.1, 0.3, 0.4)), Query("star")]
    together = speaker.follow(videos, queries)
    for video, query, answer in zip(videos, queries, together, strict=True):
        (alone,) = speaker.follow([video], [query])
        assert alone.boxes == answer.boxes


def test_many_questions_about_one_clip_are_answered_as_if_alone(speaker: Engine) -> None:  # noqa: F811
    """One prefill of each clip, whatever the token budget cuts the questions into."""
    videos = [frames(n, seed=n) for n in (3, 1, 2)]
    queries = [
        [Query(expression="red ball"), Query(box=(0.2, 0.2, 0.5, 0.9)), Query(expression="a blue star on the left")],
        [Query(expression="star")],
        [Query(expression="red ball"), Query(expression="red ball", box=(0.1, 0.1, 0.3, 0.4))],
    ]
    for budget in (16384, 400, 1):
        engine = Engine(speaker.model, speaker.processor, token_budget=budget)
        for video, own, answers in zip(videos, queries, engine.follow_many(videos, queries), strict=True):
            for query, answer in zip(own, answers, strict=True):
                (alone,) = speaker.follow([video], [query])
                assert answer.boxes == alone.boxes
                np.testing.assert_allclose(answer.confidences, alone.confidences, rtol=1e-3)
    assert engine.follow_many([videos[0]], [[]]) == [[]]


def test_the_frames_of_a_clip_are_looked_at_once(speaker: Engine) -> None:  # noqa: F811
    seen: list[int] = []
    hook = speaker.model.vision_tower.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    try:
        speaker.follow_many([frames(3, seed=3)], [[Query(expression=f"ball {i}") for i in range(8)]])
    finally:
        hook.remove()
    assert seen == [3]


def test_a_given_box_is_the_first_of_the_answer() -> None:
    engine = Engine(tiny_model(tiny_config(CONV)), tiny_processor())
    given = [(0.205, 0.305, 0.605, 0.705), (0.0, 0.0, 0.999, 0.999), (0.5, 0.5, 0.5001, 0.5001)]
    wide, whole, point = engine.follow([frames(2, seed=s) for s in range(3)], [Query(box=box) for box in given])
    assert wide.boxes[0] == pytest.approx(given[0]) and wide.confidences[0] == 1.0
    assert whole.boxes[0] == pytest.approx((0.005, 0.005, 0.995, 0.995))
    # A box of one bin cannot be written; it is begun, and the model ends it.
    assert point.boxes[0] is not None and point.boxes[0][:2] == pytest.approx((0.505, 0.505))
    assert all(len(a.boxes) == len(a.confidences) == 2 for a in (wide, whole, point))


def test_a_moving_box_is_drafted_at_constant_velocity() -> None:
    a, b = (0.105, 0.205, 0.305, 0.405), (0.125, 0.205, 0.325, 0.405)
    assert next_box([a, b]) == pytest.approx((0.145, 0.205, 0.345, 0.405))
    assert next_box([a, None]) == next_box([a]) == a and next_box([]) is None


def test_an_engine_that_is_plain_has_no_confidences() -> None:
    engine = Engine(tiny_model(tiny_config(CONV)), tiny_processor(), plain=True)
    with pytest.raises(ValueError, match="plain"):
        engine.follow([frames(1)], [Query(expression="ball")])
    assert torch.is_grad_enabled()
