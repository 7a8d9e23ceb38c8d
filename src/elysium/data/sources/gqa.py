"""GQA, balanced training split: `train_balanced_questions.json` (questions1.2.zip), a dictionary from question id to
`{"question", "answer", "fullAnswer", "imageId", ...}`, and `images/IMAGEID.jpg` (images.zip). The short `answer` is
taken.
"""

from pathlib import Path
from typing import Any

from elysium.data.sources.reading import Drop, Item, Reading, Source, each, folder, inside, load_json
from elysium.errors import UserError
from elysium.samples import Turn

NAME = "train_balanced_questions.json"


def read(root: Path) -> Reading:
    """One item per picture with all its questions. Raises UserError if the file or the folder is missing."""
    path = next(
        (p for p in (root / NAME, root / "questions" / NAME, root / "questions1.2" / NAME) if p.is_file()), None
    )
    if path is None:
        raise UserError(f"{root / NAME}: no such file; see `elysium shard --help` for the files of each source")
    images = folder(root, "images")
    by_image: dict[Any, list[tuple[str, Any]]] = {}
    for key, row in load_json(path, dict).items():
        by_image.setdefault(row.get("imageId") if isinstance(row, dict) else None, []).append((key, row))

    def entry(where: str, row: tuple[Any, list[tuple[str, Any]]]) -> Item:
        image, asked = row
        turns, dropped = [], []
        for key, question in asked:
            try:
                turns.append((Turn(question["question"].strip(), question["answer"].strip()),))
            except (KeyError, ValueError, AttributeError):
                dropped.append(Drop("question without answer", f"{path}: question {key}"))
        return Item(str(image), where, inside(images, f"{image}.jpg"), dialogues=tuple(turns), dropped=tuple(dropped))

    rows = (
        (f"{path}: questions {', '.join(k for k, _ in asked[:3])}{', ...' * (len(asked) > 3)}", (image, asked))
        if image is None
        else (f"{path}: imageId {image}", (image, asked))
        for image, asked in by_image.items()
    )
    return Reading(each(rows, entry), len(by_image))


SOURCE = Source(
    "GQA",
    read,
    "train_balanced_questions.json (questions1.2.zip), images/ (images.zip)",
    "https://cs.stanford.edu/people/dorarad/gqa/download.html",
    "CC BY 4.0",
    72_140,
)
