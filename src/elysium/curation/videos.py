"""The captioned videos that enter the curation, and their cut into shards, the unit of work."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from elysium.config import CurationInput, CurationParams
from elysium.errors import UserError

VERSION = 1  # of the curation's output; raise it when the same input gives another output
_SAMPLE = 1 << 16  # bytes read at both ends of a file to tell whether it changed


@dataclass(frozen=True)
class CaptionedVideo:
    """A video file with its captions; clips of one `source` never come into both the train and the eval split."""

    path: str
    captions: tuple[str, ...]
    source: str

    @property
    def name(self) -> str:
        return Path(self.path).name


@dataclass(frozen=True)
class ShardSpec:
    """Everything a worker needs for one shard; `fingerprint` changes when its output would."""

    name: str
    input_name: str
    source: CurationInput
    params: CurationParams
    videos: tuple[CaptionedVideo, ...]
    fingerprint: str


def read_captions(source: CurationInput) -> list[CaptionedVideo]:
    """The videos of an input, by name; captions of a video named twice are joined, repeated captions count once.

    Raises UserError if the folder or the caption file is missing, or a line of it is not
    `{"video": "name.mp4", "captions": ["...", ...]}` (optional: "source").
    """
    folder, listing = Path(source.videos), Path(source.captions)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of videos (curation.inputs.*.videos)")
    if not listing.is_file():
        raise UserError(
            f'{listing}: no such caption file; write one line {{"video": ..., "captions": [...]}} per video'
        )
    found: dict[str, tuple[list[str], str]] = {}
    for number, line in enumerate(listing.read_text().splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            name, captions = row["video"], row["captions"]
            if not isinstance(name, str) or not all(isinstance(c, str) for c in captions) or isinstance(captions, str):
                raise TypeError("video is a name, captions a list of texts")
            origin = str(row.get("source", name))
        except (ValueError, KeyError, TypeError) as error:
            wanted = '{"video": "name.mp4", "captions": ["..."]}'
            raise UserError(f"{listing}:{number}: expected {wanted}, got {line[:60]!r} ({error})") from error
        known, origin = found.setdefault(name, ([], origin))
        known.extend(c for c in captions if c not in known)
    if not found:
        raise UserError(f"{listing}: no caption in it")
    return [CaptionedVideo(str(folder / name), tuple(c), origin) for name, (c, origin) in sorted(found.items())]


def plan(params: CurationParams) -> list[ShardSpec]:
    """Every shard of every input, in a fixed order. Raises UserError as `read_captions` does, or without input."""
    if not params.inputs:
        raise UserError("curation.inputs is empty; name at least one folder of captioned videos")
    shards = []
    for name, source in sorted(params.inputs.items()):
        videos = read_captions(source)
        step = max(1, params.videos_per_shard)
        for k, start in enumerate(range(0, len(videos), step)):
            part = tuple(videos[start : start + step])
            shards.append(ShardSpec(f"{name}-{k:05d}", name, source, params, part, _fingerprint(source, params, part)))
    return shards


def _fingerprint(source: CurationInput, params: CurationParams, videos: Sequence[CaptionedVideo]) -> str:
    settings = {k: v for k, v in asdict(params).items() if k not in ("inputs", "workers", "videos_per_shard")}
    how = {k: v for k, v in asdict(source).items() if k not in ("videos", "captions")}
    listed = [(v.name, v.captions, v.source, _digest(Path(v.path))) for v in videos]
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
