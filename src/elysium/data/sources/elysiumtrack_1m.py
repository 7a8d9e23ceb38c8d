"""ElysiumTrack-1M: one noun-chunk-trajectory pair a line, the frames as pictures.

`ElysiumTrack-1M.json` has a JSON object a line: `source, id, vid, metadata, frames, object_class, box` (one normalised
xyxy per frame), `object_description, frame_size`; `frames` are paths such as `frames/1025983634/000000.jpg`, found
below the folder into which the `packaged_results/group_*.tar.gz` were unpacked. The rate at which the frames were taken
is not published: their times count frames, unless `metadata.frame_times` says more, as in this project's own files.
Neighbouring lines on the same frames become one record.
"""

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from elysium.curation.annotations import read_track
from elysium.data.sources.reading import MALFORMED, Drop, Item, RawObject, Reading, Source, inside
from elysium.errors import UserError


def read(root: Path) -> Reading:
    """One item per video. Raises UserError if there is not exactly one annotation file."""
    path = root / "ElysiumTrack-1M.json"
    if not path.is_file():
        found = sorted([*root.glob("*.json"), *root.glob("*.jsonl")]) if root.is_dir() else []
        if len(found) != 1:
            said = ", ".join(p.name for p in found) or "none"
            raise UserError(f"{path}: no such file, nor one other *.json or *.jsonl (found: {said})")
        path = found[0]
    return Reading(_items(path, root))


def _items(path: Path, root: Path) -> Iterator[Item | Drop]:
    for (bad, _), group in groupby(_lines(path), key=lambda line: (isinstance(line, Drop), _video(line))):
        if bad:
            yield from (line for line in group if isinstance(line, Drop))
        else:
            yield _item([line for line in group if not isinstance(line, Drop)], path, root)


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]] | Drop]:
    """(number, row) of every line that can be read."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                track, frames = read_track(row), row["frames"]
                if len(track.boxes) != len(frames) or not frames:
                    raise ValueError(f"{len(track.boxes)} boxes for {len(frames)} frames")
                width, height = row["frame_size"]
                if min(float(width), float(height)) <= 0:
                    raise ValueError(f"frame_size {width}x{height}")
                for frame in frames:
                    inside(path.parent, frame)
                str(row["vid"]), row["metadata"]
            except MALFORMED as error:
                yield Drop("malformed entry", f"{path}:{number}: {error!r}")
            else:
                yield number, row


def _video(line: tuple[int, dict[str, Any]] | Drop) -> tuple[object, ...]:
    return () if isinstance(line, Drop) else (line[1]["vid"], *line[1]["frames"])


def _item(lines: list[tuple[int, dict[str, Any]]], path: Path, root: Path) -> Item:
    number, first = lines[0]
    tracks = [read_track(row) for _, row in lines]
    meta = first["metadata"] if isinstance(first["metadata"], dict) else {}
    times = tuple(map(float, meta.get("frame_times", ())))
    return Item(
        f"{first['vid']}-{number}",
        f"{path}:{number} (vid {first['vid']})",
        tuple(inside(root, frame) for frame in first["frames"]),
        tuple(RawObject((t.expression,), t.boxes, t.object_class) for t in tracks),
        captions=tuple(meta.get("captions", ())),
        scale=(1.0, 1.0),
        frame_times=times if len(times) == len(first["frames"]) else (),
    )


SOURCE = Source(
    "ElysiumTrack-1M",
    read,
    "ElysiumTrack-1M.json, frames/ (packaged_results/group_*.tar.gz, unpacked)",
    "https://huggingface.co/datasets/sty-yyj/ElysiumTrack-1M",
    "none stated; frames of WebVid: non-commercial research",
)
