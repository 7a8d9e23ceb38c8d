"""A VideoQA benchmark: an answer to every question, judged or matched."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from elysium.errors import UserError
from elysium.evaluation import benchmarks
from elysium.evaluation.benchmarks.common import OpenModel, Options, folder_of, progress_bars, write_tables, written
from elysium.evaluation.score import Rows
from elysium.evaluation.videoqa import score_answers, uniform_frames


def answer(name: str, root: Path, out: Path, open_model: OpenModel, model: Mapping[str, str], options: Options) -> Rows:
    """VideoQA on 16 evenly spaced frames of each video; a video that is missing or unreadable is counted and named."""
    title, read = benchmarks.VIDEO_QA[name]
    every = list(read(root))
    questions = every[: options.limit or None]
    if not questions:
        raise UserError(f"{root}: holds no question of {title}")
    unreadable: dict[Path, str] = {}
    last: dict[Path, list[np.ndarray]] = {}  # questions about one video mostly follow each other

    def frames_of(video: Path) -> list[np.ndarray] | None:
        if video not in last and video not in unreadable:
            try:
                frames = uniform_frames(video)
            except UserError as error:
                unreadable[video] = str(error)
            else:
                if len(last) >= options.batch_size:
                    last.pop(next(iter(last)))
                last[video] = frames
        return last.get(video)

    def ask(batch: Sequence[Any]) -> list[dict[str, Any]]:
        asked = [(q, frames) for q in batch if (frames := frames_of(q.video)) is not None]
        answers = open_model().ask([frames for _, frames in asked], [q.question for q, _ in asked]) if asked else []
        return [{"id": q.id, "prediction": a} for (q, _), a in zip(asked, answers, strict=True)]

    found = written(name, questions, ask, out, options)
    lines = [
        {
            "question": q.question,
            "answer": q.answer,
            "video": q.video.name,
            "prediction": found[q.id].get("prediction") or "",
        }
        for q in questions
        if q.id in found
    ]
    if not lines:
        reason = next(iter(unreadable.values()), f"{options.predictions or out}: holds no answer for {title}")
        raise UserError(reason)
    notes = []
    if unreadable:
        first = next(iter(unreadable.values()))
        notes.append(f"{title}: {len(unreadable)} videos cannot be read and their questions are left out: {first}")
    if len(lines) != len(every):
        notes.append(f"{title}: {len(lines)} of {len(every)} questions: not comparable with published figures")
    with progress_bars() as progress:
        bar = progress.add_task("judge", total=len(lines) if options.judge else 0)
        row, told = score_answers(title, lines, options.judge, lambda: progress.advance(bar))
    if options.predictions is not None:
        row["method"] = "given"
    size = {"videos": len({q.video for q in questions}), "items": len(questions)}
    return write_tables([row], [], title, size, model, [*notes, *told], folder_of(out, options), None, [])
