"""The captioned videos that enter the curation, each once, and their cut into shards, the unit of work."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from elysium.config import CurationInput, CurationParams
from elysium.curation.sources import CaptionedVideo, read_captions
from elysium.errors import UserError

VERSION = 2  # of the curation's output; raise it when the same input gives another output
_SAMPLE = 1 << 16  # bytes read at both ends of a file to tell whether it changed
# What runs the curation, not what comes out of it.
_HOW_TO_RUN = (
    "inputs",
    "workers",
    "videos_per_shard",
    "runner",
    "ray_address",
    "gpus_per_worker",
    "videos_per_caption",
)


@dataclass(frozen=True)
class ShardSpec:
    """Everything a worker needs for one shard; `fingerprint` changes when its output would."""

    name: str
    input_name: str
    source: CurationInput
    params: CurationParams
    videos: tuple[CaptionedVideo, ...]
    fingerprint: str


@dataclass(frozen=True)
class Plan:
    """The shards of all inputs in a fixed order, and the rows of the log for what was left out as a repetition."""

    shards: list[ShardSpec]
    repeated: list[dict[str, Any]]


def plan(params: CurationParams) -> Plan:
    """Every shard of every input, each video once. Raises UserError as `read_captions` does, or without input."""
    if not params.inputs:
        raise UserError("curation.inputs is empty; name at least one folder of captioned videos")
    shards: list[ShardSpec] = []
    repeated: list[dict[str, Any]] = []
    seen: dict[tuple[object, ...], tuple[str, str]] = {}
    for name, source in sorted(params.inputs.items()):
        digests: dict[str, str] = {}
        videos = _once(name, read_captions(source), seen, digests, repeated)
        videos = _fresh_captions(name, videos, params.videos_per_caption, repeated)
        step = max(1, params.videos_per_shard)
        for k, start in enumerate(range(0, len(videos), step)):
            part = tuple(videos[start : start + step])
            fingerprint = _fingerprint(source, params, part, digests)
            shards.append(ShardSpec(f"{name}-{k:05d}", name, source, params, part, fingerprint))
    return Plan(shards, repeated)


def _once(
    input_name: str,
    videos: Sequence[CaptionedVideo],
    seen: dict[tuple[object, ...], tuple[str, str]],
    digests: dict[str, str],
    repeated: list[dict[str, Any]],
) -> list[CaptionedVideo]:
    """The videos without files that were met before under another name; a copy leaves its captions to the first."""
    kept: dict[str, CaptionedVideo] = {}
    for video in videos:
        digest = digests.setdefault(video.path, _digest(Path(video.path)))
        key = (digest, video.start, video.end)
        known = seen.get(key) if digest != "missing" else None
        if known is None:
            seen[key] = (input_name, video.label)
            kept[video.label] = video
            continue
        if known[0] == input_name:
            first = kept[known[1]]
            kept[known[1]] = replace(first, captions=tuple(dict.fromkeys(first.captions + video.captions)))
        why = f"the same file as {known[1]} of {known[0]}"
        repeated.append(
            {"input": input_name, "video": video.label, "phrase": "", "filter": "video_repeated", "why": why}
        )
    return list(kept.values())


def _fresh_captions(
    input_name: str, videos: Sequence[CaptionedVideo], most: int, repeated: list[dict[str, Any]]
) -> list[CaptionedVideo]:
    """The videos without captions that `most` videos before had, letter case and spaces aside (0: no limit)."""
    if most <= 0:
        return list(videos)
    uses: dict[str, int] = {}
    out = []
    for video in videos:
        captions = []
        for caption in video.captions:
            text = " ".join(caption.casefold().split())
            uses[text] = uses.get(text, 0) + 1
            if uses[text] <= most:
                captions.append(caption)
                continue
            why = f"caption of {most} videos before"
            row = {"input": input_name, "video": video.label, "phrase": caption, "why": why}
            repeated.append({**row, "filter": "caption_of_other_videos"})
        out.append(replace(video, captions=tuple(captions)))
    return out


def _fingerprint(
    source: CurationInput, params: CurationParams, videos: Sequence[CaptionedVideo], digests: dict[str, str]
) -> str:
    settings = {k: v for k, v in asdict(params).items() if k not in _HOW_TO_RUN}
    how = {k: v for k, v in asdict(source).items() if k not in ("videos", "captions")}
    listed = [(v.name, v.captions, v.source, v.start, v.end, digests[v.path]) for v in videos]
    text = json.dumps([VERSION, settings, how, listed], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _digest(path: Path) -> str:
    """Size and both ends of a file: cheap on millions of videos, and independent of times and places."""
    if not path.is_file():
        return "missing"
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(_SAMPLE)
        file.seek(max(0, size - _SAMPLE))
        tail = file.read(_SAMPLE)
    return f"{size}-{hashlib.sha256(head + tail).hexdigest()[:16]}"


def is_eval(source: str, fraction: float) -> bool:
    """Whether videos of a source belong to the evaluation split: a fixed pseudo-random share of all sources."""
    digest = hashlib.sha256(source.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < fraction
