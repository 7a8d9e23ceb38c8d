"""What a configuration costs: parameters, memory, KV cache and FLOPs, found on the meta device without weights."""

from dataclasses import dataclass

import torch
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoTokenizer

from elysium.config import Params
from elysium.model.configuration import ElysiumConfig, assemble_config
from elysium.model.modeling import ElysiumForConditionalGeneration
from elysium.prompts import IMAGE

# Tokens of a tracking sample besides its image tokens, in LLaMA's vocabulary: the time stamps of question and answer
# and the box, per frame; the conversation around them, once.
TEXT_PER_FRAME = 24
TEXT_PER_SAMPLE = 64


@dataclass(frozen=True)
class Memory:
    """Bytes per process; activations, which depend on the batch, are not counted."""

    weights: float
    gradients: float = 0.0
    optimiser: float = 0.0

    @property
    def total(self) -> float:
        return self.weights + self.gradients + self.optimiser


@dataclass(frozen=True)
class Description:
    """Costs of one configuration; FLOPs are those of a forward pass, a multiplication and an addition count as two."""

    parts: dict[str, int]  # parameters
    vision_tokens: int
    kept_tokens: int
    frame_flops: float  # vision tower and adapter
    kv_bytes_per_token: int  # two bytes a number
    sample_tokens: dict[int, int]  # frames -> tokens
    sample_flops: dict[int, float]  # frames -> everything: frames, LLM, the head on the last token

    @property
    def parameters(self) -> int:
        return sum(self.parts.values())

    @property
    def adapter_parameters(self) -> int:
        return sum(n for part, n in self.parts.items() if part.startswith("adapter"))

    @property
    def kv_bytes_per_frame(self) -> int:
        """Cache of one frame's image tokens."""
        return self.kv_bytes_per_token * self.kept_tokens


def describe(config: ElysiumConfig, frames: tuple[int, ...] = (8, 32)) -> Description:
    """The costs of a configuration; `frames` are the sample lengths to price."""
    with torch.device("meta"):
        model = ElysiumForConditionalGeneration(config).eval().requires_grad_(False)  # the counter hooks gradients
    text, size = config.text_config, config.vision_config.image_size
    frame_flops = _flops(model.get_image_features, pixel_values=torch.empty(1, 3, size, size, device="meta"))
    sample_tokens, sample_flops = {}, {}
    for n in frames:
        length = n * (config.num_kept + TEXT_PER_FRAME) + TEXT_PER_SAMPLE
        embeds = torch.empty(1, length, text.hidden_size, device="meta")
        llm = _flops(model.language_model.get_decoder(), inputs_embeds=embeds)
        sample_tokens[n] = length
        sample_flops[n] = n * frame_flops + llm + 2 * text.hidden_size * text.vocab_size
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    kv_heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    return Description(
        parts=_parts(model),
        vision_tokens=config.num_tokens,
        kept_tokens=config.num_kept,
        frame_flops=frame_flops,
        kv_bytes_per_token=2 * text.num_hidden_layers * kv_heads * head_dim * 2,
        sample_tokens=sample_tokens,
        sample_flops=sample_flops,
    )


def _parts(model: ElysiumForConditionalGeneration) -> dict[str, int]:
    count = {"vision tower": sum(p.numel() for p in model.vision_tower.parameters())}
    for name, child in model.adapter.named_children():
        count[f"adapter: {name}"] = sum(p.numel() for p in child.parameters())
    own = sum(p.numel() for p in model.adapter.parameters(recurse=False))
    if own:
        count["adapter: own"] = own
    llm = sum(p.numel() for p in model.language_model.parameters())
    embeddings = model.get_input_embeddings().weight
    head = model.get_output_embeddings().weight
    head_size = 0 if head is embeddings else head.numel()
    count["LLM: embeddings"] = embeddings.numel()
    count["LLM: layers"] = llm - embeddings.numel() - head_size
    count["LLM: head"] = head_size
    return count


