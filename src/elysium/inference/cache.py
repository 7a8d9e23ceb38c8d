"""A KV cache whose rows advance by different lengths: each row writes at its own place, so there are no holes.

A token's slot is its position. A rejected draft is overwritten by what comes in its place, a row that is done is taken
out, and attention sees no more than the longest row. transformers' `DynamicCache` appends one block for all rows, and
what is padding or rejected stays in it and is paid for in every later pass.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


class SlotCache(Cache):
    """`keys` and `values` of every layer are `[B, heads, slots + 1, head width]`; the last slot takes the padding.

    Before a pass, `place` says where its tokens go. Raises ValueError if they do not fit.
    """

    def __init__(self, n_layers: int, slots: int) -> None:
        self.slots, self.used = slots, 0
        self.index = torch.empty(0, 0, dtype=torch.long)
        super().__init__(layers=[_Layer(self) for _ in range(n_layers)])

    def place(self, position_BL: Tensor, own_BL: Tensor) -> Tensor:
        """Set the places of the coming tokens, padding where `own_BL` is 0; returns their mask `[B, 1, L, used]`: True
        where a token may look."""
        self.used = int(position_BL.max()) + 1
        if self.used > self.slots:
            raise ValueError(f"a row of {self.used} tokens in a cache for {self.slots}")
        self.index = torch.where(own_BL.bool(), position_BL, self.slots)
        return torch.arange(self.used, device=position_BL.device) <= position_BL[:, None, :, None]


class _Layer(CacheLayerMixin):
    is_sliding = False

    def __init__(self, cache: SlotCache) -> None:
        super().__init__()
        self.cache = cache

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        slots = self.cache.slots + 1
        # Zeros, not whatever lies there: what is masked must still be finite.
        self.keys = key_states.new_zeros(*key_states.shape[:2], slots, key_states.shape[3])
        self.values = value_states.new_zeros(*value_states.shape[:2], slots, value_states.shape[3])
        self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        row = torch.arange(len(key_states), device=key_states.device)[:, None]
        self.keys[row, :, self.cache.index] = key_states.transpose(1, 2)
        self.values[row, :, self.cache.index] = value_states.transpose(1, 2)
        return self.keys[:, :, : self.cache.used], self.values[:, :, : self.cache.used]

    def batch_select_indices(self, indices: Tensor) -> None:
        assert self.keys is not None and self.values is not None
        used = self.cache.used
        keys, values = self.keys, self.values
        self.lazy_initialization(keys[indices, :, :0], values[indices, :, :0])
        self.keys[:, :, :used], self.values[:, :, :used] = keys[indices, :, :used], values[indices, :, :used]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.cache.used, 0

    def get_seq_length(self) -> int:
        return self.cache.used if self.is_initialized else 0

    def get_max_length(self) -> int:
        return self.cache.slots
