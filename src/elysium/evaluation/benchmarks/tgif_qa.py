"""TGIF-QA, open-ended task (FrameQA): `Test_frameqa_question.csv` (tab separated, with a header) and `gifs/*.gif`."""

import csv
from collections.abc import Iterator
from pathlib import Path

from elysium.errors import UserError
from elysium.evaluation.benchmarks.questions import Question, find_video

_KINDS = {"0": "object", "1": "number", "2": "colour", "3": "location"}


def read(root: Path) -> Iterator[Question]:
    """The test questions, in the file's order; the id is the line's number in the file."""
    path = root / "Test_frameqa_question.csv"
    path = path if path.is_file() else path.with_suffix(".tsv")
    if not path.is_file():
        raise UserError(f"{path.with_suffix('.csv')}: no such file; give the folder of TGIF-QA")
    with path.open(newline="", encoding="utf-8") as file:
        for row in (reader := csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)):
            if not all(row.get(f) for f in ("gif_name", "question", "answer")):
                raise UserError(f"{path}:{reader.line_num}: needs gif_name, question and answer, separated by tabs")
            video = find_video(root / "gifs", [row["gif_name"]])
            kind = _KINDS.get(row.get("type") or "", "")
            yield Question(str(reader.line_num), video, row["question"], row["answer"], kind)
