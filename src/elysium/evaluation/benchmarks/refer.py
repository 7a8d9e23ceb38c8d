"""A REC benchmark: a box for every expression, accuracy at IoU 0.5 by split."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from elysium.boxes import Box
from elysium.errors import UserError
from elysium.evaluation import benchmarks
from elysium.evaluation.benchmarks.common import OpenModel, Options, folder_of, write_tables, written
from elysium.evaluation.benchmarks.sequences import read_picture
from elysium.evaluation.score import Rows, score_set


def refer(name: str, root: Path, out: Path, open_model: OpenModel, model: Mapping[str, str], options: Options) -> Rows:
    """REC on every expression; `limit` is per split."""
    seen: dict[str, int] = {}
    references = []
    for reference in benchmarks.REFERRING[name](root):
        seen[reference.set] = seen.get(reference.set, 0) + 1
        if not options.limit or seen[reference.set] <= options.limit:
            references.append(reference)
    if not references:
        raise UserError(f"{root / name}: holds no expression of an evaluation split")

    def locate(batch: Sequence[Any]) -> list[dict[str, Any]]:
        boxes = open_model().locate([read_picture(r.image) for r in batch], [r.expression for r in batch])
        return [
            {"id": r.id, "expression": r.expression, "truth": r.box, "box": b}
            for r, b in zip(batch, boxes, strict=True)
        ]

    found = written(name, references, locate, out, options)
    rows: Rows = []
    notes = []
    for title in seen:
        lines: Rows = []
        for r in references:
            if r.set == title and r.id in found:
                box = _given_box(found[r.id], options.predictions or out)
                lines.append({"video": r.image.name, "truth": [r.box], "boxes": [box]})
        if lines:
            rows += score_set(title, {"frames": lines}, ["rec"], None).rows
        if len(lines) != seen[title]:
            notes.append(f"{title}: {len(lines)} of {seen[title]} expressions: not comparable with published figures")
    if not rows:
        raise UserError(f"{options.predictions or out}: holds no prediction for {name}")
    if options.predictions is not None:
        rows = [{**row, "method": "given"} for row in rows]
    size = {"videos": len({r.image for r in references}), "items": len(references)}
    return write_tables(rows, [], name, size, model, notes, folder_of(out, options), None, [])


def _given_box(line: Mapping[str, Any], path: Path) -> Box | None:
    """The normalised xyxy box of a stored prediction; null or nothing is a miss. Raises UserError if it is no box."""
    box = line.get("box")
    if box is None:
        return None
    try:
        x1, y1, x2, y2 = (float(v) for v in box)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: prediction {line['id']}: {box!r} is not x1,y1,x2,y2") from error
    return (x1, y1, x2, y2)
