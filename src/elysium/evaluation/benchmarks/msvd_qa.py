"""MSVD-QA: `test_qa.json`, `youtube_mapping.txt` (name of the clip, then `vid7`) and `YouTubeClips/*.avi`.

These are the test questions; the authors of Video-ChatGPT used the validation questions (their issue 68).
"""

from collections.abc import Iterator
from pathlib import Path

from elysium.errors import UserError
from elysium.evaluation.benchmarks.questions import Question, find_video, read_json_list
from elysium.evaluation.benchmarks.sequences import read_lines


def read(root: Path) -> Iterator[Question]:
    """The test questions, in the file's order."""
    mapping = root / "youtube_mapping.txt"
    clips: dict[str, str] = {}
    for number, line in enumerate(read_lines(mapping), 1):
        words = line.split()
        if len(words) != 2 or not words[1].startswith("vid"):
            raise UserError(f"{mapping}:{number}: expected a clip's name and vidN")
        clips[words[1].removeprefix("vid")] = words[0]
    path = root / "test_qa.json"
    for i, row in enumerate(read_json_list(path, ("video_id", "question", "answer"))):
        video = str(row["video_id"])
        if video not in clips:
            raise UserError(f"{path}: question {i} is about vid{video}, which {mapping} does not name")
        clip = find_video(root / "YouTubeClips", [clips[video]])
        yield Question(str(row.get("id", i)), clip, str(row["question"]), str(row["answer"]))
