"""From a record to a conversation about it, task by task.

Every draw comes from the sample's own generator. A conversation may have several turns about the same frames, each on
another object, so that no answer can be copied from an earlier turn; one vision pass then serves them all. A record may
also bring questions and answers of its own: `ask` takes one dialogue whole, `vqa` several short questions. A record
that cannot serve a task (no object with a box in the first frame, say) gives None; the mixture counts it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from elysium.boxes import Box, format_box
from elysium.data.sampling import sample_clip
from elysium.prompts import boxes_answer, frames_text, objects_answer, question
from elysium.samples import BOX, Turn, VideoRecord, speaks_of_motion


@dataclass(frozen=True)
class Clip:
    """How many frames of a video a sample shows, and at which interval (both inclusive)."""

    frames: tuple[int, int] = (2, 8)
    interval: tuple[int, int] = (1, 60)


@dataclass(frozen=True)
class Conversation:
    """Turns of question and answer about the frames with these indices; the first question shows them."""

    turns: tuple[tuple[str, str], ...]
    frames: tuple[int, ...]


def make_conversation(
    tasks: Sequence[str],
    record: VideoRecord,
    rng: np.random.Generator,
    clip: Clip,
    bins: int = 100,
    timestamps: bool = True,
) -> Conversation | None:
    """One turn per task of `tasks`, as far as the record has objects for them; None if it has none for the first.

    The first task decides between one frame (rec, detect), a clip, and a clip as wide as it may be (caption, ask, vqa);
    ask gives all turns of one dialogue, vqa as many questions as there are tasks. Raises KeyError on an unknown task.
    """
    n_frames = len(record.frame_times)
    if tasks[0] in STILL:
        frames = [int(rng.integers(n_frames))]
    else:
        widest = tasks[0] in WHOLE
        frames = [int(f) for f in sample_clip(n_frames, rng, clip.frames, clip.interval, widest)]
    turns: list[tuple[str, str]] = []
    if tasks[0] in _TALK:
        turns = _TALK[tasks[0]](record, len(tasks), rng, bins)
        return _conversation(turns, frames, timestamps) if turns else None
    if tasks[0] in _SCENE:
        turn = _SCENE[tasks[0]](record, frames, rng, bins)
        return None if turn is None else _conversation([turn], frames, timestamps)
    left = [int(i) for i in rng.permutation(len(record.objects))]
    for task in tasks:
        if task in _SCENE or task in _TALK or (task in STILL and len(frames) > 1):
            continue
        for index in left:
            turn = _OBJECT[task](record, index, frames, rng, bins)
            if turn is not None:
                turns.append(turn)
                left.remove(index)
                break
        if not turns:
            return None
    return _conversation(turns, frames, timestamps)


def _conversation(turns: list[tuple[str, str]], frames: list[int], timestamps: bool) -> Conversation:
    (first, answer), *rest = turns
    return Conversation(((f"{frames_text(len(frames), timestamps)}\n{first}", answer), *rest), tuple(frames))


def _draw_expression(record: VideoRecord, index: int, rng: np.random.Generator, still: bool) -> str | None:
    """One of the descriptions that fit this object alone; on a still picture none that speaks of motion."""
    references = record.metadata.get("references")
    options = references[index] if references else [record.objects[index].expression]
    options = [o for o in options if not (still and speaks_of_motion(o))]
    if not options:
        return None
    # Half of the time the full description, else any that is unique.
    return options[0] if rng.random() < 0.5 else options[int(rng.integers(len(options)))]


def _rec(
    record: VideoRecord, index: int, frames: list[int], rng: np.random.Generator, bins: int
) -> tuple[str, str] | None:
    box = record.objects[index].boxes[frames[0]]
    expression = _draw_expression(record, index, rng, still=True)
    if box is None or expression is None or not record.shows(index, frames[0]):
        return None
    return question("rec", rng, expression=expression), format_box(box, bins)


def _reg(
    record: VideoRecord, index: int, frames: list[int], rng: np.random.Generator, bins: int
) -> tuple[str, str] | None:
    at = int(rng.integers(len(frames)))
    track = record.objects[index]
    box = track.boxes[frames[at]]
    if box is None or not record.shows(index, frames[at]):
        return None
    if len(frames) < 3 and speaks_of_motion(track.expression):
        return None
    return question("reg", rng, box=format_box(box, bins), frame=at + 1), track.expression


def _sot(
    record: VideoRecord, index: int, frames: list[int], rng: np.random.Generator, bins: int
) -> tuple[str, str] | None:
    boxes = [record.objects[index].boxes[f] for f in frames]
    if boxes[0] is None or not record.shows(index, frames[0]):
        return None
    return question("sot", rng, box=format_box(boxes[0], bins)), boxes_answer(boxes, bins)


def _rsot(
    record: VideoRecord, index: int, frames: list[int], rng: np.random.Generator, bins: int
) -> tuple[str, str] | None:
    boxes = [record.objects[index].boxes[f] for f in frames]
    expression = _draw_expression(record, index, rng, still=len(frames) < 3)
    if boxes[0] is None or expression is None or not record.shows(index, frames[0]):
        return None
    # One in four goes on from a known box, as the later clips of a long video do.
    if rng.random() < 0.25:
        asked = question("rsot_box", rng, expression=expression, box=format_box(boxes[0], bins))
    else:
        asked = question("rsot", rng, expression=expression)
    return asked, boxes_answer(boxes, bins)


def _detect(record: VideoRecord, frames: list[int], rng: np.random.Generator, bins: int) -> tuple[str, str] | None:
    found: list[tuple[str, Box]] = []
    for i, track in enumerate(record.objects):
        box = track.boxes[frames[0]]
        if box is not None and record.shows(i, frames[0]) and not speaks_of_motion(track.expression):
            found.append((track.expression, box))
    found.sort(key=lambda item: item[1])
    return (question("detect", rng), objects_answer(found, bins)) if found else None


def _caption(record: VideoRecord, frames: list[int], rng: np.random.Generator, bins: int) -> tuple[str, str] | None:
    if not record.captions:
        return None
    asked = question("caption" if len(record.frame_times) > 1 else "caption_picture", rng)
    return asked, record.captions[int(rng.integers(len(record.captions)))]


def _ask(record: VideoRecord, count: int, rng: np.random.Generator, bins: int) -> list[tuple[str, str]]:
    """All turns of one dialogue, in their order."""
    if not record.dialogues:
        return []
    dialogue = record.dialogues[int(rng.integers(len(record.dialogues)))]
    return [_with_boxes(turn, turn.question, bins) for turn in dialogue]


def _vqa(record: VideoRecord, count: int, rng: np.random.Generator, bins: int) -> list[tuple[str, str]]:
    """The first turns of `count` dialogues, with a line that asks for a short answer, or for a box."""
    chosen = rng.permutation(len(record.dialogues))[:count]
    turns = [record.dialogues[int(i)][0] for i in chosen]
    return [_with_boxes(t, question("point" if t.boxes else "vqa", rng, question=t.question), bins) for t in turns]


def _with_boxes(turn: Turn, asked: str, bins: int) -> tuple[str, str]:
    """Question and answer with their boxes as text."""
    answer = turn.answer
    for box in turn.boxes:
        place = format_box(box, bins)
        if BOX in asked:
            asked = asked.replace(BOX, place, 1)
        else:
            answer = answer.replace(BOX, place, 1)
    return asked, answer


STILL = ("rec", "detect")
WHOLE = ("caption", "ask", "vqa")  # about all of a video, not about some object in some of its frames
_OBJECT: dict[str, Callable[..., tuple[str, str] | None]] = {"rec": _rec, "reg": _reg, "sot": _sot, "rsot": _rsot}
_SCENE: dict[str, Callable[..., tuple[str, str] | None]] = {"detect": _detect, "caption": _caption}
_TALK: dict[str, Callable[..., list[tuple[str, str]]]] = {"ask": _ask, "vqa": _vqa}
TASKS = (*_OBJECT, *_SCENE, *_TALK)
