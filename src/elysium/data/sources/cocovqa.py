"""COCO-VQA (VQAv2), training split: several short questions on each picture of COCO train2014.

`v2_OpenEnded_mscoco_train2014_questions.json` has `questions: [{"image_id", "question", "question_id"}]`,
`v2_mscoco_train2014_annotations.json` has `annotations: [{"question_id", "multiple_choice_answer", ...}]`; the answer
is the most frequent of ten people's. Pictures are `train2014/COCO_train2014_%012d.jpg`.
"""

from pathlib import Path
from typing import Any

from elysium.data.sources.reading import Drop, Item, Reading, Source, each, field, folder, load_json
from elysium.samples import Turn


def read(root: Path) -> Reading:
    """One item per picture with all its questions. Raises UserError if a file or the folder is missing."""
    questions_path = root / "v2_OpenEnded_mscoco_train2014_questions.json"
    answers_path = root / "v2_mscoco_train2014_annotations.json"
    questions = field(questions_path, load_json(questions_path, dict), "questions")
    annotations = field(answers_path, load_json(answers_path, dict), "annotations")
    images = folder(root, "train2014", "images/train2014")
    answers = {
        a["question_id"]: a.get("multiple_choice_answer")
        for a in annotations
        if isinstance(a, dict) and "question_id" in a
    }
    by_image: dict[Any, list[tuple[int, Any]]] = {}
    for i, question in enumerate(questions):
        image = question.get("image_id") if isinstance(question, dict) else None
        by_image.setdefault(image, []).append((i, question))

    def entry(where: str, row: tuple[Any, list[tuple[int, Any]]]) -> Item:
        image, asked = row
        name = f"COCO_train2014_{int(image):012d}"
        turns, dropped = [], []
        for i, question in asked:
            place = f"{questions_path}: entry {i} (question {question.get('question_id')})"
            answer = answers.get(question.get("question_id"))
            if not answer or not str(question.get("question", "")).strip():
                dropped.append(Drop("question without answer", place))
            else:
                turns.append((Turn(str(question["question"]).strip(), str(answer)),))
        return Item(name, where, images / f"{name}.jpg", dialogues=tuple(turns), dropped=tuple(dropped))

    rows = ((f"{questions_path}: image_id {image}", (image, asked)) for image, asked in by_image.items())
    return Reading(each(rows, entry), len(by_image))


SOURCE = Source(
    "COCO-VQA (VQAv2)",
    read,
    "v2_OpenEnded_mscoco_train2014_questions.json, v2_mscoco_train2014_annotations.json, train2014/",
    "https://visualqa.org/download.html",
    "CC BY 4.0 for the annotations; the pictures keep Flickr's terms",
    82_783,
)
