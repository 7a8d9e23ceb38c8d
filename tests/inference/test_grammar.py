"""The grammar of trajectories: canonical tokens, valid boxes whatever is chosen."""

import random

import pytest

from elysium.boxes import format_box
from elysium.inference.grammar import Grammar, Walk, _may_go_on
from elysium.model import ElysiumProcessor
from elysium.prompts import boxes_answer
from tests.inference.test_decoding import valid
from tests.model.tiny import llama_tokenizer, tiny_processor


@pytest.fixture(scope="module")
def processors() -> dict[str, ElysiumProcessor]:
    return {"own": tiny_processor(), "llama": tiny_processor(llama_tokenizer())}


@pytest.mark.parametrize("name", ["own", "llama"])
def test_every_path_through_the_grammar_is_what_the_tokenizer_writes(
    processors: dict[str, ElysiumProcessor], name: str
) -> None:
    """So a model sees while decoding exactly the tokens that it was trained on."""
    processor, draw = processors[name], random.Random(0)
    grammar = Grammar(processor)
    for _ in range(200):
        walk = Walk(grammar, draw.randint(1, 12))
        tokens = walk.start()
        while not walk.done:
            tokens += walk.take(draw.choice(walk.options))
        assert all(valid(box) for box in walk.boxes) and len(walk.boxes) == walk.n_frames
        text = boxes_answer(walk.boxes, processor.bins)
        assert tokens == [*processor.answer_ids(text), grammar.eos], text


def test_numbers_stay_in_their_range() -> None:
    """Every number of [low, high] can be written, and no other, without leading zeros."""

    def written(prefix: str, low: int, high: int) -> set[str]:
        digits, may_end = _may_go_on(prefix, low, high)
        found = {prefix} if may_end else set()
        for digit in digits:
            found |= written(prefix + str(digit), low, high)
        return found

    for low, high in ((0, 98), (99, 99), (1, 99), (37, 41), (8, 120), (0, 999)):
        assert written("", low, high) == {str(n) for n in range(low, high + 1)}


def test_a_draft_keeps_its_size_and_follows_what_was_chosen(processors: dict[str, ElysiumProcessor]) -> None:
    grammar = Grammar(processors["own"])

    def fit(box: tuple[float, ...], *chosen: str) -> str:
        walk = Walk(grammar, 2, may_be_absent=False)
        walk.start()
        for digit in "".join(chosen):
            walk.take(grammar.digits[int(digit)])
        return format_box(walk.fit(box))

    box = (0.23, 0.45, 0.46, 0.72)
    assert fit(box) == "[23,45,46,72]"
    assert fit(box, "2") == "[23,45,46,72]" and fit(box, "30") == "[30,45,53,72]"
    assert fit(box, "3") == "[30,45,53,72]" and fit(box, "1") == "[19,45,42,72]"  # the nearest that begin so
    assert fit(box, "30", "55", "5") == "[30,55,53,82]" and fit(box, "30", "55", "6") == "[30,55,60,82]"
    assert fit((-0.2, 0.9, 0.3, 1.2)) == "[0,90,30,99]" and fit((0.99, 0.5, 1.1, 0.5)) == "[98,50,99,51]"


def test_a_draft_is_what_the_walk_would_write(processors: dict[str, ElysiumProcessor]) -> None:
    grammar = Grammar(processors["own"])
    walk = Walk(grammar, 2)
    walk.start()
    tokens = walk.draft((0.235, 0.055, 0.465, 0.725))
    for token in tokens:
        if token in walk.options and not walk.boxes:
            walk.take(token)
    assert walk.boxes == [pytest.approx((0.235, 0.055, 0.465, 0.725))]


def test_a_tokenizer_that_joins_digits_is_refused() -> None:
    processor = tiny_processor()

    class Joined:
        bins = 100
        tokenizer = processor.tokenizer

        def answer_ids(self, text: str) -> list[int]:
            return [hash(text) % 1000]

    with pytest.raises(ValueError, match="joins digits"):
        Grammar(Joined())
