"""Several samples in one row, each seeing itself alone: what padding would waste is used.

The block-diagonal mask follows from the position ids, which begin at 0 with every sample: transformers builds it for
SDPA and eager attention, and hands variable sequence lengths to flash attention. A mask over a row of L tokens costs
L^2, so for the former rows are as short as they can be with less than 5% of padding; for the latter all is one row and
there is none.
"""

import heapq
from collections.abc import Sequence

import torch
from torch import Tensor

PADDING = 0.05  # at most this share of a packed tensor


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


def rows(lengths: Sequence[int], one_row: bool = False) -> list[list[int]]:
    """Indices of the samples by row: as many rows, so as short ones, as leave less than 5% of padding."""
    total = sum(lengths)
    for count in range(1 if one_row else total // max(lengths), 1, -1):
        dealt = deal(lengths, count)
        if total > (1 - PADDING) * count * max(sum(lengths[i] for i in row) for row in dealt):
            return dealt
    return [list(range(len(lengths)))]


def pack(
    ids: Sequence[Sequence[int]], labels: Sequence[Sequence[int]], layout: Sequence[Sequence[int]], pad_id: int
) -> dict[str, Tensor]:
    """`input_ids`, `labels` and `position_ids` `[rows, L]` of samples laid out by `rows`; no attention mask.

    The end of a row is filled with a sample of padding that nothing sees. The first token of a sample is never
    supervised: it would be predicted from the sample before it.
    """
    length = max(sum(len(ids[i]) for i in row) for row in layout)
    shape = len(layout), length
    packed = {
        "input_ids": torch.full(shape, pad_id),
        "labels": torch.full(shape, -100),
        "position_ids": torch.zeros(shape, dtype=torch.long),
    }
    for r, row in enumerate(layout):
        end = 0
        for i in row:
            begin, end = end, end + len(ids[i])
            packed["input_ids"][r, begin:end] = torch.tensor(ids[i])
            packed["labels"][r, begin:end] = torch.tensor(labels[i])
            packed["labels"][r, begin] = -100
            packed["position_ids"][r, begin:end] = torch.arange(end - begin)
        packed["position_ids"][r, end:] = torch.arange(length - end)
    return packed
