"""From the mixture to the micro-batches of one optimiser step, ahead of the step that needs them.

A global batch is a range of positions of the mixture. Each rank takes every world-size-th of them ordered by length, so
ranks carry equal loads; its share is cut into micro-batches of similar lengths, so little is padding.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from queue import Queue

import torch
from torch import Tensor

from elysium.data.mixture import Mixture, TrainingSample
from elysium.model.processing import ElysiumProcessor, pad


@dataclass(frozen=True)
class MicroBatch:
    """Inputs of one forward pass, and what they hold."""

    inputs: dict[str, Tensor]
    samples: int
    frames: int
    tokens: int


@dataclass(frozen=True)
class StepBatch:
    """One rank's share of a global batch; `supervised` counts the answer tokens of the share."""

    micro: list[MicroBatch]
    supervised: int
    per_source: dict[str, int]  # supervised tokens


def collate(samples: list[TrainingSample], processor: ElysiumProcessor) -> MicroBatch:
    """Right-padded tensors of some samples; labels are -100 where nothing is supervised."""
    input_ids, mask = pad([s.input_ids for s in samples], processor.tokenizer.pad_token_id, "right")
    labels, _ = pad([s.labels for s in samples], -100, "right")
    images = [image for s in samples for image in s.images]
    inputs = {"input_ids": input_ids, "attention_mask": mask, "labels": labels}
    if images:
        inputs["pixel_values"] = processor.pixels(images)
    return MicroBatch(inputs, len(samples), len(images), int(mask.sum()))


class StepBatches:
    """Iterates over the steps `first_step, ...` of a run for one rank; a thread prepares the next ones."""

    def __init__(
        self,
        mixture: Mixture,
        global_batch: int,
        micro_batches: int,
        rank: int,
        world: int,
        first_step: int,
        steps: int,
    ) -> None:
        self.mixture, self.processor = mixture, mixture.processor
        self.global_batch, self.micro_batches = global_batch, micro_batches
        self.rank, self.world = rank, world
        self.first_step, self.steps = first_step, steps

    def step(self, step: int) -> StepBatch:
        """This rank's share of the batch of one step."""
        start = step * self.global_batch
        share = [self.mixture[start + i] for i in range(self.rank, self.global_batch, self.world)]
        share.sort(key=lambda s: len(s.input_ids))
        size = len(share) // self.micro_batches
        parts = [share[i * size : (i + 1) * size] for i in range(self.micro_batches)]
        per_source: dict[str, int] = {}
        for sample in share:
            count = sum(label != -100 for label in sample.labels)
            per_source[sample.source] = per_source.get(sample.source, 0) + count
        return StepBatch([collate(p, self.processor) for p in parts], sum(per_source.values()), per_source)

    def __iter__(self) -> Iterator[StepBatch]:
        ready: Queue[StepBatch | BaseException] = Queue(maxsize=2)
        stopped = threading.Event()

        def prepare() -> None:
            try:
                for step in range(self.first_step, self.steps):
                    if stopped.is_set():
                        return
                    ready.put(self.step(step))
            except BaseException as error:
                ready.put(error)

        thread = threading.Thread(target=prepare, daemon=True)
        thread.start()
        try:
            for _ in range(self.first_step, self.steps):
                item = ready.get()
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stopped.set()
            while not ready.empty():
                ready.get_nowait()


def supervised_in_all(share: int) -> int:
    """Supervised tokens of the global batch, summed over the ranks."""
    count = torch.tensor([share], dtype=torch.float64)
    if torch.distributed.is_initialized():
        if torch.cuda.is_available():
            count = count.cuda()
        torch.distributed.all_reduce(count)
    return int(count.item())
