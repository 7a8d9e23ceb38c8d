"""Shards: webdataset tars of `VideoRecord`s, written atomically and read by position.

A sample is `KEY.json` + `KEY.<frame>.jpg` (one four-digit number per frame). Reading by position (rather than as a
stream) makes the order of samples a pure function of a seed and a counter, so that resuming needs no skipping; shards
are local files, or on a mounted store. No other member type is read, and nothing is ever unpickled.
"""

import os
import re
import tarfile
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import webdataset as wds

from elysium.errors import UserError
from elysium.samples import VideoRecord

_MEMBER = re.compile(r"(?P<key>[^.]+)\.(?:(?P<frame>\d{4})\.jpg|json)$")


def decode_jpeg(data: bytes) -> np.ndarray:
    """RGB uint8 `[H, W, 3]`. Raises UserError on bytes that are not a picture."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise UserError("a frame of a shard is not a JPEG; rebuild the stage that wrote it")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def write_shard(path: Path, records: Iterable[VideoRecord]) -> int:
    """Write records as one tar; it appears by atomic rename or not at all. Bit-identical for the same records."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    count = 0
    try:
        with wds.TarWriter(str(part), mtime=0, user="elysium", group="elysium") as tar:
            for record in records:
                sample: dict[str, object] = {"__key__": record.key, "json": record.to_json().encode()}
                for i, jpeg in enumerate(record.frames):
                    sample[f"{i:04d}.jpg"] = jpeg
                tar.write(sample)
                count += 1
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return count


def write_shards(folder: Path, prefix: str, records: Iterable[VideoRecord], per_shard: int) -> list[Path]:
    """Write `PREFIX-000000.tar`, ... of at most `per_shard` records each; returns the paths."""
    paths: list[Path] = []
    batch: list[VideoRecord] = []

    def flush() -> None:
        path = folder / f"{prefix}-{len(paths):06d}.tar"
        write_shard(path, batch)
        paths.append(path)
        batch.clear()

    for record in records:
        batch.append(record)
        if len(batch) == per_shard:
            flush()
    if batch:
        flush()
    return paths


def tar_members(path: Path) -> Iterator[tuple[str, int, int]]:
    """Name, offset and size of each file in a tar.

    Plain headers are read directly, ten times as fast as tarfile does (benchmarks/shard_index.py); a tar with
    extended headers is left to tarfile.
    """
    plain: list[tuple[str, int, int]] = []
    with open(path, "rb") as file:
        end = file.seek(0, os.SEEK_END)
        offset = 0
        while offset + 512 <= end:
            file.seek(offset)
            header = file.read(512)
            if header[257:262] != b"ustar" or header[156:157] not in (b"0", b"\0") or header[124] & 0x80:
                break
            size = int(header[124:135], 8)
            plain.append((header[:100].rstrip(b"\0").decode(), offset + 512, size))
            offset += 512 + -(-size // 512) * 512
        file.seek(min(offset, end))
        if offset <= end and not any(file.read(512)) and plain:  # the zero block that ends a tar
            yield from plain
            return
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            yield member.name, member.offset_data, member.size


class Shard:
    """Random access to one tar: `len(shard)`, `shard[i]`, and `shard.read(i, frames)` for a few frames only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        index: dict[str, dict[int, tuple[int, int]]] = {}
        try:
            for name, offset, size in tar_members(path):
                match = _MEMBER.match(name)
                if match:
                    frame = -1 if match["frame"] is None else int(match["frame"])
                    index.setdefault(match["key"], {})[frame] = (offset, size)
        except (tarfile.TarError, OSError) as error:
            raise UserError(f"{path}: not a readable tar shard ({error}); rebuild the stage that wrote it") from error
        self._members = list(index.values())
        for key, members in index.items():
            if -1 not in members:
                raise UserError(f"{path}: sample {key} has no .json; rebuild the stage that wrote it")

    def __len__(self) -> int:
        return len(self._members)

    def header(self, i: int) -> VideoRecord:
        """Record `i` without its pixels."""
        return VideoRecord.from_json(self._bytes([self._members[i][-1]])[0])

    def frames(self, i: int, frames: Iterable[int]) -> list[bytes]:
        """The JPEGs of the given frames of record `i`, in the order asked."""
        return self._bytes([self._members[i][f] for f in frames])

    def __getitem__(self, i: int) -> VideoRecord:
        members = self._members[i]
        order = sorted(members)  # -1, the record itself, comes first
        header, *frames = self._bytes([members[f] for f in order])
        return VideoRecord.from_json(header, frames)

    def _bytes(self, spans: list[tuple[int, int]]) -> list[bytes]:
        out = []
        with open(self.path, "rb") as file:
            for offset, size in spans:
                file.seek(offset)
                out.append(file.read(size))
        return out


@lru_cache(maxsize=4096)
def open_shard(path: Path) -> Shard:
    """The `Shard` at `path`; its index is read once per process."""
    return Shard(path)


def list_shards(folder: Path, prefix: str = "") -> list[Path]:
    """The tars of a folder whose names start with `prefix`, sorted. Raises UserError if there is none."""
    paths = sorted(folder.glob(f"{prefix}*.tar")) if folder.is_dir() else []
    if not paths:
        raise UserError(f"{folder}: no shard {prefix}*.tar there; run the stage that writes it (`dvc repro`)")
    return paths


def read_records(folder: Path, prefix: str = "") -> Iterator[VideoRecord]:
    """Every record of a folder's shards, in order, with pixels."""
    for path in list_shards(folder, prefix):
        shard = open_shard(path)
        for i in range(len(shard)):
            yield shard[i]
