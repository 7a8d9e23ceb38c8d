"""RefCOCO, RefCOCO+ and RefCOCOg, training split, as the REFER interface lays them out.

`NAME/refs(unc).p` (RefCOCOg: `refs(umd).p`) is a pickled list of `{"ref_id", "ann_id", "image_id", "split",
"sentences": [{"sent_id", "sent", ...}]}`, `NAME/instances.json` COCO's `images` (with width and height) and
`annotations` (`bbox`: x, y, width, height in pixels); pictures are `images/mscoco/images/train2014/`. The pickle is
walked opcode by opcode and only opcodes that make plain data are obeyed (`elysium.data.plain_pickle`): a restricted
`Unpickler` would still run `reduce` on whatever its `find_class` lets through, a walker has nothing to run.

Pictures that stand in an evaluation split of one of the three sets are left out of all three (RefCOCOg's training split
holds pictures of RefCOCO's test split); this needs the other sets' folders beside, and goes as far as they are there.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from elysium.data.plain_pickle import read_plain_pickle
from elysium.data.sources.reading import Drop, Item, RawBox, RawObject, Reading, Source, each, folder, inside, load_json
from elysium.errors import UserError

REFS = {"refcoco": "refs(unc).p", "refcoco+": "refs(unc).p", "refcocog": "refs(umd).p"}
IMAGES = "images/mscoco/images/train2014"


@dataclass(frozen=True)
class Annotations:
    """The files of one set: its references, pictures and boxes (x1, y1, x2, y2 in pixels) by their ids."""

    path: Path
    refs: list[dict[str, Any]]
    images: dict[int, dict[str, Any]]
    boxes: dict[int, RawBox]


def annotations(root: Path, name: str) -> Annotations:
    """Read `refs(...).p` and `instances.json` of a set. Raises UserError if they are missing or of another form."""
    path, instances_path = root / name / REFS[name], root / name / "instances.json"
    refs = read_plain_pickle(path)
    if not isinstance(refs, list):
        raise UserError(f"{path}: holds no list of references; is it the official file?")
    instances = load_json(instances_path, dict)
    try:
        images = {image["id"]: image for image in instances["images"]}
        boxes = {}
        for annotation in instances["annotations"]:
            x, y, width, height = annotation["bbox"]
            boxes[annotation["id"]] = (x, y, x + width, y + height)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{instances_path}: not COCO's instances.json ({error!r})") from error
    return Annotations(path, refs, images, boxes)


def read(root: Path, name: str) -> Reading:
    """One item per picture of the training split. Raises UserError if a file or the folder is missing."""
    files = annotations(root, name)
    images = folder(root, IMAGES, "train2014")
    held_out = _held_out(root)
    by_image: dict[Any, list[tuple[int, Any]]] = {}
    for i, ref in enumerate(files.refs):
        if not isinstance(ref, dict) or ref.get("split") == "train":
            by_image.setdefault(ref.get("image_id") if isinstance(ref, dict) else None, []).append((i, ref))

    def entry(where: str, row: tuple[Any, list[tuple[int, Any]]]) -> Item | Drop:
        number, refs = row
        if number in held_out:
            return Drop("picture of an evaluation split", f"{where} ({held_out[number]})")
        image = files.images[number]
        objects, dropped = [], []
        for i, ref in refs:
            try:
                phrases = tuple(dict.fromkeys(str(s["sent"]) for s in ref["sentences"]))
                objects.append(RawObject(phrases, (files.boxes[ref["ann_id"]],)))
            except (KeyError, TypeError) as error:
                dropped.append(Drop("malformed reference", f"{files.path}: entry {i}: {error!r}"))
        scale = (float(image["width"]), float(image["height"]))
        media = inside(images, image["file_name"])
        return Item(media.stem, where, media, tuple(objects), scale=scale, dropped=tuple(dropped))

    rows = ((f"{files.path}: entry {refs[0][0]} (image {n})", (n, refs)) for n, refs in by_image.items())
    return Reading(each(rows, entry), len(by_image))


def _held_out(root: Path) -> dict[Any, str]:
    """image_id -> set and split, of all evaluation splits that are there."""
    found: dict[Any, str] = {}
    for name, file in REFS.items():
        if (root / name / file).is_file():
            for ref in read_plain_pickle(root / name / file):
                if isinstance(ref, dict) and ref.get("split") not in (None, "train"):
                    found.setdefault(ref.get("image_id"), f"{name} {ref['split']}")
    return found


def _source(title: str, name: str, expected: int) -> Source:
    return Source(
        title,
        partial(read, name=name),
        f"{name}/{REFS[name]}, {name}/instances.json, {IMAGES}/",
        "https://github.com/lichengunc/refer",
        "Apache-2.0 for the interface; annotations over COCO (CC BY 4.0)",
        expected,
    )


SOURCES = {
    "refcoco": _source("RefCOCO", "refcoco", 16_994),
    "refcoco+": _source("RefCOCO+", "refcoco+", 16_992),
    "refcocog": _source("RefCOCOg", "refcocog", 21_899),
}
