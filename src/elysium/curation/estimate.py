"""What a curation would cost: a sample of the videos is curated and timed, the rest is multiplication."""

import json
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from elysium.config import CurationParams
from elysium.curation.captions import noun_chunks
from elysium.curation.shard import curate_shard, journal_path, load_once
from elysium.curation.sources import CaptionedVideo
from elysium.curation.videos import ShardSpec, plan
from elysium.errors import UserError


@dataclass(frozen=True)
class Estimate:
    """Measured on a sample by one worker of this machine, models loaded; `core_seconds`: of all its threads."""

    videos: int
    frames: int
    trajectories: int
    seconds: float
    core_seconds: float

    def lines(self, total: int, gpus: int) -> list[str]:
        """What was measured, and what `total` videos take with one such worker on each of `gpus` GPUs."""
        hours = total * self.seconds / self.videos / gpus / 3600
        kept = self.trajectories / self.videos
        kept_a_day = self.trajectories / self.seconds * 86400
        machines = f"{gpus} GPU" if gpus == 1 else f"{gpus} GPUs"
        return [
            f"measured on {self.videos} videos with one worker of this machine: {self.videos / self.seconds:.2f} "
            f"videos/s, {self.frames / self.seconds:.1f} frames/s ({self.frames / self.core_seconds:.1f} a core, "
            f"{self.core_seconds / self.seconds:.1f} cores at work), {kept:.2f} trajectories a video",
            f"{total:,} videos on {machines}, one worker as fast as this on each: {hours:,.1f} hours "
            f"({hours * gpus / 24:,.1f} GPU-days), about {_rough(total * kept)} trajectories "
            f"({_rough(kept_a_day)} a GPU-day)",
        ]


def _rough(count: float) -> str:
    """Two digits: a sample says no more."""
    return f"{float(f'{count:.2g}'):,.0f}"


def estimate(params: CurationParams, sample: int) -> Estimate:
    """Curate up to `sample` videos, evenly chosen among all inputs. Raises UserError as `plan` does, or without any."""
    everything = [(spec, video) for spec in plan(params).shards for video in spec.videos]
    if not everything:
        raise UserError("no captioned video to time; the captions list none")
    count = min(sample, len(everything))
    chosen = [everything[i * len(everything) // count] for i in range(count)]
    for spec, _ in chosen:
        load_once(spec)
    noun_chunks(["A dog."])
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="elysium-estimate-") as folder:
        start, core_start = time.perf_counter(), time.process_time()
        for spec in _grouped(chosen):
            curate_shard(spec, Path(folder))
            counts.update(json.loads(journal_path(Path(folder), spec.name).read_text())["counts"])
        seconds, core_seconds = time.perf_counter() - start, time.process_time() - core_start
    done = counts["videos"] + counts["videos_unreadable"]
    return Estimate(done, counts["frames"], counts["trajectories"], seconds, core_seconds)


def _grouped(chosen: Sequence[tuple[ShardSpec, CaptionedVideo]]) -> list[ShardSpec]:
    """One shard per input with the chosen videos: spaCy reads their captions together, as it would."""
    by_input: dict[str, ShardSpec] = {}
    for spec, video in chosen:
        known = by_input.get(spec.input_name)
        videos = (*known.videos, video) if known else (video,)
        by_input[spec.input_name] = replace(spec, videos=videos)
    return list(by_input.values())
