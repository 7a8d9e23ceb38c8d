"""RefCOCO, RefCOCO+ and RefCOCOg: `refcoco/{refs(unc).p, instances.json}` and COCO's train2014 pictures in
`images/mscoco/images/train2014/`, as the REFER interface lays them out. The pickle is read as data, never unpickled.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from elysium.boxes import Box
from elysium.errors import UserError
from elysium.evaluation.benchmarks.plain_pickle import read_plain_pickle

SPLITS = {
    "refcoco": ("refs(unc).p", {"val": "RefCOCO val", "testA": "RefCOCO test-A", "testB": "RefCOCO test-B"}),
    "refcoco+": ("refs(unc).p", {"val": "RefCOCO+ val", "testA": "RefCOCO+ test-A", "testB": "RefCOCO+ test-B"}),
    "refcocog": ("refs(umd).p", {"val": "RefCOCOg val", "test": "RefCOCOg test"}),
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
    refs_name, splits = SPLITS[name]
    refs_path, instances_path = root / name / refs_name, root / name / "instances.json"
    refs = read_plain_pickle(refs_path)
    try:
        instances = json.loads(instances_path.read_text())
        images = {image["id"]: image for image in instances["images"]}
        boxes = {annotation["id"]: annotation["bbox"] for annotation in instances["annotations"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{instances_path}: not COCO's instances.json ({error!r})") from error
    for split, title in splits.items():
        for i, ref in enumerate(refs):
            try:
                if ref["split"] != split:
                    continue
                image, (x, y, w, h) = images[ref["image_id"]], boxes[ref["ann_id"]]
                width, height = image["width"], image["height"]
                box = (x / width, y / height, (x + w) / width, (y + h) / height)
                path = root / "images" / "mscoco" / "images" / "train2014" / image["file_name"]
                sentences = [(str(s["sent_id"]), str(s["sent"])) for s in ref["sentences"]]
            except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
                raise UserError(f"{refs_path}: entry {i} does not fit instances.json ({error!r})") from error
            for sent_id, sentence in sentences:
                yield Reference(f"{split}/{sent_id}", title, path, sentence, box)
