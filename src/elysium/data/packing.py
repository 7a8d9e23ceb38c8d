"""Several samples in one row, each seeing itself alone: nothing is padding.

Samples are told apart by the position ids, which begin at 0 with each: flash attention takes variable sequence lengths
from them, SDPA attends sample by sample (`elysium.model.varlen`), and for eager attention transformers builds the
block-diagonal mask.
"""

import heapq
from collections.abc import Sequence

import torch
from torch import Tensor


def deal(lengths: Sequence[int], bins: int) -> list[list[int]]:
    """Indices of the samples by bin, so that the bins' sums are close: the longest first, each to the emptiest bin.

    No bin is empty. Raises ValueError if there are fewer samples than bins.
    """
    if not 0 < bins <= len(lengths):
        raise ValueError(f"{len(lengths)} samples cannot fill {bins} bins")
    loads = [(0, b) for b in range(bins)]
    dealt: list[list[int]] = [[] for _ in range(bins)]
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        load, b = heapq.heappop(loads)
        dealt[b].append(i)
        heapq.heappush(loads, (load + lengths[i], b))
    return dealt


def pack(ids: Sequence[Sequence[int]], labels: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """`input_ids`, `labels` and `position_ids` `[1, L]` of samples one after the other; no padding, no attention mask.

    The first token of a sample is never supervised: it would be predicted from the sample before it.
    """
    packed = {
        "input_ids": [token for sample in ids for token in sample],
        "labels": [label for sample in labels for label in [-100, *sample[1:]]],
        "position_ids": [place for sample in ids for place in range(len(sample))],
    }
    return {name: torch.tensor([values]) for name, values in packed.items()}
