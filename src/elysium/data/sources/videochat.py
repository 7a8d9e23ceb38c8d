"""VideoChat's instruction data: 7K detailed descriptions and 4K conversations about videos of WebVid-10M.

`videochat_instruct_11k.json` is a list of `{"video": "050951_051000/1022713978.mp4", "QA": [{"i", "q", "a"}]}`: an
instruction, which may be empty or missing, the question and the answer. The videos lie in `videos/` (or beside), under
that path or under the file's name alone; WebVid can no longer be downloaded as a whole. `i` goes before `q`, as in
VideoChat2's code; the form of this field in the 11K file itself was not confirmed.
"""

from pathlib import Path
from typing import Any

from elysium.data.sources.reading import Film, Item, Reading, Source, each, inside, load_json, numbered
from elysium.samples import Turn


def read(root: Path) -> Reading:
    """One item per entry, its questions as one dialogue. Raises UserError without the JSON file."""
    path = root / "videochat_instruct_11k.json"
    rows = load_json(path)

    def entry(where: str, row: Any) -> Item:
        name = row["video"]
        guesses = [inside(base, n) for base in (root / "videos", root) for n in (name, Path(name).name)]
        video = next((p for p in guesses if p.is_file()), guesses[0])
        turns = tuple(Turn(" ".join([*_said(qa, "i"), *_said(qa, "q")]), qa["a"].strip()) for qa in row["QA"])
        if not turns:
            raise ValueError("no question")
        number = where.rsplit(" ", 1)[1]  # a video may have a description and a conversation
        return Item(f"{Path(name).stem}-{number}", f"{where} ({name})", Film(video), dialogues=(turns,))

    return Reading(each(numbered(path, rows), entry), len(rows))


def _said(qa: dict[str, str], field: str) -> list[str]:
    text = qa.get(field, "").strip()
    return [text] if text else []


SOURCE = Source(
    "VideoChat",
    read,
    "videochat_instruct_11k.json, videos/ (WebVid-10M)",
    "https://github.com/OpenGVLab/InternVideo/blob/main/Data/instruction_data.md",
    "none stated for the JSON; WebVid: non-commercial research",
)
