"""SDPA over packed samples without a mask: each attends by itself, so a row costs the sum of the squared lengths.

What flash attention does with variable sequence lengths, for machines without it. Samples are told apart by the
position ids, which begin at 0 with each (`elysium.data.packing`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

NAME = "elysium_varlen"


def varlen_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    position_ids: Tensor,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention within the samples of one row: `[1, heads, L, D]` to `[1, L, heads, D]`; `position_ids [1, L]`.

    Raises ValueError for more than one row or a mask: both would be ignored.
    """
    if query.shape[0] != 1 or attention_mask is not None:
        raise ValueError(f"packed attention takes one row and no mask, not {query.shape[0]} rows")
    begins = (position_ids[0] == 0).nonzero()[:, 0]
    lengths = torch.diff(begins, append=begins.new_tensor([query.shape[2]])).tolist()
    grouped = query.shape[1] != key.shape[1]
    parts = [
        scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=grouped)
        for q, k, v in zip(*(states.split(lengths, dim=2) for states in (query, key, value)), strict=True)
    ]
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


@contextmanager
def packed_attention(model: PreTrainedModel) -> Iterator[None]:
    """Within, a language model configured for SDPA takes one packed row at a time; any other stays as it is."""
    before = model.config._attn_implementation
    if before == "sdpa":
        model.config._attn_implementation = NAME
    try:
        yield
    finally:
        model.config._attn_implementation = before


def _no_mask(*_: Any, **__: Any) -> None:
    return None


AttentionInterface.register(NAME, varlen_attention)
AttentionMaskInterface.register(NAME, _no_mask)
