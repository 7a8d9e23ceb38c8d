"""The costs of a configuration against counts done by hand."""

from pathlib import Path

import pytest
import torch

from elysium.cli import main
from elysium.compose import write_params
from elysium.model import ElysiumConfig, ElysiumForConditionalGeneration
from elysium.model.describe import TEXT_PER_FRAME, TEXT_PER_SAMPLE, config_of, describe, memory
from elysium.model.processing import VICUNA_SYSTEM
from elysium.prompts import boxes_answer, frames_text, question
from tests.model.tiny import CLIP, ROOT, llama_tokenizer, tiny_config


def test_the_paper_s_model() -> None:
    """CLIP-ViT-L/14-336 has 303.5 M parameters, LLaMA-7B 6,738,415,616; 512 KiB of cache a token in bf16."""
    cost = describe(ElysiumConfig(), frames=(8,))
    llm = {part: n for part, n in cost.parts.items() if part.startswith("LLM")}
    assert sum(llm.values()) == 6_738_415_616
    assert llm["LLM: embeddings"] == llm["LLM: head"] == 32000 * 4096
    assert cost.parts["vision tower"] == pytest.approx(303.5e6, rel=1e-3)
    assert cost.parts["adapter: projection"] == (1024 + 1) * 4096 + (4096 + 1) * 4096
    assert cost.kv_bytes_per_frame == 108 * 512 * 1024
    # Linear layers of 24 blocks on 577 tokens and the patch embedding on 576, attention's two products, the adapter.
    blocks = 24 * (577 * 2 * 12 * 1024**2 + 4 * 577**2 * 1024)
    patches = 2 * 576 * 1024 * 3 * 14**2
    gate = 576 * 2 * (1024**2 + 1024)
    projection = 108 * 2 * (1024 * 4096 + 4096**2)
    assert cost.frame_flops == pytest.approx(blocks + patches + gate + projection, rel=1e-6)
    length = cost.sample_tokens[8]
    layers = 32 * (length * 2 * (4 * 4096**2 + 3 * 4096 * 11008) + 4 * length**2 * 4096)
    assert cost.sample_flops[8] == pytest.approx(8 * cost.frame_flops + layers + 2 * 32000 * 4096, rel=1e-6)


def test_parts_add_up_to_the_model() -> None:
    for config in (tiny_config(), tiny_config(adapter="cross_attention"), tiny_config(gate="token_mixing")):
        cost = describe(config, frames=())
        model = ElysiumForConditionalGeneration(config)
        assert cost.parameters == sum(p.numel() for p in model.parameters())
        assert cost.adapter_parameters == sum(p.numel() for p in model.adapter.parameters())
    assert cost.kv_bytes_per_token == 2 * 2 * 24 * 2  # keys and values, layers, 2 of 4 heads of 12, bytes


@pytest.mark.parametrize("n", [8, 32])
def test_sample_lengths_are_those_of_real_samples(n: int) -> None:
    """In LLaMA's vocabulary, with Vicuna's system sentence, within 5 per cent."""
    tokenizer, box = llama_tokenizer(), (0.23, 0.45, 0.46, 0.72)
    asked = f"{VICUNA_SYSTEM} USER: {frames_text(n)}\n{question('rsot', expression='red striped ball')} ASSISTANT: "
    text = (asked + boxes_answer([box] * n)).replace("<image>", "<image>" * 108)
    assert n * (108 + TEXT_PER_FRAME) + TEXT_PER_SAMPLE == pytest.approx(len(tokenizer(text)["input_ids"]), rel=0.05)


def test_memory_of_training() -> None:
    """ZeRO, figure 1: 7.5 B parameters on 64 devices are 120 GB plain, 16.6 GB with stage 2, 1.9 GB with stage 3."""
    billion = 7.5e9
    for scheme, gigabytes in (("bf16", 120), ("bf16 ZeRO-2", 16.6), ("bf16 ZeRO-3", 1.9)):
        assert memory(int(billion), int(billion), scheme, 64).total / 1e9 == pytest.approx(gigabytes, rel=0.02)
    assert memory(100, 100, "fp32").total == 1600
    assert memory(100, 10, "fp32").total == 520
    assert memory(100, 0, "inference bf16").total == 200
    with pytest.raises(ValueError, match="unknown scheme"):
        memory(1, 1, "fp8")


def test_the_command_prints_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    params = tmp_path / "params.yaml"
    write_params(["preset=debug"], params, ROOT / "conf")
    with pytest.raises(SystemExit) as stopped:
        main(["describe-model", "--params", str(params), "--processes", "4"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    for text in ("vision tower", "adapter: gate", "ZeRO-3 x 4", "8 frames", "32 frames", "KV cache"):
        assert text in printed


def test_presets_are_described_without_their_backbones(tmp_path: Path) -> None:
    big = config_of(write_params(["preset=elysium_7b"], tmp_path / "big.yaml", ROOT / "conf"))
    assert (big.num_tokens, big.num_kept, big.text_config.vocab_size) == (576, 108, 32000)
    whole = config_of(write_params(["preset=debug", "adapter=none"], tmp_path / "all.yaml", ROOT / "conf"))
    assert whole.num_kept == whole.num_tokens


def test_no_weight_is_allocated() -> None:
    """A model of 17 TB is described all the same."""
    huge = {"model_type": "llama", "hidden_size": 2**16, "intermediate_size": 2**18, "num_hidden_layers": 64,
            "num_attention_heads": 512, "vocab_size": 32000}  # fmt: skip
    cost = describe(ElysiumConfig(CLIP, huge, num_kept=4), frames=())
    assert cost.parameters * 4 > 17e12 and torch.get_default_device().type == "cpu"
