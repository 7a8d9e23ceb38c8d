"""From the mixture to the micro-batches of one optimiser step, ahead of the step that needs them.

A global batch is a range of positions of the mixture. Each rank takes every world-size-th of them. Padded, its share is
cut by length into micro-batches of similar samples; packed, it is dealt to micro-batches of equal numbers of tokens.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from elysium.data.mixture import Mixture, TrainingSample
from elysium.data.packing import deal, pack
from elysium.model.processing import ElysiumProcessor, pad


@dataclass(frozen=True)
class MicroBatch:
    """Inputs of one forward pass, and what they hold."""

    inputs: dict[str, Tensor]
    samples: int
    frames: int
    lengths: list[int]  # tokens of each sample


@dataclass(frozen=True)
class StepBatch:
    """One rank's share of a global batch; `supervised` counts the answer tokens of the share."""

    micro: list[MicroBatch]
    supervised: int
    per_source: dict[str, int]  # supervised tokens
    keys: list[str]  # SOURCE/KEY of the samples, in their order


def collate(samples: list[TrainingSample], processor: ElysiumProcessor, packing: bool = False) -> MicroBatch:
    """Tensors of some samples, right-padded or packed (`data.packing`); labels are -100 where nothing is supervised."""
    ids, labels = [s.input_ids for s in samples], [s.labels for s in samples]
    if packing:
        inputs = pack(ids, labels)
    else:
        input_ids, mask = pad(ids, processor.tokenizer.pad_token_id, "right")
        inputs = {"input_ids": input_ids, "attention_mask": mask, "labels": pad(labels, -100, "right")[0]}
    images = [image for s in samples for image in s.images]
    if images:
        inputs["pixel_values"] = processor.pixels(images)
    return MicroBatch(inputs, len(samples), len(images), [len(i) for i in ids])


class StepBatches:
    """Iterates over the steps `first_step, ...` of a run for one rank; threads prepare the next ones, a step each.

    What a step holds, and the order of the steps, does not depend on the number of threads.
    """

    def __init__(
        self,
        mixture: Mixture,
        global_batch: int,
        micro_batches: int,
        rank: int,
        world: int,
        first_step: int,
        steps: int,
        threads: int = 1,
        packing: bool = False,
    ) -> None:
        self.mixture, self.processor = mixture, mixture.processor
        self.global_batch, self.micro_batches = global_batch, micro_batches
        self.rank, self.world = rank, world
        self.packing = packing
        self.first_step, self.steps, self.threads = first_step, steps, max(1, threads)

    def step(self, step: int) -> StepBatch:
        """This rank's share of the batch of one step."""
        start = step * self.global_batch
        share = [self.mixture[start + i] for i in range(self.rank, self.global_batch, self.world)]
        if self.packing:
            dealt = deal([len(s.input_ids) for s in share], self.micro_batches)
            parts = [[share[i] for i in part] for part in dealt]
        else:
            share.sort(key=lambda s: len(s.input_ids))
            size = len(share) // self.micro_batches
            parts = [share[i * size : (i + 1) * size] for i in range(self.micro_batches)]
        per_source: dict[str, int] = {}
        for sample in share:
            count = sum(label != -100 for label in sample.labels)
            per_source[sample.source] = per_source.get(sample.source, 0) + count
        keys = [f"{sample.source}/{sample.key}" for part in parts for sample in part]
        micro = [collate(p, self.processor, self.packing) for p in parts]
        return StepBatch(micro, sum(per_source.values()), per_source, keys)

    def __iter__(self) -> Iterator[StepBatch]:
        steps = iter(range(self.first_step, self.steps))
        with ThreadPoolExecutor(self.threads) as pool:
            ready = deque(pool.submit(self.step, step) for step in islice(steps, self.threads + 1))
            try:
                while ready:
                    yield ready.popleft().result()
                    ready.extend(pool.submit(self.step, step) for step in islice(steps, 1))
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


def supervised_in_all(share: int) -> int:
    """Supervised tokens of the global batch, summed over the ranks."""
    count = torch.tensor([share], dtype=torch.float64)
    if torch.distributed.is_initialized():
        if torch.cuda.is_available():
            count = count.cuda()
        torch.distributed.all_reduce(count)
    return int(count.item())
