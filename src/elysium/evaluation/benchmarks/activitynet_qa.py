"""ActivityNet-QA: `test_q.json`, `test_a.json` and `videos/v_NAME.mp4` (or .mkv, .webm)."""

from collections.abc import Iterator
from pathlib import Path

from elysium.errors import UserError
from elysium.evaluation.benchmarks.questions import Question, find_video, read_json_list

_KINDS = ("motion", "spatial", "temporal", "yes/no", "colour", "object", "location", "number", "other")


def read(root: Path) -> Iterator[Question]:
    """The test questions, in the file's order."""
    answers = {str(row["question_id"]): row for row in read_json_list(root / "test_a.json", ("question_id", "answer"))}
    path = root / "test_q.json"
    for row in read_json_list(path, ("question_id", "video_name", "question")):
        answer = answers.get(str(row["question_id"]))
        if answer is None:
            raise UserError(f"{path}: question {row['question_id']} has no answer in {root / 'test_a.json'}")
        video = find_video(root / "videos", [f"v_{row['video_name']}", str(row["video_name"])])
        kind = str(answer.get("type", ""))
        kind = _KINDS[int(kind)] if kind.isdigit() and int(kind) < len(_KINDS) else ""
        yield Question(str(row["question_id"]), video, str(row["question"]), str(answer["answer"]), kind)
