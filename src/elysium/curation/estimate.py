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


@dataclass(frozen=True)
class Estimate:
    """Measured on a sample, by one worker, models loaded."""

    videos: int
    frames: int
    trajectories: int
    seconds: float

    def lines(self, total: int, workers: int) -> list[str]:
        """The estimate for `total` videos on `workers` workers of the kind it was measured on (one per GPU)."""
        per_video = self.seconds / max(1, self.videos)
        hours = total * per_video / workers / 3600
        kept = self.trajectories / max(1, self.videos)
        return [
            f"measured on {self.videos} videos, one worker: {1 / per_video:.2f} videos/s, "
            f"{self.frames / self.seconds:.1f} frames/s, {kept:.2f} trajectories a video",
            f"{total} videos on {workers} workers: {hours:.1f} hours, about {round(total * kept)} trajectories "
            f"({hours * workers / 24:.1f} worker-days, {kept / per_video * 86400:.0f} trajectories a worker-day)",
        ]


def estimate(params: CurationParams, sample: int) -> Estimate:
    """Curate about `sample` videos, evenly chosen among all inputs. Raises UserError as `plan` does."""
    everything = [(spec, video) for spec in plan(params).shards for video in spec.videos]
    step = max(1, len(everything) // max(1, sample))
    chosen = everything[::step][:sample]
    for spec, _ in chosen:
        load_once(spec)
    noun_chunks(["A dog."])
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="elysium-estimate-") as folder:
        start = time.perf_counter()
        for spec in _grouped(chosen):
            curate_shard(spec, Path(folder))
            counts.update(json.loads(journal_path(Path(folder), spec.name).read_text())["counts"])
        seconds = time.perf_counter() - start
    done = counts["videos"] + counts["videos_unreadable"]
    return Estimate(done, counts["frames"], counts["trajectories"], seconds)


def _grouped(chosen: Sequence[tuple[ShardSpec, CaptionedVideo]]) -> list[ShardSpec]:
    """One shard per input with the chosen videos: spaCy reads their captions together, as it would."""
    by_input: dict[str, ShardSpec] = {}
    for spec, video in chosen:
        known = by_input.get(spec.input_name)
        videos = (*known.videos, video) if known else (video,)
        by_input[spec.input_name] = replace(spec, videos=videos)
    return list(by_input.values())
