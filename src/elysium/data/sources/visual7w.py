"""Visual7W, training split: questions answered in words (telling) and by one of the boxes (pointing).

`dataset_v7w_telling.json` and `dataset_v7w_pointing.json` have `images: [{"filename", "image_id", "split", "qa_pairs":
[{"qa_id", "question", "answer", "multiple_choices", "type"}]}]`; the pointing file also has `boxes: [{"box_id", "x",
"y", "width", "height", "name"}]` in pixels of the picture, and its answers are box ids. Pictures are `images/FILENAME`.
The wrong choices are not used. The files do not say how large the pictures are: boxes are divided by the size found.
"""

from pathlib import Path
from typing import Any

from elysium.data.sources.reading import Drop, Item, RawBox, Reading, Source, each, field, folder, inside, load_json
from elysium.samples import BOX, Turn


def read(root: Path) -> Reading:
    """One item per picture of the training split. Raises UserError if a file or the folder is missing."""
    telling, pointing = root / "dataset_v7w_telling.json", root / "dataset_v7w_pointing.json"
    told = field(telling, load_json(telling, dict), "images")
    pointed_file = load_json(pointing, dict)
    boxes = {b.get("box_id"): b for b in field(pointing, pointed_file, "boxes") if isinstance(b, dict)}
    images = folder(root, "images", "visual7w_images")
    by_file: dict[Any, list[tuple[Path, Any]]] = {}
    for path, rows in ((telling, told), (pointing, field(pointing, pointed_file, "images"))):
        for row in rows:
            if not isinstance(row, dict) or row.get("split", "train") == "train":
                name = row.get("filename") if isinstance(row, dict) else None
                by_file.setdefault(name, []).append((path, row))

    def entry(where: str, row: tuple[Any, list[tuple[Path, Any]]]) -> Item:
        name, parts = row
        turns, dropped = [], []
        for path, part in parts:
            for pair in part["qa_pairs"]:
                try:
                    turns.append((_turn(pair, boxes if path == pointing else None),))
                except (KeyError, ValueError, TypeError, AttributeError) as error:
                    place = f"{path}: {name}, question {pair.get('qa_id') if isinstance(pair, dict) else pair!r}"
                    dropped.append(Drop("question without answer", f"{place}: {error!r}"))
        return Item(Path(name).stem, where, inside(images, name), dialogues=tuple(turns), dropped=tuple(dropped))

    rows = ((f"{parts[0][0]}: filename {name}", (name, parts)) for name, parts in by_file.items())
    return Reading(each(rows, entry), len(by_file))


def _turn(pair: dict[str, Any], boxes: dict[Any, dict[str, Any]] | None) -> Turn:
    if boxes is None:
        return Turn(pair["question"].strip(), pair["answer"].strip())
    box = boxes[pair["answer"]]
    x, y, width, height = (float(box[side]) for side in ("x", "y", "width", "height"))
    corners: RawBox = (x, y, x + width, y + height)
    return Turn(pair["question"].strip(), BOX, (corners,))


SOURCE = Source(
    "Visual7W",
    read,
    "dataset_v7w_telling.json, dataset_v7w_pointing.json, images/ (visual7w_images.zip)",
    "https://ai.stanford.edu/~yukez/visual7w/",
    "none stated; questions over Visual Genome's pictures",
)
