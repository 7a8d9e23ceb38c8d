"""The smallest models of each kind, randomly initialised from a seed."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from elysium.model import ElysiumConfig, ElysiumForConditionalGeneration, ElysiumProcessor

ROOT = Path(__file__).parents[2]
CLIP: dict[str, Any] = {
    "model_type": "clip_vision_model",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
    "projection_dim": 16,
}
CONV: dict[str, Any] = {
    "model_type": "conv_vision",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 640,
    "max_position_embeddings": 2048,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 3,
}


def shipped_tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(ROOT / "src/elysium/assets/tokenizer")


def llama_tokenizer() -> PreTrainedTokenizerFast:
    """LLaMA's tokenizer with the image token added, as for Vicuna."""
    data = gzip.decompress((ROOT / "tests/assets/llama_tokenizer.json.gz").read_bytes())
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_buffer(data),
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<unk>",
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    return tokenizer


def tiny_config(vision: dict[str, Any] = CLIP, **fields: Any) -> ElysiumConfig:
    values = {"num_kept": 4, "image_token_id": 4, "vision_feature_layer": -2 if vision is CLIP else -1, **fields}
    return ElysiumConfig(vision, LLAMA, **values)


def tiny_model(config: ElysiumConfig | None = None, seed: int = 0) -> ElysiumForConditionalGeneration:
    """In evaluation mode; weights are large enough for answers to depend on every input."""
    torch.manual_seed(seed)
    model = ElysiumForConditionalGeneration(config or tiny_config()).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3)
    return model


def tiny_processor(tokenizer: Any = None, **fields: Any) -> ElysiumProcessor:
    values = {"num_kept": 4, "system": "", **fields}
    return ElysiumProcessor(ElysiumProcessor.square_images(32), tokenizer or shipped_tokenizer(), **values)


def frames(n: int, seed: int = 0, size: tuple[int, int] = (32, 32)) -> list[np.ndarray]:
    """Random smooth pictures, RGB uint8 `[height, width, 3]`."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)
    rows, columns = np.arange(size[0]) * 4 // size[0], np.arange(size[1]) * 4 // size[1]
    return [picture[rows][:, columns] for picture in coarse]
