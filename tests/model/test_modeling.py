"""The whole model at tiny size, and at the paper's on the meta device."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from elysium.model import ElysiumConfig, ElysiumForConditionalGeneration, ElysiumProcessor
from elysium.model.processing import pad
from tests.model.tiny import CLIP, CONV, frames, tiny_config, tiny_model, tiny_processor


@pytest.fixture(scope="module")
def model() -> ElysiumForConditionalGeneration:
    return tiny_model()


@pytest.fixture(scope="module")
def processor() -> ElysiumProcessor:
    return tiny_processor()


def prompt(n_frames: int, question: str) -> str:
    return "USER: " + ", ".join(f"Frame {i + 1}: <image>" for i in range(n_frames)) + f"\n{question} ASSISTANT:"


# A picture, a video, text alone, another video.
TEXTS = [prompt(1, "Where is it?"), prompt(3, "Track the red ball."), "USER: Say yes. ASSISTANT:", prompt(2, "What?")]
COUNTS = [1, 3, 0, 2]
PICTURES = frames(6)


def pictures(i: int) -> list[np.ndarray] | None:
    start = sum(COUNTS[:i])
    return PICTURES[start : start + COUNTS[i]] or None


def greedy(model: ElysiumForConditionalGeneration, inputs: Any, **settings: Any) -> torch.Tensor:
    """Twelve new tokens; the end token is not special here, so every row is as long."""
    out = model.generate(**inputs, max_new_tokens=12, do_sample=False, eos_token_id=[], **settings)
    return out[:, inputs["input_ids"].shape[1] :]


@torch.no_grad()
def test_cached_and_uncached_single_and_batched_answers_agree(
    model: ElysiumForConditionalGeneration, processor: ElysiumProcessor
) -> None:
    batch = processor(TEXTS, PICTURES)
    assert int((batch["attention_mask"] == 0).sum()) > 0
    together = greedy(model, batch)
    assert torch.equal(together, greedy(model, batch, use_cache=False))
    alone = [greedy(model, processor(text, pictures(i)))[0] for i, text in enumerate(TEXTS)]
    assert torch.equal(together, torch.stack(alone))
    assert len({tuple(row.tolist()) for row in together}) == len(TEXTS)


@torch.no_grad()
def test_answers_depend_on_the_pictures(model: ElysiumForConditionalGeneration, processor: ElysiumProcessor) -> None:
    one = model(**processor(TEXTS[0], PICTURES[:1])).logits[:, -1]
    other = model(**processor(TEXTS[0], PICTURES[1:2])).logits[:, -1]
    assert float((one - other).abs().max()) > 1e-2


@torch.no_grad()
def test_left_right_and_no_padding_give_the_same_logits(
    model: ElysiumForConditionalGeneration, processor: ElysiumProcessor
) -> None:
    sides = {}
    for side in ("left", "right"):
        batch = processor(TEXTS, PICTURES, padding_side=side)
        sides[side] = model(**batch).logits[batch["attention_mask"].bool()]
    plain = torch.cat([model(**processor(text, pictures(i))).logits[0] for i, text in enumerate(TEXTS)])
    torch.testing.assert_close(sides["left"], plain, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(sides["right"], plain, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_image_token_may_lie_beyond_the_vocabulary(processor: ElysiumProcessor) -> None:
    """As with Vicuna: 32,000 pieces and `<image>` is number 32,000."""
    batch, logits = processor(TEXTS, PICTURES), []
    for token in (4, 640):
        ids = torch.where(batch["input_ids"] == 4, token, batch["input_ids"])
        logits.append(tiny_model(tiny_config(image_token_id=token))(**{**batch, "input_ids": ids}).logits)
    assert torch.equal(*logits)


@torch.no_grad()
def test_features_stand_in_the_places_of_their_frames(
    model: ElysiumForConditionalGeneration, processor: ElysiumProcessor
) -> None:
    batch = processor(TEXTS, PICTURES)
    embeds = model.embed(batch["input_ids"], batch["pixel_values"])
    features = model.get_image_features(batch["pixel_values"])
    assert torch.equal(embeds[batch["input_ids"] == 4], features.flatten(0, 1))
    text = batch["input_ids"] != 4
    assert torch.equal(embeds[text], model.get_input_embeddings()(batch["input_ids"][text]))


def test_frames_and_placeholders_must_match(
    model: ElysiumForConditionalGeneration, processor: ElysiumProcessor
) -> None:
    batch = processor(TEXTS[1], PICTURES[:3])
    with pytest.raises(ValueError, match="12 image tokens for 2 frames of 4 tokens"):
        model(input_ids=batch["input_ids"], pixel_values=batch["pixel_values"][:2])
    with pytest.raises(ValueError, match="pixel_values is missing"):
        model(input_ids=batch["input_ids"])
    with pytest.raises(ValueError, match="3 <image> placeholders for 2 frames"):
        processor(TEXTS[1], PICTURES[:2])


def training_batch(processor: ElysiumProcessor) -> dict[str, torch.Tensor]:
    """Right-padded: a picture, a conversation about a video, text alone."""
    conversations = [
        [("Frame 1: <image>\nWhere?", "[1,2,3,4]")],
        [("Frame 1: <image>, Frame 2: <image>\nTrack it.", "Frame 1: [1,2,3,4], Frame 2: none"), ("Is it red?", "no")],
        [("Say yes.", "yes")],
    ]
    ids, labels = zip(*(processor.training_sample(turns, 200) for turns in conversations), strict=True)
    input_ids, mask = pad(ids, 3, "right")
    return {
        "input_ids": input_ids,
        "attention_mask": mask,
        "labels": pad(labels, -100, "right")[0],
        "pixel_values": processor.pixels(PICTURES[:3]),
    }


@torch.no_grad()
def test_the_loss_is_the_cross_entropy_of_the_shifted_labels(
    model: ElysiumForConditionalGeneration, processor: ElysiumProcessor
) -> None:
    batch = training_batch(processor)
    labels = batch.pop("labels")
    logits = model(**batch).logits.log_softmax(-1)
    picked = [
        -float(logits[i, j - 1, labels[i, j]])
        for i in range(labels.shape[0])
        for j in range(1, labels.shape[1])
        if labels[i, j] != -100
    ]
    assert float(model(**batch, labels=labels).loss) == pytest.approx(np.mean(picked), rel=1e-5)
    by_count = model(**batch, labels=labels, num_items_in_batch=100).loss
    assert float(by_count) == pytest.approx(sum(picked) / 100, rel=1e-5)


def test_a_text_only_batch_reaches_every_part_and_changes_nothing() -> None:
    """Every rank must run the vision tower, or ZeRO-3 waits for the others: zero gradients, not missing ones."""
    model, processor = tiny_model(), tiny_processor()
    batch = processor("USER: Say yes. ASSISTANT: yes")
    labels = batch["input_ids"].clone()
    plain = float(model(**batch, labels=labels).loss.detach())
    model.train()
    loss = model(**batch, labels=labels).loss
    assert float(loss.detach()) == pytest.approx(plain, rel=1e-6)
    loss.backward()
    seen = [p.grad for p in (*model.adapter.parameters(), model.vision_tower.embeddings.patch_embedding.weight)]
    assert all(gradient is not None and not bool(gradient.any()) for gradient in seen)


def test_gradient_checkpointing_changes_no_gradient() -> None:
    gradients = []
    for checkpointing in (False, True):
        model = tiny_model().train()
        if checkpointing:
            model.activation_checkpointing_enable()
            flags = [m.gradient_checkpointing for m in model.modules() if hasattr(m, "gradient_checkpointing")]
            assert flags and all(flags)
        model(**training_batch(tiny_processor())).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert any(name.startswith("vision_tower.encoder") for name in gradients[0])
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-6, rtol=1e-4)


def test_lora_adapts_the_llm_and_trains() -> None:
    model, batch = tiny_model(), training_batch(tiny_processor())
    config = LoraConfig(
        r=4, target_modules=r"language_model\..*\.(q_proj|v_proj)", modules_to_save=["adapter"], task_type=None
    )
    tuned = get_peft_model(model, config).train()
    trained = {name for name, p in tuned.named_parameters() if p.requires_grad}
    assert sum("lora_A" in name for name in trained) == 4  # two layers, q and v
    assert all("language_model" in name or "adapter.modules_to_save" in name for name in trained)
    frozen = {name: p.detach().clone() for name, p in tuned.named_parameters() if not p.requires_grad}
    optimiser = torch.optim.AdamW([p for p in tuned.parameters() if p.requires_grad], lr=2e-2)
    losses = []
    for _ in range(25):
        loss = tuned(**batch).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    assert all(bool(p.any()) for name, p in tuned.named_parameters() if "lora_B" in name)
    now = dict(tuned.named_parameters())
    assert all(torch.equal(before, now[name]) for name, before in frozen.items())


@torch.no_grad()
def test_a_saved_model_is_bit_equal_through_shards_and_the_auto_classes(tmp_path: Path) -> None:
    model, processor = tiny_model(), tiny_processor()
    model.save_pretrained(tmp_path, max_shard_size="60KB")
    processor.save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 3
    assert isinstance(AutoConfig.from_pretrained(tmp_path), ElysiumConfig)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert isinstance(again, ElysiumForConditionalGeneration)
    state = again.state_dict()
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    reader = AutoProcessor.from_pretrained(tmp_path)
    assert isinstance(reader, ElysiumProcessor)
    assert (reader.num_kept, reader.bins, reader.system) == (4, 100, "")
    batch, second = processor(TEXTS, PICTURES), reader(TEXTS, PICTURES)
    assert all(torch.equal(batch[key], second[key]) for key in batch)
    assert torch.equal(model(**batch).logits, again(**second).logits)


@torch.no_grad()
def test_attention_implementations_agree(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path)
    logits = []
    batch = tiny_processor()(TEXTS, PICTURES)
    for name in ("eager", "sdpa"):
        model = ElysiumForConditionalGeneration.from_pretrained(tmp_path, attn_implementation=name)
        assert model.language_model.config._attn_implementation == name
        assert model.vision_tower.config._attn_implementation == name
        logits.append(model(**batch).logits[batch["attention_mask"].bool()])
    torch.testing.assert_close(*logits, atol=1e-4, rtol=1e-4)


def test_the_small_vision_tower_takes_any_attention_implementation(tmp_path: Path) -> None:
    tiny_model(tiny_config(CONV)).save_pretrained(tmp_path)
    for name in ("eager", "sdpa"):
        model = ElysiumForConditionalGeneration.from_pretrained(tmp_path, attn_implementation=name)
        assert model.language_model.config._attn_implementation == name


@torch.no_grad()
def test_the_penultimate_hidden_state_without_the_class_token_is_read() -> None:
    """The tower with its last layer cut off gives the same tokens as `vision_feature_layer=-2`."""
    model = tiny_model()
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    features = model.get_vision_features(x)
    cut = tiny_model(tiny_config(vision=CLIP, vision_feature_layer=-1))
    cut.vision_tower.load_state_dict(model.vision_tower.state_dict())
    del cut.vision_tower.encoder.layers[-1]
    assert torch.equal(features, cut.vision_tower(x).last_hidden_state[:, 1:])
    assert features.shape == (2, 16, 32)


@pytest.mark.parametrize("adapter", ["concat", "cross_attention", "strided", "random", "average_pool", "none"])
def test_every_adapter_answers_in_the_model(adapter: str) -> None:
    kept = 16 if adapter == "none" else 5
    model = tiny_model(tiny_config(CONV, adapter=adapter, num_kept=kept))
    batch = tiny_processor(num_kept=kept)(TEXTS, PICTURES)
    with torch.no_grad():
        assert torch.equal(greedy(model, batch), greedy(model, batch, use_cache=False))


def test_the_paper_s_model_on_the_meta_device() -> None:
    """CLIP-ViT-L/14-336 and Vicuna-7B, section 4.2: 24 layers of 1024, 577 positions; 4096 wide, 32,000 tokens."""
    with torch.device("meta"):
        model = ElysiumForConditionalGeneration(ElysiumConfig(gate="token_mixing"))
        features = model.get_image_features(torch.empty(2, 3, 336, 336))
    tower = model.vision_tower
    assert len(tower.encoder.layers) == 24
    assert tower.embeddings.position_embedding.weight.shape == (577, 1024)
    assert features.shape == (2, 108, 4096)
    assert model.adapter.gate.trans_weight.shape == (576, 576)
    assert model.get_input_embeddings().weight.shape == (32000, 4096)
    assert model.get_output_embeddings().weight.shape == (32000, 4096)
    assert len(model.language_model.model.layers) == 32
