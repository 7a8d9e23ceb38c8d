"""LoRA trains few parameters of the LLM and leaves a model like any other."""

from pathlib import Path

import pytest
import torch

from elysium.compose import compose_config
from elysium.config import check_params
from elysium.errors import UserError
from elysium.model import ElysiumForConditionalGeneration
from elysium.model.describe import config_of
from elysium.model.loading import load_model
from elysium.training.lora import add_lora, merge_lora
from elysium.training.optimizer import parameter_groups
from elysium.training.worker import freeze
from tests.model.tiny import CONV, ROOT, tiny_config, tiny_model

IDS = torch.tensor([[1, 9, 8, 7, 6, 5]])


def test_what_lora_learns_is_merged_and_saved_as_an_ordinary_model(tmp_path: Path) -> None:
    model = tiny_model(tiny_config(CONV))
    before = {name: q.clone() for name, q in model.state_dict().items()}
    freeze(model, ["adapter", "text"])
    add_lora(model, 4, ["adapter", "text"], 0)
    learns = [name for name, q in model.named_parameters() if q.requires_grad and "language_model" in name]
    assert learns and all("lora_" in name for name in learns)
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.0), lr=1e-2)
    losses = []
    for _ in range(5):
        loss = model(IDS, labels=IDS, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    expected = model(IDS, use_cache=False).logits
    merge_lora(model)
    assert model.state_dict().keys() == before.keys()
    model.save_pretrained(tmp_path)
    loaded = load_model(tmp_path).eval()
    assert torch.allclose(loaded(IDS, use_cache=False).logits, expected, atol=1e-4)
    moved = {name for name, q in loaded.state_dict().items() if not q.equal(before[name])}
    layers = "language_model.model.layers."
    assert moved and all(name.startswith(layers) and name.endswith("_proj.weight") for name in moved)


def test_lora_where_it_cannot_work_is_refused() -> None:
    model = tiny_model(tiny_config(CONV))
    with pytest.raises(UserError, match="needs `text` in trainable"):
        add_lora(model, 4, ["adapter"], 0)
    with pytest.raises(UserError, match="deepspeed=zero0 or zero2"):
        add_lora(model, 4, ["text"], 3)


def params_of(*overrides: str):
    from omegaconf import OmegaConf

    return check_params(OmegaConf.to_container(compose_config(list(overrides), ROOT / "conf")))


def test_the_lora_preset_trains_a_fortieth_of_the_7b_model() -> None:
    params = params_of("preset=elysium_7b_lora")
    train = params.train["finetune_short"]
    with torch.device("meta"):
        model = ElysiumForConditionalGeneration(config_of(params))
        freeze(model, train.trainable)
        add_lora(model, train.lora_rank, train.trainable, 2)
    trained = sum(q.numel() for q in model.parameters() if q.requires_grad)
    # Seven linear layers a block: rank * (inputs + outputs) each.
    lora = 32 * 64 * (4 * (4096 + 4096) + 2 * (4096 + 11008) + 11008 + 4096)
    assert trained == lora + sum(q.numel() for q in model.adapter.parameters())
    assert trained < sum(q.numel() for q in model.parameters()) / 37


def test_the_small_preset_is_smollm2_and_clip_b() -> None:
    """SmolLM2-135M has 134,515,008 parameters with tied embeddings; CLIP-ViT-B/16's tower 86 M."""
    params = params_of("preset=small")
    with torch.device("meta"):
        model = ElysiumForConditionalGeneration(config_of(params))
    assert sum(q.numel() for q in model.language_model.parameters()) == 134_515_008
    assert sum(q.numel() for q in model.vision_tower.parameters()) == pytest.approx(86e6, rel=5e-3)
    assert (model.config.num_tokens, model.config.num_kept) == (196, 36)


def test_a_model_with_tied_embeddings_is_saved_and_loaded(tmp_path: Path) -> None:
    """As SmolLM2's are."""
    config = tiny_config(CONV)
    config.text_config.tie_word_embeddings = True
    model = tiny_model(config)
    model.language_model.tie_weights()
    model.save_pretrained(tmp_path)
    loaded = load_model(tmp_path).eval()
    assert loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight
    assert torch.equal(loaded(IDS, use_cache=False).logits, model(IDS, use_cache=False).logits)


@pytest.mark.parametrize("deepspeed", ["cpu", "zero0", "zero2", "zero3", "zero2_offload", "zero3_offload"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_deepspeed_option_composes_with_every_precision(deepspeed: str, precision: str) -> None:
    made = params_of("preset=elysium_7b", f"deepspeed={deepspeed}", f"precision={precision}").deepspeed
    stage = {"cpu": 0, "zero0": 0, "zero2": 2, "zero3": 3, "zero2_offload": 2, "zero3_offload": 3}[deepspeed]
    assert made["zero_optimization"]["stage"] == stage
    assert ("offload_optimizer" in made["zero_optimization"]) is deepspeed.endswith("offload")
    assert (made["bf16"]["enabled"], made.get("fp16", {}).get("enabled", False)) == (
        precision == "bf16",
        precision == "fp16",
    )
