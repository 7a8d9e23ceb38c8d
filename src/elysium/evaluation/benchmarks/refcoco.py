"""RefCOCO, RefCOCO+ and RefCOCOg: `refcoco/{refs(unc).p, instances.json}` and COCO's train2014 pictures in
`images/mscoco/images/train2014/`, as the REFER interface lays them out. The pickle is read as data, never unpickled.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from elysium.boxes import Box
from elysium.data.sources.refcoco import IMAGES, annotations
from elysium.errors import UserError

SPLITS = {
    "refcoco": {"val": "RefCOCO val", "testA": "RefCOCO test-A", "testB": "RefCOCO test-B"},
    "refcoco+": {"val": "RefCOCO+ val", "testA": "RefCOCO+ test-A", "testB": "RefCOCO+ test-B"},
    "refcocog": {"val": "RefCOCOg val", "test": "RefCOCOg test"},
}


@dataclass(frozen=True)
class Reference:
    """One expression about one object of a picture; `box` is normalised xyxy."""

    id: str
    set: str
    image: Path
    expression: str
    box: Box


def read(root: Path, name: str) -> Iterator[Reference]:
    """Every expression of the evaluation splits of a data set, split by split. Raises UserError on malformed files."""
    files = annotations(root, name)
    for split, title in SPLITS[name].items():
        for i, ref in enumerate(files.refs):
            try:
                if ref["split"] != split:
                    continue
                image, (x1, y1, x2, y2) = files.images[ref["image_id"]], files.boxes[ref["ann_id"]]
                width, height = image["width"], image["height"]
                box = (x1 / width, y1 / height, x2 / width, y2 / height)
                path = root / IMAGES / image["file_name"]
                sentences = [(str(s["sent_id"]), str(s["sent"])) for s in ref["sentences"]]
            except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
                raise UserError(f"{files.path}: entry {i} does not fit instances.json ({error!r})") from error
            for sent_id, sentence in sentences:
                yield Reference(f"{split}/{sent_id}", title, path, sentence, box)
