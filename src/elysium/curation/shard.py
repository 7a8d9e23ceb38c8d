"""The work of one process: one shard of captioned videos becomes two tars and a journal, or nothing at all."""

import json
import re
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from elysium.config import CurationParams
from elysium.curation.ahead import ahead
from elysium.curation.captions import Chunk, judged_chunks
from elysium.curation.filters import ANALYSIS_SIDE, filter_shot, shrink
from elysium.curation.grounding import Grounder, load_grounder
from elysium.curation.motion import CutFinder
from elysium.curation.sources import CaptionedVideo
from elysium.curation.trackers import Tracker, load_tracker
from elysium.curation.videos import ShardSpec, is_eval
from elysium.data.shards import write_shard
from elysium.data.video import UnreadableVideo, iter_frames, probe
from elysium.files import write_atomic
from elysium.samples import ObjectTrack, VideoRecord

JPEG_QUALITY = 92


@dataclass
class Journal:
    """What happened in a shard: counts, discarded items with their reasons, quarantined videos."""

    counts: Counter[str] = field(default_factory=Counter)
    discarded: list[dict[str, Any]] = field(default_factory=list)
    quarantined: list[dict[str, Any]] = field(default_factory=list)

    def discard(self, video: str, phrase: str, at: str, why: str, shot: int | None = None) -> None:
        """Count an item under the filter that dropped it, and log it."""
        self.counts[at] += 1
        where = {} if shot is None else {"shot": shot}
        self.discarded.append({"video": video, **where, "phrase": phrase, "filter": at, "why": why})


@dataclass
class Shot:
    """Frames between two cuts, RGB uint8, with their times in seconds and the number of the shot in its video."""

    number: int
    frames: list[np.ndarray] = field(default_factory=list)
    times: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Decoded:
    """A shot of the video at that place of the shard, or its end, or why it cannot be read."""

    place: int
    frame_size: tuple[int, int]  # width, height
    fps: float
    shot: Shot | None = None
    error: Exception | None = None


@lru_cache(maxsize=4)
def _grounder(name: str, model: str) -> Grounder:
    """Loaded once per process."""
    return load_grounder(name, model)


@lru_cache(maxsize=4)
def _tracker(name: str, model: str) -> Tracker:
    """Loaded once per process."""
    return load_tracker(name, model)


def load_once(spec: ShardSpec) -> tuple[Grounder, Tracker]:
    """The models of a shard, loaded at the first call in a process. Raises UserError if a checkpoint is missing."""
    params = spec.params
    return _grounder(spec.source.grounding, params.grounding_dino), _tracker(spec.source.tracker, params.sam2)


def journal_path(out: Path, shard: str) -> Path:
    """The journal is written last: a shard is done if its journal is there with the right fingerprint."""
    return out / "journal" / f"{shard}.json"


def tar_paths(out: Path, shard: str) -> dict[str, Path]:
    """The tars of a shard by split; one without records is not written."""
    return {split: out / f"{split}-{shard}.tar" for split in ("train", "eval")}


def is_done(spec: ShardSpec, out: Path) -> bool:
    """Whether the shard was finished, with the same input and parameters."""
    path = journal_path(out, spec.name)
    if not path.is_file():
        return False
    journal = json.loads(path.read_text())
    present = all((out / name).is_file() for name in journal["tars"])
    return bool(journal["fingerprint"] == spec.fingerprint and present)


def curate_shard(spec: ShardSpec, out: Path) -> None:
    """Curate the shard's videos; tars appear by rename, the journal last. The same input gives the same bytes."""
    cv2.setNumThreads(1)
    journal = Journal()
    records: list[VideoRecord] = []
    chunks = _judge_captions(spec, journal)
    with closing(ahead(_decode(spec, chunks))) as decoded:
        by_video = groupby(decoded, key=lambda part: part.place)
        for video, (_, parts) in zip(spec.videos, by_video, strict=True):
            try:
                records += _curate_video(spec, video, chunks[video.label], parts, journal)
            except (UnreadableVideo, cv2.error) as error:
                journal.counts["videos_unreadable"] += 1
                reason = " ".join(str(error).split()).replace(video.path, video.name)
                journal.quarantined.append({"input": spec.input_name, "video": video.label, "reason": reason})
    paths = tar_paths(out, spec.name)
    tars = []
    for split, path in paths.items():
        part = [r for r in records if r.metadata["split"] == split]
        path.unlink(missing_ok=True)
        if part:
            write_shard(path, part)
            tars.append(path.name)
    body = {
        "fingerprint": spec.fingerprint,
        "tars": tars,
        "counts": dict(sorted(journal.counts.items())),
        "discarded": [{"input": spec.input_name, **row} for row in journal.discarded],
        "quarantined": journal.quarantined,
    }
    write_atomic(journal_path(out, spec.name), json.dumps(body, indent=0))


