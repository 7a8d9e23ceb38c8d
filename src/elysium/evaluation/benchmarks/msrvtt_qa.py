"""MSRVTT-QA: `test_qa.json` and `video/video7010.mp4`.

These are the test questions; the authors of Video-ChatGPT used the validation questions (their issue 68).
"""

from collections.abc import Iterator
from pathlib import Path

from elysium.evaluation.benchmarks.questions import Question, find_video, read_json_list


def read(root: Path) -> Iterator[Question]:
    """The test questions, in the file's order."""
    for i, row in enumerate(read_json_list(root / "test_qa.json", ("video_id", "question", "answer"))):
        video = find_video(root / "video", [f"video{row['video_id']}"])
        yield Question(str(row.get("id", i)), video, str(row["question"]), str(row["answer"]))
