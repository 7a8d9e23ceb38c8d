"""Text and pictures to model inputs, with the shipped tokenizer and with LLaMA's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elysium.boxes import format_box
from elysium.model import ElysiumProcessor
from elysium.model.loading import load_processor
from elysium.model.processing import VICUNA_SYSTEM, SampleTooLong, pad
from elysium.prompts import boxes_answer, frames_text
from tests.model.tiny import frames, llama_tokenizer, shipped_tokenizer, tiny_processor

BOX, SHIKRA = "[23,45,46,72]", "[0.231, 0.452, 0.458, 0.783]"


@pytest.fixture(scope="module")
def llama() -> Any:
    return llama_tokenizer()


@pytest.fixture(scope="module", params=["shipped", "llama"])
def processor(request: pytest.FixtureRequest, llama: Any) -> ElysiumProcessor:
    return tiny_processor(llama if request.param == "llama" else shipped_tokenizer())


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("grabbed", [1, 2646, 1327, 287]),
        ("           grabbed", [1, 9651, 2646, 1327, 287]),
        (" \n", [1, 259, 13]),
        ("\ttabs\t\t\t\tout here", [1, 29871, 12, 21175, 12, 12, 12, 12, 449, 1244]),
        ("ax\n####\nboo", [1, 4853, 13, 4136, 13, 833, 29877]),
        ("镇", [1, 29871, 30411]),
        ("🦙Ꙋ", [1, 29871, 243, 162, 169, 156, 237, 156, 141]),
    ],
)
def test_the_llama_fixture_is_llama_s_tokenizer(llama: Any, text: str, ids: list[int]) -> None:
    """Golden ids from the tests of llama-tokenizer-js."""
    assert llama(text)["input_ids"] == ids


def test_a_box_is_13_tokens_and_shikra_s_28(processor: ElysiumProcessor, llama: Any) -> None:
    """Section 4.1 of the paper."""
    assert len(processor.tokenizer(BOX, add_special_tokens=False)["input_ids"]) == 13
    assert len(llama(SHIKRA, add_special_tokens=False)["input_ids"]) == 28


def test_how_frames_and_boxes_are_written_is_saved(processor: ElysiumProcessor, tmp_path: Path) -> None:
    processor = ElysiumProcessor(processor.image_processor, processor.tokenizer, bins=1000, timestamps=False)
    processor.save_pretrained(tmp_path)
    again = load_processor(tmp_path)
    assert (again.bins, again.timestamps) == (1000, False)


def test_a_box_is_13_tokens_as_an_answer(processor: ElysiumProcessor) -> None:
    _, labels = processor.training_sample([("Where?", BOX)], 100)
    assert sum(label != -100 for label in labels) == 13 + 1  # and the end token


def test_labels_are_on_the_answers_only(processor: ElysiumProcessor) -> None:
    turns = [(f"{frames_text(2)}\nTrack it.", f"Frame 1: {BOX}, Frame 2: none"), ("Is it red?", "no"), ("Sure?", "yes")]
    ids, labels = processor.training_sample(turns, 200)
    assert len(ids) == len(labels)
    assert all(label in (-100, token) for token, label in zip(ids, labels, strict=True))
    tokenizer = processor.tokenizer
    supervised = tokenizer.decode([label for label in labels if label != -100])
    told = [part.strip() for part in supervised.split(tokenizer.eos_token)]
    assert told == [f"Frame 1: {BOX}, Frame 2: none", "no", "yes", ""]
    assert ids.count(tokenizer.bos_token_id) == 1 and ids[0] == tokenizer.bos_token_id
    assert ids.count(processor.image_token_id) == 2 * processor.num_kept
    assert labels[-1] == tokenizer.eos_token_id


def test_training_and_asking_see_the_same_tokens(processor: ElysiumProcessor) -> None:
    """The supervised answer follows exactly the tokens of the prompt, as one tokenisation of both would put it."""
    question, answer = f"{frames_text(1)}\nWhere?", f"Frame 1: {BOX}"
    ids, labels = processor.training_sample([(question, answer)], 200)
    asked = processor(processor.prompt(question), frames(1))["input_ids"][0].tolist()
    start = next(i for i, label in enumerate(labels) if label != -100)
    assert ids[:start] == asked
    whole = processor.token_ids(f"{processor.prompt(question)} {answer}")
    assert ids[:-1] == whole


def test_a_sample_that_does_not_fit_is_refused_whole(processor: ElysiumProcessor) -> None:
    ids, _ = processor.training_sample([("Where?", BOX)], 100)
    assert processor.training_sample([("Where?", BOX)], len(ids))[0] == ids
    with pytest.raises(SampleTooLong, match=f"{len(ids)} tokens, more than max_length={len(ids) - 1}"):
        processor.training_sample([("Where?", BOX)], len(ids) - 1)


def test_the_vicuna_conversation() -> None:
    processor = ElysiumProcessor(ElysiumProcessor.square_images(32), shipped_tokenizer())
    assert processor.prompt("Where?") == f"{VICUNA_SYSTEM} USER: Where? ASSISTANT:"
    assert tiny_processor().prompt("Where?") == "USER: Where? ASSISTANT:"


@pytest.mark.parametrize("size", [(32, 32), (48, 90), (17, 20)])
def test_pixels_are_the_image_processor_s(size: tuple[int, int]) -> None:
    processor, images = tiny_processor(), frames(3, size=size)
    want = processor.image_processor(images, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(processor.pixels(images), want, atol=2e-6, rtol=1e-5)


def test_padding_sides() -> None:
    left, left_mask = pad([[5, 6, 7], [8]], 3, "left")
    right, right_mask = pad([[5, 6, 7], [8]], 3, "right")
    assert left.tolist() == [[5, 6, 7], [3, 3, 8]] and left_mask.tolist() == [[1, 1, 1], [0, 0, 1]]
    assert right.tolist() == [[5, 6, 7], [8, 3, 3]] and right_mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_placeholders_become_kept_tokens(processor: ElysiumProcessor) -> None:
    batch = processor(["USER: hi ASSISTANT:", f"USER: {frames_text(3)} ASSISTANT:"], frames(3))
    is_image = batch["input_ids"] == processor.image_token_id
    assert is_image.sum(1).tolist() == [0, 12]
    assert batch["pixel_values"].shape == (3, 3, 32, 32)
    assert "pixel_values" not in processor("USER: hi ASSISTANT:")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.none() | st.tuples(*[st.integers(0, 99)] * 4), min_size=1, max_size=6))
def test_boxes_survive_text_and_tokens(cells: list[tuple[int, int, int, int] | None]) -> None:
    boxes = [None if c is None else tuple((v + 0.5) / 100 for v in (*map(min, c[:2], c[2:]), *map(max, c[:2], c[2:])))
             for c in cells]  # fmt: skip
    processor = _SHIPPED
    text = processor.tokenizer.decode(processor.tokenizer(boxes_answer(boxes), add_special_tokens=False)["input_ids"])
    found = processor.answer_boxes(text, len(boxes))
    assert [b and format_box(b) for b in found] == [b and format_box(b) for b in boxes]
    assert all(
        (b is None) == (f is None) and (b is None or np.allclose(b, f)) for b, f in zip(boxes, found, strict=True)
    )


_SHIPPED = tiny_processor()