def _judge_captions(spec: ShardSpec, journal: Journal) -> dict[str, list[str]]:
    """The kept chunks of each video over all its captions, each once; the others go to the journal."""
    captions = [(video, caption) for video in spec.videos for caption in video.captions]
    judged = judged_chunks([caption for _, caption in captions])
    kept: dict[str, list[str]] = {video.label: [] for video in spec.videos}
    for (video, _), chunks in zip(captions, judged, strict=True):
        for chunk in chunks:
            journal.counts["chunks"] += 1
            reason = chunk.reason or _repeated(chunk, kept[video.label])
            if reason:
                journal.discard(video.label, chunk.text, f"caption_{reason}", "noun chunk filter")
            else:
                kept[video.label].append(chunk.text)
    return kept


def _repeated(chunk: Chunk, before: list[str]) -> str:
    return "repeated" if chunk.text.lower() in (text.lower() for text in before) else ""


def _decode(spec: ShardSpec, chunks: dict[str, list[str]]) -> Generator[Decoded, None, None]:
    """Parts of all videos in order: the shots of each whose captions name anything, then its end or an error."""
    for place, video in enumerate(spec.videos):
        size, fps = (0, 0), 0.0
        try:
            info = probe(Path(video.path))  # an unreadable video is reported even when its captions name nothing
            size, fps = (info.width, info.height), info.fps
            for shot in shots(video, spec.params) if chunks[video.label] else ():
                yield Decoded(place, size, fps, shot)
            yield Decoded(place, size, fps)
        except (UnreadableVideo, cv2.error) as error:
            yield Decoded(place, size, fps, error=error)


def _curate_video(
    spec: ShardSpec, video: CaptionedVideo, phrases: list[str], parts: Iterator[Decoded], journal: Journal
) -> list[VideoRecord]:
    """The records of one video, one per shot with at least one trajectory. Raises UnreadableVideo."""
    params = spec.params
    counts: Counter[str] = Counter(videos=1)
    local = Journal(counts)
    if not phrases:
        counts["videos_without_phrase"] += 1
    records = []
    split = "eval" if is_eval(video.source, spec.source.eval_fraction) else "train"
    grounder, tracker = load_once(spec)
    for part in parts:
        if part.error:
            raise part.error
        if part.shot is None:
            continue
        shot = part.shot
        counts["shots"] += 1
        counts["frames"] += len(shot.frames)
        counts["candidates"] += len(phrases)
        kept, fallen = filter_shot(shot.frames, phrases, grounder, tracker, params)
        for item in fallen:
            local.discard(video.label, item.phrase, item.filter, item.why, shot.number)
        if split == "eval":
            for track in kept:
                if track.rivals:
                    why = f"{1 + track.rivals} things answer it in the first frame"
                    local.discard(video.label, track.phrase, "not_unique", why, shot.number)
            kept = [t for t in kept if not t.rivals]
        if not kept:
            continue
        counts["trajectories"] += len(kept)
        records.append(
            VideoRecord(
                key=_key(spec.input_name, video, shot.number),
                source=video.source,
                frame_size=part.frame_size,
                frame_times=tuple(round(t, 4) for t in shot.times),
                objects=tuple(ObjectTrack(t.phrase, t.boxes, t.label) for t in kept),
                captions=video.captions,
                metadata={
                    "input": spec.input_name,
                    "video": video.label,
                    "shot": shot.number,
                    "split": split,
                    "fps": round(part.fps / params.frame_stride, 4),
                    "confidence": [t.confidence for t in kept],
                    "drift": [t.drift for t in kept],
                },
                frames=tuple(_jpeg(shrink(frame, params.frame_size)) for frame in shot.frames),
            )
        )
    # Only now: a video that breaks half-way leaves no count of its items behind.
    journal.counts.update(counts)
    journal.discarded += local.discarded
    return records


def shots(video: CaptionedVideo, params: CurationParams) -> Iterator[Shot]:
    """The shots of a video one by one, each cut short at `max_frames`."""
    side = 0 if params.frame_size == 0 else max(params.frame_size, ANALYSIS_SIDE)
    finder, shot = CutFinder(), Shot(0)
    for frame, time in iter_frames(video.path, params.frame_stride, None, side, video.start, video.end):
        if finder.is_cut(frame):
            yield shot
            shot = Shot(shot.number + 1)
        if len(shot.frames) < params.max_frames:
            shot.frames.append(frame)
            shot.times.append(time)
    yield shot


def _key(input_name: str, video: CaptionedVideo, shot: int) -> str:
    """A key without dots; labels that differ only in characters a key cannot hold stay apart by a hash."""
    stem = str(Path(video.name).with_suffix("")) + video.label.removeprefix(video.name)
    clean = re.sub(r"[^A-Za-z0-9_-]", "-", stem)
    tag = "" if clean == stem else "-" + sha256(video.label.encode()).hexdigest()[:8]
    return f"{input_name}-{clean}{tag}-s{shot:03d}"


def _jpeg(frame: np.ndarray) -> bytes:
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert ok
    return data.tobytes()
