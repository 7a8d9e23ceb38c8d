"""Where captioned videos come from: a folder of files, and captions in any of the forms that people have them in.

| captions | form |
| --- | --- |
| `FILE.jsonl` | `{"video": "a.mp4", "captions": [...]}` a line; optional `source`, `start`, `end` (seconds) |
| `FILE.csv` | header `video,caption`; optional `source`, `start`, `end` (OpenVid's table is of this form) |
| WebVid's CSV | header `videoid,...,page_dir,name`: the file is `PAGE_DIR/VIDEOID.mp4` or `VIDEOID.mp4` |
| Panda-70M's CSV | header `videoID,...,timestamp,caption`: a list of time ranges and one of captions, `VIDEOID.mp4` |
| a folder | `a.txt` beside `a.mp4` (in this folder), a caption a line |
"""

import ast
import csv
import json
import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elysium.config import CurationInput
from elysium.errors import UserError

VIDEOS = (".mp4", ".avi", ".webm", ".mkv", ".mov", ".gif", ".m4v", ".mpg", ".ts")
_LINE = '{"video": "name.mp4", "captions": ["..."]}'


@dataclass(frozen=True)
class CaptionedVideo:
    """A video file, or `start` to `end` seconds of it, with its captions; `name` is its path in the folder.

    Clips of one `source` never come into both the train and the eval split.
    """

    path: str
    name: str
    captions: tuple[str, ...]
    source: str
    start: float = 0.0
    end: float | None = None

    @property
    def label(self) -> str:
        """The name with the time range, if there is one: what tells the clip from every other of its input."""
        if not self.start and self.end is None:
            return self.name
        return f"{self.name}@{self.start:g}-{'' if self.end is None else format(self.end, 'g')}"


@dataclass(frozen=True)
class _Row:
    """One line of a listing."""

    video: str
    captions: list[str] = field(default_factory=list)
    source: str = ""
    start: float = 0.0
    end: float | None = None


def read_captions(source: CurationInput) -> list[CaptionedVideo]:
    """The videos of an input, by name and time; captions of a clip named twice are joined, each once.

    Raises UserError if the folder or the caption file is missing, or a line of it has another form.
    """
    folder, listing = Path(source.videos), Path(source.captions)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of videos (curation.inputs.*.videos)")
    if listing.is_dir():
        rows: Iterable[_Row] = _sidecars(folder, listing)
    elif not listing.is_file():
        raise UserError(f"{listing}: no such caption file; write one line {_LINE} per video")
    elif listing.suffix.lower() == ".csv":
        rows = _csv_rows(folder, listing)
    else:
        rows = _json_rows(listing)
    found: dict[tuple[str, float, float], tuple[list[str], str]] = {}
    for row in rows:
        key = (row.video, row.start, math.inf if row.end is None else row.end)
        known, _ = found.setdefault(key, ([], row.source or row.video))
        known.extend(c for c in row.captions if c not in known)
    if not found:
        raise UserError(f"{listing}: no caption in it")
    return [
        CaptionedVideo(str(folder / name), name, tuple(captions), origin, start, None if end == math.inf else end)
        for (name, start, end), (captions, origin) in sorted(found.items())
    ]


def _sidecars(folder: Path, texts: Path) -> Iterator[_Row]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        text = texts / name.with_suffix(".txt")
        if path.suffix.lower() in VIDEOS and text.is_file():
            lines = text.read_text(errors="replace").splitlines()
            yield _Row(name.as_posix(), [line.strip() for line in lines if line.strip()])


def _json_rows(listing: Path) -> Iterator[_Row]:
    for number, line in enumerate(listing.read_text().splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            name, captions = row["video"], row["captions"]
            if not isinstance(name, str) or isinstance(captions, str) or not all(isinstance(c, str) for c in captions):
                raise TypeError("video is a name, captions a list of texts")
            yield _Row(name, list(captions), str(row.get("source", name)), *_range(row))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{listing}:{number}: expected {_LINE}, got {line[:60]!r} ({error})") from error


def _csv_rows(folder: Path, listing: Path) -> Iterator[_Row]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # a Panda-70M row holds all captions of a long video
    with open(listing, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns = set(reader.fieldnames or ())
        if {"videoID", "timestamp", "caption"} <= columns:
            read = _panda
        elif {"videoid", "name"} <= columns:
            read = _webvid
        elif {"video", "caption"} <= columns:
            read = _plain
        else:
            wanted = "video,caption or videoid,page_dir,name (WebVid) or videoID,timestamp,caption (Panda-70M)"
            raise UserError(f"{listing}:1: expected a header with {wanted}, got {','.join(reader.fieldnames or ())!r}")
        for row in reader:
            try:
                yield from read(folder, row)
            except (ValueError, KeyError, TypeError, AttributeError, SyntaxError) as error:
                raise UserError(f"{listing}:{reader.line_num}: a row of another form ({error})") from error


def _plain(folder: Path, row: dict[str, str]) -> Iterator[_Row]:
    captions = [row["caption"]] if row["caption"] else []
    yield _Row(_named(row["video"]), captions, row.get("source") or "", *_range(row))


def _webvid(folder: Path, row: dict[str, str]) -> Iterator[_Row]:
    name = f"{_named(row['videoid'])}.mp4"
    inside = f"{row.get('page_dir') or '.'}/{name}"
    yield _Row(inside if (folder / inside).is_file() else name, [row["name"]] if row["name"] else [])


def _panda(folder: Path, row: dict[str, str]) -> Iterator[_Row]:
    ranges, captions = ast.literal_eval(row["timestamp"]), ast.literal_eval(row["caption"])
    if len(ranges) != len(captions):
        raise ValueError(f"{len(ranges)} time ranges but {len(captions)} captions")
    name = f"{_named(row['videoID'])}.mp4"
    for (start, end), caption in zip(ranges, captions, strict=True):
        yield _Row(name, [str(caption)], name, *_range({"start": start, "end": end}))


def _named(text: str | None) -> str:
    if not text:
        raise ValueError("no video is named")
    return text


def _range(row: dict[str, Any]) -> tuple[float, float | None]:
    """Start and end in seconds; `0:00:08.875` counts as well."""
    start = _seconds(row.get("start")) or 0.0
    end = _seconds(row.get("end"))
    if not 0 <= start < (math.inf if end is None else end):
        raise ValueError(f"the range {start} to {end} is empty")
    return start, end


def _seconds(value: object) -> float | None:
    if value is None or value == "":
        return None
    total = 0.0
    for part in str(value).split(":"):
        total = total * 60 + float(part)
    return round(total, 6)
