"""The training mixture: which sample stands at which position of the run, as a pure function of a seed.

Position p of a run names one training sample, whoever asks for it: the order does not depend on the number of
processes or loader threads, and resuming is starting at another position. Every block of positions holds each source in
proportion to its weight; a source that ends starts again in a new order.

Why not megatron-energon, which blends, packs and is restorable: its order holds only while ranks times workers stays
the same (its page on reproducible scaling), and its state is one per worker, where here it is one number; its shards
need metadata made by its own command; and it shuffles within a buffer, not over a whole source. It would pay off for
shards in an object store, which are read as streams.
"""

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock

import numpy as np

from elysium.config import MixtureSource
from elysium.data.shards import Shard, decode_jpeg, list_shards, open_shard
from elysium.data.tasks import TASKS, Clip, make_conversation
from elysium.errors import UserError
from elysium.model.processing import ElysiumProcessor, SampleTooLong

_BLOCK = 500
_ATTEMPTS = 25


@dataclass(frozen=True)
class TrainingSample:
    """One conversation as tokens, with its frames (RGB uint8 `[H, W, 3]`); `task` is its first turn's."""

    source: str
    key: str
    task: str
    input_ids: list[int]
    labels: list[int]
    images: list[np.ndarray]


class Source:
    """All records of a folder's shards by position; `order(n)` is the n-th draw, epochs in new orders."""

    def __init__(self, name: str, source: MixtureSource, seed: int) -> None:
        self.name = name
        if not source.tasks or set(source.tasks) - set(TASKS):
            raise UserError(f"mixture.{name}.tasks: {sorted(source.tasks)}; choose some of {', '.join(TASKS)}")
        self.shards: list[Shard] = [open_shard(p) for p in list_shards(Path(source.folder), source.prefix)]
        self.ends = np.cumsum([len(s) for s in self.shards]).tolist()
        self.tasks = list(source.tasks)
        weights = np.array([source.tasks[t] for t in self.tasks], dtype=np.float64)
        self.task_share = np.cumsum(weights / weights.sum())
        self.turns = source.turns
        self.seed = [seed, *name.encode()]
        self._permutation = lru_cache(maxsize=2)(self._permute)

    def __len__(self) -> int:
        return self.ends[-1]

    def order(self, n: int) -> int:
        """Index of the record that is drawn n-th."""
        return int(self._permutation(n // len(self))[n % len(self)])

    def _permute(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([*self.seed, epoch]).permutation(len(self))

    def locate(self, index: int) -> tuple[Shard, int]:
        shard = bisect_right(self.ends, index)
        return self.shards[shard], index - (self.ends[shard - 1] if shard else 0)


class Mixture:
    """`mixture[position]` is a `TrainingSample`; `refused` counts, by source and reason, the samples passed over.

    `too_long` holds the keys of the records that did not fit into `max_length`: a user may want to see those.
    """

    def __init__(
        self,
        sources: dict[str, MixtureSource],
        processor: ElysiumProcessor,
        clip: Clip,
        max_length: int,
        seed: int,
    ) -> None:
        weights = {name: s.weight for name, s in sources.items() if s.weight > 0}
        if not weights:
            raise UserError("the mixture is empty: give at least one source a weight above 0")
        self.sources = [Source(name, sources[name], seed) for name in weights]
        self.processor, self.clip, self.max_length, self.seed = processor, clip, max_length, seed
        self.quota = _apportion(list(weights.values()), _BLOCK)
        self.refused: Counter[str] = Counter()
        self.too_long: set[str] = set()
        self._counting = Lock()
        self._block = lru_cache(maxsize=4)(self._draw_block)

    def _draw_block(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        """For each position of a block: the source, and how many draws of it come before within the block."""
        source = np.repeat(np.arange(len(self.quota)), self.quota)
        np.random.default_rng([self.seed, 7, block]).shuffle(source)
        rank = np.zeros(_BLOCK, dtype=np.int64)
        for i in range(len(self.quota)):
            rank[source == i] = np.arange(self.quota[i])
        return source, rank

    def passes(self, position: int) -> dict[str, float]:
        """How often each source has been gone through before a position."""
        block, offset = divmod(position, _BLOCK)
        drawn = np.bincount(self._block(block)[0][:offset], minlength=len(self.quota))
        return {s.name: float(block * q + n) / len(s) for s, q, n in zip(self.sources, self.quota, drawn, strict=True)}

    def __getitem__(self, position: int) -> TrainingSample:
        block, offset = divmod(position, _BLOCK)
        choice, rank = self._block(block)
        source = self.sources[int(choice[offset])]
        first = source.order(block * self.quota[int(choice[offset])] + int(rank[offset]))
        rng = np.random.default_rng([self.seed, 11, position])
        for attempt in range(_ATTEMPTS):
            # A record that cannot serve gives way to one drawn by the sample's own generator.
            index = first if attempt == 0 else int(rng.integers(len(source)))
            sample = self._try(source, index, rng)
            if sample is not None:
                return sample
        raise UserError(
            f"mixture source {source.name}: {_ATTEMPTS} records in a row cannot serve {source.tasks} within "
            f"max_length={self.max_length} ({dict(self.refused)}); raise max_length or check the shards"
        )

    def _try(self, source: Source, index: int, rng: np.random.Generator) -> TrainingSample | None:
        shard, i = source.locate(index)
        record = shard.header(i)
        drawn = np.searchsorted(source.task_share, rng.random(source.turns), side="right")
        tasks = [source.tasks[int(t)] for t in drawn]
        processor = self.processor
        talk = make_conversation(tasks, record, rng, self.clip, processor.bins, processor.timestamps)
        if talk is None:
            self._refuse(f"{source.name}: no {tasks[0]} in it")
            return None
        try:
            ids, labels = processor.training_sample(talk.turns, self.max_length)
        except SampleTooLong:
            self._refuse(f"{source.name}: too long")
            self.too_long.add(f"{source.name}/{record.key}")
            return None
        images = [decode_jpeg(data) for data in shard.frames(i, talk.frames)]
        return TrainingSample(source.name, record.key, tasks[0], ids, labels, images)

    def _refuse(self, reason: str) -> None:
        with self._counting:
            self.refused[reason] += 1


def _apportion(weights: list[float], total: int) -> list[int]:
    """Whole shares of `total` in proportion to the weights, by largest remainder, at least one each."""
    exact = np.array(weights) / sum(weights) * total
    shares = np.maximum(np.floor(exact).astype(int), 1)
    for i in np.argsort(-(exact - np.floor(exact)), kind="stable"):
        if shares.sum() >= total:
            break
        shares[i] += 1
    shares[int(shares.argmax())] += total - shares.sum()
    return [int(s) for s in shares]
