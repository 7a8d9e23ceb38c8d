"""ElysiumTrack as it is released: JSON lines, and the frames as pictures; written from shards and read back.

Layout: `annotations.jsonl`, whose `frames` are paths in the same folder: `frames/VID/0000.jpg`, ...
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path, PurePosixPath

from elysium.curation.annotations import annotation_lines, read_with_frames
from elysium.data.shards import Shard, list_shards, write_shards
from elysium.errors import UserError
from elysium.files import write_atomic
from elysium.samples import VideoRecord

RECORDS_PER_SHARD = 200


def export_elysiumtrack(folder: Path, out: Path) -> int:
    """Write the shards of a curated folder as `annotations.jsonl` and pictures; returns the number of lines.

    Raises UserError if the folder has no shard.
    """
    lines: list[str] = []
    for path in list_shards(folder):
        shard = Shard(path)
        for i in range(len(shard)):
            record = shard[i]
            names = [f"frames/{record.key}/{f:04d}.jpg" for f in range(len(record.frames))]
            for name, jpeg in zip(names, record.frames, strict=True):
                (out / name).parent.mkdir(parents=True, exist_ok=True)
                (out / name).write_bytes(jpeg)
            lines += annotation_lines(record, names)
    write_atomic(out / "annotations.jsonl", "".join(line + "\n" for line in lines))
    return len(lines)


def import_elysiumtrack(annotations: Path, frames: Path, out: Path) -> tuple[int, list[str]]:
    """Write shards `{train,eval}-release-*.tar` from annotations and the folder their `frames` lie in.

    Returns the number of records, and a line per video left out because a picture is missing. The split is that of the
    export; lines without one (the released file has none) go to `train`. Raises UserError naming a wrong line.
    """
    left_out: list[str] = []
    count = 0
    for split in ("train", "eval"):
        records = _with_frames(annotations, frames, split, left_out)
        count += sum(len(Shard(path)) for path in write_shards(out, f"{split}-release", records, RECORDS_PER_SHARD))
    if not count:
        raise UserError(f"{frames}: no picture of {annotations} is there; give the folder that its `frames` lie in")
    return count, left_out


def _with_frames(annotations: Path, folder: Path, split: str, left_out: list[str]) -> Iterator[VideoRecord]:
    for record, names in read_with_frames(annotations):
        if record.metadata.get("split", "train") != split:
            continue
        missing = [name for name in names if not _inside(folder, name).is_file()]
        if missing or len(names) != len(record.frame_times):
            why = f"{missing[0]} is missing" if missing else f"{len(names)} frames, {len(record.frame_times)} boxes"
            left_out.append(f"{record.key}: {why}")
            continue
        pictures = tuple(_inside(folder, name).read_bytes() for name in names)
        metadata = record.metadata or {"input": "release", "video": record.key, "shot": 0, "split": "train"}
        yield replace(record, key=_key(record.key), metadata=metadata, frames=pictures)


def _inside(folder: Path, name: str) -> Path:
    """A picture of the folder. Raises UserError if the name leads out of it."""
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise UserError(f"{name}: a frame outside {folder}; the annotation file is not to be trusted")
    return folder / name


def _key(vid: str) -> str:
    """A key without dots; ids that differ only in characters a key cannot hold stay apart by a hash."""
    clean = re.sub(r"[^A-Za-z0-9_-]", "-", vid)
    return clean if clean == vid else f"{clean}-{sha256(vid.encode()).hexdigest()[:8]}"
