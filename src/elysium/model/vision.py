"""A small vision tower for the embedded default: a convolutional stem and a few transformer blocks.

The stem and fixed sine-cosine positions are what a small ViT needs to learn to localise from few samples (Xiao et al.,
"Early Convolutions Help Transformers See Better", 2021); a plain patch embedding stays on a plateau at this size.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput


class ConvVisionConfig(PreTrainedConfig):
    """Configuration of `ConvVisionModel`; `patch_size` is the stem's total stride, a power of two."""

    model_type = "conv_vision"

    hidden_size: int = 128
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    intermediate_size: int = 512
    image_size: int = 64
    patch_size: int = 8


class ConvVisionModel(PreTrainedModel):
    """`pixel_values [B, 3, S, S] -> last_hidden_state [B, (S / patch)^2, C]`, normalised; no class token."""

    config_class = ConvVisionConfig
    config: ConvVisionConfig
    main_input_name = "pixel_values"
    supports_gradient_checkpointing = False
    # Its blocks call torch's fused attention themselves, whichever implementation the LLM is asked to use.
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = True

    def __init__(self, config: ConvVisionConfig) -> None:
        super().__init__(config)
        strides = config.patch_size.bit_length() - 1
        if 2**strides != config.patch_size or config.image_size % config.patch_size:
            raise ValueError(f"patch_size must be a power of two that divides image_size, got {config.patch_size}")
        widths = [3] + [max(16, config.hidden_size >> (strides - i)) for i in range(1, strides + 1)]
        stem: list[nn.Module] = []
        for i in range(strides):
            stem += [nn.Conv2d(widths[i], widths[i + 1], 3, stride=2, padding=1), nn.GELU()]
        self.stem = nn.Sequential(*stem, nn.Conv2d(widths[-1], config.hidden_size, 1))
        self.grid = config.image_size // config.patch_size
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size)
        self.post_init()

    def forward(self, pixel_values: Tensor, output_hidden_states: bool = False, **kwargs: Any) -> BaseModelOutput:
        x = self.stem(pixel_values).flatten(2).transpose(1, 2)  # [B, N, C]
        x = x + sincos_positions(self.grid, x.shape[-1]).to(x)
        states = [x]
        for block in self.blocks:
            x = block(x)
            states.append(x)
        x = states[-1] = self.norm(x)
        return BaseModelOutput(last_hidden_state=x, hidden_states=tuple(states) if output_hidden_states else None)


class _Block(nn.Module):
    def __init__(self, config: ConvVisionConfig) -> None:
        super().__init__()
        dim = config.hidden_size
        self.heads = config.num_attention_heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, config.intermediate_size), nn.GELU(), nn.Linear(config.intermediate_size, dim)
        )

    def forward(self, x_BNC: Tensor) -> Tensor:
        b, n, c = x_BNC.shape
        qkv = self.qkv(self.norm1(x_BNC)).view(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(qkv[0], qkv[1], qkv[2]).transpose(1, 2).reshape(b, n, c)
        x_BNC = x_BNC + self.out(mixed)
        return x_BNC + self.mlp(self.norm2(x_BNC))


def sincos_positions(grid: int, dim: int) -> Tensor:
    """Two-dimensional sine-cosine positions of unit scale, `[grid * grid, dim]` (row-major)."""
    quarter = dim // 4
    frequency = 1.0 / (100.0 ** (torch.arange(quarter) / quarter))
    at = torch.arange(grid)[:, None] * frequency  # [grid, quarter]
    wave = torch.cat([at.sin(), at.cos()], 1)  # [grid, dim / 2]
    rows = wave[:, None].expand(-1, grid, -1)
    columns = wave[None].expand(grid, -1, -1)
    return torch.cat([rows, columns], -1).reshape(grid * grid, -1)
