"""MSRVTT-QA: `test_qa.json` and `video/video7010.mp4`."""

from collections.abc import Iterator
from pathlib import Path

from elysium.evaluation.benchmarks.questions import Question, find_video, read_json_list


def read(root: Path) -> Iterator[Question]:
    """The test questions, in the file's order."""
    for row in read_json_list(root / "test_qa.json", ("id", "video_id", "question", "answer")):
        video = find_video(root / "video", [f"video{row['video_id']}"])
        yield Question(str(row["id"]), video, str(row["question"]), str(row["answer"]))
