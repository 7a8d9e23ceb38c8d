"""The model as a tracker: batched questions about clips, answers back as boxes or text."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from elysium.boxes import Box, format_box
from elysium.errors import UserError
from elysium.inference.decoding import Answer, decode
from elysium.inference.grammar import Grammar, Walk
from elysium.model import ElysiumForConditionalGeneration, ElysiumProcessor
from elysium.model.loading import load_model, load_processor
from elysium.prompts import frames_text, question

Frames = Sequence[np.ndarray]  # RGB uint8 [H, W, 3]


@dataclass(frozen=True)
class Query:
    """What to follow: SOT gives the box of the first frame, RSOT an expression, a later clip of RSOT both."""

    expression: str | None = None
    box: Box | None = None

    def __post_init__(self) -> None:
        if self.expression is None and self.box is None:
            raise ValueError("a query needs an expression or a box")


class Engine:
    """Answers questions about clips with one model; what it answers does not depend on the rest of the batch.

    Boxes are decoded by their grammar (`inference.grammar`), with motion drafts; `plain=True` takes transformers'
    `generate` and parses what it says instead. Where that is well-formed, the boxes found by words are the same; a box
    that is given is the answer's first, which `generate` is asked for.
    """

    def __init__(
        self,
        model: ElysiumForConditionalGeneration,
        processor: ElysiumProcessor,
        token_budget: int = 16384,
        plain: bool = False,
        drafts: bool = True,
    ) -> None:
        self.model, self.processor = model.eval(), processor
        self.token_budget, self.plain, self.drafts = token_budget, plain, drafts
        self.grammar = None if plain else Grammar(processor)

    @property
    def max_frames(self) -> int:
        """Up to so many frames a video is one clip."""
        return int(self.model.config.max_frames)

    @classmethod
    def from_pretrained(cls, path: str | Path, device: str | None = None) -> "Engine":
        """The model of a folder, on a GPU where there is one, or on what `device` or ELYSIUM_DEVICE names.

        Raises UserError if there is no model, or one of another architecture, or no such device.
        """
        device = device or os.environ.get("ELYSIUM_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            raise UserError(f"device {device!r}: {str(error).splitlines()[0]}") from error
        model = load_model(Path(path))
        model.to(device)  # type: ignore[arg-type]
        return cls(model, load_processor(Path(path)))

    def track(self, videos: Sequence[Frames], queries: Sequence[Query]) -> list[list[Box | None]]:
        """One box (or None) per frame of each clip, the clip taken whole (SOT and RSOT)."""
        if self.plain:
            questions = [_track_question(q, self.processor.bins) for q in queries]
            answers = self._answer(videos, questions, [len(video) * 20 + 4 for video in videos])
            return [self.processor.answer_boxes(a, len(v)) for a, v in zip(answers, videos, strict=True)]
        return [answer.boxes for answer in self.follow(videos, queries)]

    def follow(self, videos: Sequence[Frames], queries: Sequence[Query]) -> list[Answer]:
        """`track` with the confidence of each box and what it cost. Raises ValueError on a plain engine."""
        return [answer for (answer,) in self.follow_many(videos, [[query] for query in queries])]

    def follow_many(self, videos: Sequence[Frames], queries: Sequence[Sequence[Query]]) -> list[list[Answer]]:
        """`follow` with several queries about each clip: one vision pass and one prefill of the clip serve them all."""
        questions = [[_track_question(q, self.processor.bins) for q in own] for own in queries]
        return self._trajectories(videos, questions, [[q.box for q in own] for own in queries])

    def locate(self, images: Sequence[np.ndarray], expressions: Sequence[str]) -> list[Box | None]:
        """The box of each expression in its picture (REC)."""
        questions = [question("rec", expression=e) for e in expressions]
        videos = [[image] for image in images]
        if self.plain:
            answers = self._answer(videos, questions, [16] * len(images))
            return [self.processor.answer_boxes(a, 1)[0] for a in answers]
        return [answer.boxes[0] for (answer,) in self._trajectories(videos, [[q] for q in questions], None)]

    def describe(self, videos: Sequence[Frames], boxes: Sequence[Box], frames: Sequence[int]) -> list[str]:
        """A phrase for the object with a box in a frame (counted from 0) of each clip (Video-REG)."""
        bins = self.processor.bins
        questions = [question("reg", box=format_box(b, bins), frame=f + 1) for b, f in zip(boxes, frames, strict=True)]
        return self._answer(videos, questions, [24] * len(videos))

    def ask(self, videos: Sequence[Frames], questions: Sequence[str]) -> list[str]:
        """A free answer to a free question about each clip."""
        return self._answer(videos, [question("ask", question=q) for q in questions], [64] * len(videos))

    def _batches(self, costs: Sequence[int], rows: Sequence[int] | None = None) -> Iterator[list[int]]:
        """Indices of jobs of about equal cost (tokens a row), so that little is padding, within the token budget; the
        dearest first. `rows` is how many rows each has."""
        rows = rows or [1] * len(costs)
        order = sorted(range(len(costs)), key=lambda i: (costs[i], rows[i]))
        while order:
            batch = [order.pop()]
            total = rows[batch[0]]
            while order and (total + rows[order[-1]]) * costs[batch[0]] <= self.token_budget:
                batch.append(order.pop())
                total += rows[batch[-1]]
            yield batch

    def _cost(self, video: Frames, budget: int) -> int:
        """Tokens of a row, about: the frames, the question and the answer."""
        return len(video) * (self.processor.num_kept + 6) + budget + 64

    def _prompt(self, video: Frames, asked: str) -> str:
        return self.processor.prompt(f"{frames_text(len(video), self.processor.timestamps)}\n{asked}")

    def _trajectories(
        self,
        videos: Sequence[Frames],
        questions: Sequence[Sequence[str]],
        given: Sequence[Sequence[Box | None]] | None,
    ) -> list[list[Answer]]:
        """Boxes by the grammar: of every frame, or (`given` is None) of a picture, where the object always is."""
        if self.grammar is None:
            raise ValueError("a plain engine has no grammar")
        answers = [[Answer([], [])] * len(own) for own in questions]
        costs = [self._cost(video, len(video) * 20 + 4) for video in videos]
        jobs: list[tuple[int, range]] = []  # a clip, and those of its questions that go together
        for i, own in enumerate(questions):
            most = max(1, self.token_budget // costs[i])
            jobs += [(i, range(at, min(at + most, len(own)))) for at in range(0, len(own), most)]
        for batch in self._batches([costs[i] for i, _ in jobs], [len(part) for _, part in jobs]):
            clips = [jobs[j][0] for j in batch]
            rows = [(v, i, k) for v, i in enumerate(clips) for k in jobs[batch[v]][1]]
            prompts = [self.processor.token_ids(self._prompt(videos[i], questions[i][k])) for _, i, k in rows]
            pixels = self.processor.pixels([frame for i in clips for frame in videos[i]]).to(self.model.device)
            walks = [Walk(self.grammar, len(videos[i]), given is not None, given is not None) for _, i, _ in rows]
            first = [None if given is None else given[i][k] for _, i, k in rows]
            told = decode(self.model, prompts, pixels, walks, first, self.drafts, [v for v, _, _ in rows])
            for (_, i, k), answer in zip(rows, told, strict=True):
                answers[i][k] = answer
        return answers

    def _answer(self, videos: Sequence[Frames], questions: Sequence[str], budgets: Sequence[int]) -> list[str]:
        """Greedy answers in words."""
        answers = [""] * len(videos)
        for batch in self._batches([self._cost(v, b) for v, b in zip(videos, budgets, strict=True)]):
            texts = [self._prompt(videos[i], questions[i]) for i in batch]
            told = self._generate([videos[i] for i in batch], texts, [budgets[i] for i in batch])
            for i, text in zip(batch, told, strict=True):
                answers[i] = text
        return answers

    @torch.inference_mode()
    def _generate(self, videos: Sequence[Frames], texts: list[str], budgets: list[int]) -> list[str]:
        inputs = self.processor(texts, [frame for video in videos for frame in video]).to(self.model.device)
        tokenizer = self.processor.tokenizer
        out = self.model.generate(
            **inputs,
            max_new_tokens=max(budgets),
            do_sample=False,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        new = out[:, inputs["input_ids"].shape[1] :]
        own = [row[:budget] for row, budget in zip(new, budgets, strict=True)]  # no longer than it would be alone
        return [text.strip() for text in tokenizer.batch_decode(own, skip_special_tokens=True)]


def _track_question(query: Query, bins: int) -> str:
    if query.box is None:
        return question("rsot", expression=query.expression)
    if query.expression is None:
        return question("sot", box=format_box(query.box, bins))
    return question("rsot_box", expression=query.expression, box=format_box(query.box, bins))
