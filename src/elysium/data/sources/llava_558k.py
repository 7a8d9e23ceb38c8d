"""LLaVA-558K: 558,128 pictures of LAION, CC and SBU, each with one question and its BLIP caption as the answer.

`blip_laion_cc_sbu_558k.json` is a list of `{"id", "image", "conversations": [{"from": "human" | "gpt", "value"}]}`;
`image` is a path below `images/` (images.zip, unpacked there or beside the JSON file), `<image>` in a question marks
where the picture goes and is taken out: the project puts it first.
"""

from pathlib import Path
from typing import Any

from elysium.data.sources.reading import Item, Reading, Source, each, inside, load_json, numbered
from elysium.prompts import IMAGE
from elysium.samples import Turn


def read(root: Path) -> Reading:
    """One item per picture, its conversation as one dialogue. Raises UserError without the JSON file."""
    path = root / "blip_laion_cc_sbu_558k.json"
    rows = load_json(path)
    images = root / "images" if (root / "images").is_dir() else root

    def entry(where: str, row: Any) -> Item:
        name = str(row["id"])
        return Item(name, f"{where} (id {name})", inside(images, row["image"]), dialogues=(turns(row),))

    return Reading(each(numbered(path, rows), entry), len(rows))


def turns(row: dict[str, Any]) -> tuple[Turn, ...]:
    """Questions and answers of a `conversations` list. Raises ValueError if the speakers do not alternate."""
    said = row["conversations"]
    speakers = [s["from"] for s in said]
    if not said or speakers != ["human", "gpt"] * (len(said) // 2):
        raise ValueError(f"speakers {speakers} do not alternate between human and gpt")
    texts = [s["value"].replace(IMAGE, "").strip() for s in said]
    return tuple(Turn(q, a) for q, a in zip(texts[::2], texts[1::2], strict=True))


SOURCE = Source(
    "LLaVA-558K",
    read,
    "blip_laion_cc_sbu_558k.json, images/ (images.zip)",
    "https://huggingface.co/datasets/liuhaotian/LLaVA-Pretrain",
    "the licences of CC-3M, SBU and LAION, and BLIP's",
    558_128,
)