def _flops(forward: object, **inputs: object) -> float:
    assert callable(forward)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        forward(**inputs)
    return float(counter.get_total_flops())


def memory(total: int, trained: int, scheme: str, processes: int = 1) -> Memory:
    """Bytes per process of AdamW training (Rajbhandari et al., "ZeRO", 2020, section 3.1) or of inference.

    `scheme` is "inference fp32", "inference bf16", "fp32", or, with bf16 weights and gradients and the fp32 copy and
    moments of the optimiser, "bf16", "bf16 ZeRO-2" or "bf16 ZeRO-3" over `processes`. Raises ValueError on another one.
    """
    match scheme:
        case "inference fp32":
            return Memory(4 * total)
        case "inference bf16":
            return Memory(2 * total)
        case "fp32":
            return Memory(4 * total, 4 * trained, 8 * trained)
        case "bf16":
            return Memory(2 * total, 2 * trained, 12 * trained)
        case "bf16 ZeRO-2":
            return Memory(2 * total, 2 * trained / processes, 12 * trained / processes)
        case "bf16 ZeRO-3":
            return Memory(2 * total / processes, 2 * trained / processes, 12 * trained / processes)
    raise ValueError(f"unknown scheme {scheme!r}")


def config_of(params: Params) -> ElysiumConfig:
    """The configuration that the parameters spell out; backbone folders are not read, so they may be absent."""
    text = dict(params.model.text)
    image_token_id = text.get("vocab_size", 0)
    if "vocab_size" not in text:
        tokenizer = AutoTokenizer.from_pretrained(params.model.tokenizer)
        text["vocab_size"], image_token_id = len(tokenizer), tokenizer.convert_tokens_to_ids(IMAGE)
    return assemble_config(params, params.model.vision, text, image_token_id)


def tables(cost: Description, processes: int = 8) -> list[Table]:
    """The description as tables for the terminal."""
    parts = Table("part", "parameters", title="Parameters")
    for part, n in cost.parts.items():
        parts.add_row(part, f"{n:,}")
    parts.add_section()
    parts.add_row("all", f"{cost.parameters:,}")

    schemes = Table("memory per process", "weights", "gradients", "optimiser", "total", title="Memory")
    for scheme in ("inference fp32", "inference bf16", "fp32", "bf16", "bf16 ZeRO-2", "bf16 ZeRO-3"):
        kinds = [("", cost.parameters)]
        if not scheme.startswith("inference"):
            kinds = [(", all trained", cost.parameters), (", adapter trained", cost.adapter_parameters)]
        for kind, trained in kinds:
            need = memory(cost.parameters, trained, scheme, processes)
            over = f" x {processes}" if "ZeRO" in scheme else ""
            amounts = (need.weights, need.gradients, need.optimiser, need.total)
            schemes.add_row(scheme + over + kind, *map(_bytes, amounts))
    schemes.caption = "activations are not counted"

    use = Table("", "tokens", "KV cache, bf16", "forward FLOPs", title="Use")
    use.add_row(
        f"a frame ({cost.kept_tokens} of {cost.vision_tokens} tokens kept)",
        str(cost.kept_tokens),
        _bytes(cost.kv_bytes_per_frame),
        _count(cost.frame_flops),
    )
    for n, length in cost.sample_tokens.items():
        use.add_row(
            f"{n} frames, question and answer",
            str(length),
            _bytes(length * cost.kv_bytes_per_token),
            _count(cost.sample_flops[n]),
        )
    use.caption = "a frame: vision tower and adapter; text lengths by LLaMA's vocabulary; training costs about 3 times"
    return [parts, schemes, use]


def _bytes(n: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if n < 1024:
            return f"{n:.4g} {unit}"
        n /= 1024
    return f"{n:.4g} GiB"


def _count(n: float) -> str:
    for unit in ("", "k", "M", "G"):
        if n < 1000:
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} T"
