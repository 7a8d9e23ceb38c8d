"""The engine on a tiny model with random weights: what comes back, and that neighbours do not change it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from elysium.boxes import format_box
from elysium.errors import UserError
from elysium.inference.engine import Engine, Query
from elysium.model.processing import pad
from elysium.prompts import question
from tests.model.tiny import CONV, LLAMA, frames, tiny_config, tiny_model, tiny_processor

BOX = (0.2, 0.3, 0.6, 0.7)


@pytest.fixture(scope="module")
def engine(checkpoint: Path) -> Engine:
    return Engine.from_pretrained(checkpoint)


@pytest.fixture(scope="module")
def speaker() -> Engine:
    """A model trained for a moment to answer with boxes, so that there is something to parse."""
    model, processor = tiny_model(tiny_config(CONV)), tiny_processor()
    clips = [(n, frames(n, seed=n)) for n in (1, 2, 3)]
    rows, images = [], []
    for n, clip in clips:
        asked = ", ".join(f"Frame {i + 1}: <image>" for i in range(n)) + "\nTrack the red ball."
        told = ", ".join(f"Frame {i + 1}: [{10 * n},20,{50 + n},90]" for i in range(n))
        rows.append(processor.training_sample([(asked, told)], 500))
        images += clip
    input_ids, mask = pad([ids for ids, _ in rows], 3, "right")
    labels, _ = pad([labels for _, labels in rows], -100, "right")
    pixels = processor.pixels(images)
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(60):
        model(input_ids=input_ids, attention_mask=mask, labels=labels, pixel_values=pixels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
    return Engine(model, processor)


def test_tracking_gives_one_entry_per_frame(engine: Engine) -> None:
    videos = [frames(n, seed=n) for n in (3, 1, 5)]
    queries = [Query(expression="red ball"), Query(box=BOX), Query(expression="red ball", box=BOX)]
    boxes = engine.track(videos, queries)
    assert [len(b) for b in boxes] == [3, 1, 5]


@pytest.mark.parametrize(
    ("timestamps", "named"), [(True, "Frame 1: <image>, Frame 2: <image>"), (False, "<image>, <image>")]
)
def test_frames_are_named_as_in_training(engine: Engine, timestamps: bool, named: str) -> None:
    processor = tiny_processor(timestamps=timestamps)
    asked = processor.token_ids(processor.prompt(f"{named}\n{question('sot', box=format_box(BOX))}"))
    seen: list[list[int]] = []
    hook = engine.model.register_forward_pre_hook(
        lambda module, args, inputs: seen.append(inputs["input_ids"][0].tolist()), with_kwargs=True
    )
    try:
        Engine(engine.model, processor).track([frames(2)], [Query(box=BOX)])
    finally:
        hook.remove()
    assert seen[0][: len(asked)] == asked


def test_boxes_of_an_answer_are_read(speaker: Engine) -> None:
    videos = [frames(n, seed=n) for n in (1, 2, 3)]
    answers = speaker.track(videos, [Query(expression="red ball")] * 3)
    for n, boxes in zip((1, 2, 3), answers, strict=True):
        want = tuple((v + 0.5) / 100 for v in (10 * n, 20, 50 + n, 90))
        assert len(boxes) == n
        assert all(box is not None and np.allclose(box, want) for box in boxes)


def test_an_answer_does_not_depend_on_the_batch(engine: Engine, speaker: Engine) -> None:
    """Clips of different lengths and budgets together, in another order, in batches of one, and alone."""
    videos = [frames(n, seed=10 + n) for n in (2, 6, 1, 4)]
    queries = [Query(expression="red ball")] * 4
    for each in (engine, speaker):
        texts = [f"How many of {i}?" for i in range(4)]
        budgets = [5, 30, 12, 20]
        first = [[video[0]] for video in videos]
        together = each._answer(first, texts, budgets)
        alone = [each._answer([v], [t], [b])[0] for v, t, b in zip(first, texts, budgets, strict=True)]
        assert together == alone
        boxes = each.track(videos, queries)
        assert boxes == [each.track([v], [q])[0] for v, q in zip(videos, queries, strict=True)]
        assert boxes[::-1] == each.track(videos[::-1], queries)
        assert boxes == Engine(each.model, each.processor, token_budget=1).track(videos, queries)


def test_the_other_questions(engine: Engine) -> None:
    videos = [frames(2), frames(3)]
    phrases = engine.describe(videos, [BOX, BOX], [0, 2])
    answers = engine.ask(videos, ["What?", "Who?"])
    assert len(phrases) == len(answers) == 2 and all(isinstance(t, str) for t in phrases + answers)
    found = engine.locate([frames(1)[0], frames(1, size=(40, 70))[0]], ["red ball", "blue star"])
    assert len(found) == 2 and all(b is None or len(b) == 4 for b in found)
    assert engine.track([], []) == []


def test_a_query_needs_something_to_look_for() -> None:
    with pytest.raises(ValueError, match="an expression or a box"):
        Query()


def test_folders_of_other_models_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model there"):
        Engine.from_pretrained(tmp_path)
    values = {key: value for key, value in LLAMA.items() if key != "model_type"}
    LlamaForCausalLM(LlamaConfig(**values)).save_pretrained(tmp_path / "llama")
    with pytest.raises(UserError, match="a llama checkpoint, not elysium"):
        Engine.from_pretrained(tmp_path / "llama")
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange/config.json").write_text('{"model_type": "never heard of"}')
    with pytest.raises(UserError, match="not a readable configuration"):
        Engine.from_pretrained(tmp_path / "strange")
    tiny_model(tiny_config(CONV)).save_pretrained(tmp_path / "bare")
    with pytest.raises(UserError, match="no processor beside the model"):
        Engine.from_pretrained(tmp_path / "bare")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/config.json").write_bytes((checkpoint / "config.json").read_bytes())
    (tmp_path / "broken/model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UserError, match="the weights do not fit"):
        Engine.from_pretrained(tmp_path / "broken")


@pytest.mark.parametrize("device", ["cuda:99", "gpu"])
def test_a_device_that_is_not_there_is_named(checkpoint: Path, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=f"device '{device}': "):
        Engine.from_pretrained(checkpoint, device)
    monkeypatch.setenv("ELYSIUM_DEVICE", device)
    with pytest.raises(UserError, match=f"device '{device}': "):
        Engine.from_pretrained(checkpoint)
