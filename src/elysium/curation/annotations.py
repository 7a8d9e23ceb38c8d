"""The annotation file of the released ElysiumTrack-1M: one JSON line per noun-chunk-trajectory pair.

Fields: `source, id, vid, metadata, frames, object_class, box, object_description, frame_size`. `box` has one normalised
xyxy per frame (null where the object is absent), `frames` names the pictures within the shard, `metadata` keeps what
else is needed to line boxes up with a re-extracted video (frame times, frame rate, split) and to rebuild the records.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from elysium.boxes import Box
from elysium.errors import UserError
from elysium.samples import ObjectTrack, VideoRecord


def annotation_lines(record: VideoRecord, frames: Sequence[str] = ()) -> list[str]:
    """The lines of one record, one per object; `frames` names the pictures where they are not those of a shard."""
    lines = []
    names = list(frames) or [f"{record.key}.{f:04d}.jpg" for f in range(len(record.frame_times))]
    for i, track in enumerate(record.objects):
        row = {
            "source": record.source,
            "id": f"{record.key}-{i}",
            "vid": record.key,
            "metadata": {
                "frame_times": record.frame_times,
                "captions": record.captions,
                "record": record.metadata,
                "object": i,
            },
            "frames": names,
            "object_class": track.object_class,
            "box": track.boxes,
            "object_description": track.expression,
            "frame_size": record.frame_size,
        }
        lines.append(json.dumps(row))
    return lines


def write_annotations(path: Path, records: Iterable[VideoRecord]) -> int:
    """Write the annotation file of records; returns the number of lines."""
    lines = [line for record in records for line in annotation_lines(record)]
    path.write_text("".join(line + "\n" for line in lines))
    return len(lines)


def read_annotations(path: Path) -> list[VideoRecord]:
    """The records (without pixels) of an annotation file, in its order. Raises UserError naming a wrong line."""
    return [record for record, _ in read_with_frames(path)]


def read_with_frames(path: Path) -> list[tuple[VideoRecord, list[str]]]:
    """`read_annotations`, each record with the names of its pictures."""
    if not path.is_file():
        raise UserError(f"{path}: no such annotation file")
    grouped: dict[str, list[dict[str, Any]]] = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            row = json.loads(line)
            rows = grouped.setdefault(str(row["vid"]), [])
            rows.append(row)
            if len(row["box"]) != len(rows[0]["box"]):
                raise ValueError(f"{len(row['box'])} boxes, but {len(rows[0]['box'])} in an earlier line of its video")
            _record(str(row["vid"]), [row])
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise UserError(f"{path}:{number}: not a line of ElysiumTrack ({error!r})") from error
    return [(_record(vid, rows), list(map(str, rows[0]["frames"]))) for vid, rows in grouped.items()]


def _record(vid: str, rows: list[dict[str, Any]]) -> VideoRecord:
    first, meta = rows[0], rows[0].get("metadata")
    meta = meta if isinstance(meta, dict) else {}  # what the released file keeps there is of no use here
    n_frames = len(first["box"])
    return VideoRecord(
        key=vid,
        source=str(first["source"]),
        frame_size=(int(first["frame_size"][0]), int(first["frame_size"][1])),
        frame_times=tuple(map(float, meta.get("frame_times", range(n_frames)))),
        objects=tuple(map(read_track, rows)),
        captions=tuple(meta.get("captions", ())),
        metadata=meta.get("record", {}),
    )


def read_track(row: dict[str, Any]) -> ObjectTrack:
    """The object of one line. Raises KeyError, TypeError or ValueError on a line of another form."""
    boxes: list[Box | None] = []
    for box in row["box"]:
        if box is None:
            boxes.append(None)
        else:
            x1, y1, x2, y2 = map(float, box)
            boxes.append((x1, y1, x2, y2))
    return ObjectTrack(row["object_description"], tuple(boxes), str(row.get("object_class") or ""))
