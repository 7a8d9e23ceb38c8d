"""CogVLM-SFT-311K: dialogues and detailed captions of LLaVA-Instruct-150K and MiniGPT-4, corrected.

Three folders (`llava_details-minigpt4_3500_formate`, `llava_instruction_multi_conversation_formate`,
`llava_instruction_single_conversation_formate`; their spelling varies, so any folder of the form is read) hold
`images/NAME.jpg` and `labels_en/NAME.json` (the card's text says `labels`, the zip has `labels_en` and `labels_zh`):
`{"captions": [{"role": "caption", "content"}]}` or `{"conversations": [{"role": "user" | "assistant", "content"}]}`.
The English half is read (155,771 pictures); 311K counts the Chinese translation, too, which Vicuna does not serve. A
caption stands without the request it answers; it is given one of `assets/prompts/describe.txt`, by the file's name.
"""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

from elysium.data.sources.reading import MALFORMED, Drop, Item, Reading, Source
from elysium.errors import UserError
from elysium.prompts import IMAGE, templates
from elysium.samples import Turn


def read(root: Path) -> Reading:
    """One item per label file. Raises UserError if no folder has images/ and labels_en/."""
    parts = sorted(p.parent for p in [*root.glob("*/images"), *root.glob("*/*/images")] if _labels(p.parent))
    if not parts:
        raise UserError(f"{root}: no folder there has images/ and labels_en/; see `elysium shard --help`")
    labels = [path for part in parts for path in sorted(_labels(part).glob("*.json"))]  # type: ignore[union-attr]
    return Reading(map(_entry, labels), len(labels))


def _labels(part: Path) -> Path | None:
    return next((part / name for name in ("labels_en", "labels") if (part / name).is_dir()), None)


def _entry(path: Path) -> Item | Drop:
    part = path.parent.parent
    try:
        row = json.loads(path.read_bytes())
        dialogues: tuple[tuple[Turn, ...], ...]
        if "captions" in row:
            requests = templates("describe")
            asked = requests[zlib.crc32(path.stem.encode()) % len(requests)]
            dialogues = tuple((Turn(asked, c["content"].strip()),) for c in row["captions"])
        else:
            dialogues = (_turns(row["conversations"]),)
    except (*MALFORMED, OSError) as error:
        return Drop("malformed entry", f"{path}: {error!r}")
    media = part / "images" / f"{path.stem}.jpg"
    return Item(f"{part.name}-{path.stem}", str(path), media, dialogues=dialogues)


def _turns(said: list[dict[str, str]]) -> tuple[Turn, ...]:
    speakers = [s["role"] for s in said]
    if not said or speakers != ["user", "assistant"] * (len(said) // 2):
        raise ValueError(f"roles {speakers} do not alternate between user and assistant")
    texts: Iterator[str] = (s["content"].replace(IMAGE, "").strip() for s in said)
    return tuple(Turn(q, a) for q, a in zip(texts, texts, strict=True))


SOURCE = Source(
    "CogVLM-SFT-311K",
    read,
    "three folders, each with images/ and labels_en/ (CogVLM-SFT-311K.zip)",
    "https://huggingface.co/datasets/THUDM/CogVLM-SFT-311K",
    "CC BY-NC 4.0",
    155_771,
)
