"""What the VideoQA benchmarks have in common: a question about a video file, and its short answer."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elysium.errors import UserError

SUFFIXES = (".mp4", ".avi", ".mkv", ".webm", ".gif")


@dataclass(frozen=True)
class Question:
    """One question; `kind` is the benchmark's own type, where it has one."""

    id: str
    video: Path
    question: str
    answer: str
    kind: str = ""


def read_json_list(path: Path, fields: Sequence[str]) -> list[dict[str, Any]]:
    """A JSON list of objects that all have `fields`. Raises UserError naming the file and the entry."""
    try:
        rows = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from error
    if not isinstance(rows, list):
        raise UserError(f"{path}: not a list of questions")
    for i, row in enumerate(rows):
        missing = [f for f in fields if not isinstance(row, dict) or f not in row]
        if missing:
            raise UserError(f"{path}: entry {i} has no {missing[0]!r}")
    return rows


def find_video(folder: Path, stems: Sequence[str]) -> Path:
    """The file with one of the names, with any of `SUFFIXES`; the first guess if there is none, to be reported."""
    guesses = [folder / f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES]
    return next((path for path in guesses if path.is_file()), guesses[0])
