"""Trajectories decoded by their grammar, well-formed by construction.

Only what is free is asked of the LLM; the forced tokens are appended together with the next choice. Most frames have a
box, so that choice is taken ahead and checked by the pass that chooses the first digit: a box costs 8 passes instead of
18. A constant-velocity model may draft the next box: one pass then checks the whole draft, and the longest prefix that
greedy decoding would have chosen is kept, so the answer is the same. The rest of the draft moves with what it chooses
otherwise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from elysium.boxes import Box
from elysium.inference.cache import SlotCache
from elysium.inference.grammar import Walk
from elysium.model import ElysiumForConditionalGeneration
from elysium.model.processing import pad

SHORT_DRAFT = 8  # tokens proposed after a draft that did not hold to its end; after one that did, a whole box


@dataclass
class Answer:
    """A decoded trajectory: a box or None per frame, a confidence each, and what it cost.

    The confidence is the geometric mean of the probabilities of the frame's choices among what the grammar allowed.
    """

    boxes: list[Box | None]
    confidences: list[float]
    passes: int = 0  # of the LLM, the prefill included
    drafted: int = 0  # tokens proposed by the motion model, and how many of them greedy decoding agreed with
    accepted: int = 0


def next_box(boxes: Sequence[Box | None]) -> Box | None:
    """The box of the coming frame: the centre at constant velocity, the size kept; None if nothing is known yet."""
    known = [b for b in boxes[-2:] if b is not None]
    if not known:
        return None
    x1, y1, x2, y2 = known[-1]
    a1, b1, a2, b2 = known[0]
    dx, dy = (x1 + x2 - a1 - a2) / 2, (y1 + y2 - b1 - b2) / 2
    return x1 + dx, y1 + dy, x2 + dx, y2 + dy


@torch.inference_mode()
def decode(
    model: ElysiumForConditionalGeneration,
    prompts: Sequence[Sequence[int]],
    pixel_values: Tensor | None,
    walks: Sequence[Walk],
    first: Sequence[Box | None],
    drafts: bool = True,
    video_of: Sequence[int] | None = None,
) -> list[Answer]:
    """Greedy answers to tokenised prompts, one walk each; `first` are the boxes given in the questions, if any.

    A given box is the first of the answer, as it is in training: it is written, not asked for. What a row answers does
    not depend on the others, though rows advance by different lengths: each has its own places in the cache.

    `video_of` says which video each row asks about (0, 1, ...), where `pixel_values` holds every video once: what the
    prompts about one video begin with alike, its frames above all, goes through the model once for all of them.
    """
    n = len(prompts)
    pending = [[*prompt, *walk.start()] for prompt, walk in zip(prompts, walks, strict=True)]
    answers = [Answer([], []) for _ in range(n)]
    for walk, box, tokens, answer in zip(walks, first, pending, answers, strict=True):
        if box is not None:
            tokens += walk.write(box)
            answer.confidences += [1.0] * len(walk.boxes)
    chances: list[list[float]] = [[] for _ in range(n)]
    longest = max(len(tokens) + walk.most_tokens() for tokens, walk in zip(pending, walks, strict=True))
    grammar = walks[0].grammar
    alphabet = torch.tensor(list(grammar.column), device=model.device)
    cache = SlotCache(model.config.text_config.num_hidden_layers, longest)
    most: list[int | None] = [SHORT_DRAFT] * n  # tokens that may be drafted for each row, None for any number
    stored = [0] * n  # tokens of each row that are in the cache for good
    pixels = pixel_values
    if video_of is not None and len(set(video_of)) < n:
        heads = _common_heads(prompts, video_of)
        _forward(model, heads, [0] * len(heads), pixels, cache, 1, alphabet)
        cache.batch_select_indices(torch.tensor(video_of, device=model.device))
        stored = [len(heads[video]) for video in video_of]
        pending = [tokens[k:] for tokens, k in zip(pending, stored, strict=True)]
        pixels = None
        for answer in answers:
            answer.passes = 1
    active = list(range(n)) if not all(walk.done for walk in walks) else []
    while active:  # the first pass takes all rows, the frames of a row that is done already too
        proposals = {i: _proposal(walks[i], drafts)[: most[i]] if not walks[i].done else [] for i in active}
        tail = max(map(len, proposals.values())) + 1
        blocks = [pending[i] + proposals[i] if pixels is not None or not walks[i].done else [] for i in active]
        logits = _forward(model, blocks, [stored[i] for i in active], pixels, cache, tail, alphabet)
        pixels = None
        for row, i in enumerate(active):
            if walks[i].done:
                continue
            drafted = len(proposals[i])
            stored[i] += len(pending[i])  # what was chosen before is there for good
            pending[i], accepted = _verify(
                walks[i], logits[row, tail - 1 - drafted :], proposals[i], chances[i], answers[i]
            )
            stored[i] += accepted
            most[i] = None if accepted == drafted else SHORT_DRAFT
            answers[i].passes += 1
            if drafts:
                answers[i].drafted += drafted
                answers[i].accepted += accepted
        going = [row for row, i in enumerate(active) if not walks[i].done]
        if len(going) <= 0.75 * len(active):  # taking rows out copies the cache
            cache.batch_select_indices(torch.tensor(going, device=model.device, dtype=torch.long))
            active = [active[row] for row in going]
    for walk, answer in zip(walks, answers, strict=True):
        answer.boxes = walk.boxes
    return answers


def _forward(
    model: ElysiumForConditionalGeneration,
    blocks: Sequence[Sequence[int]],
    stored: Sequence[int],
    pixels: Tensor | None,
    cache: SlotCache,
    tail: int,
    alphabet: Tensor,
) -> np.ndarray:
    """Append a block of tokens to each row of `stored` tokens; the logits `[B, tail, alphabet]` of its last ones."""
    ids, own = (x.to(model.device) for x in pad(blocks, 0, "left"))  # so that the last positions are the newest
    position = (torch.tensor(stored, device=model.device)[:, None] + own.cumsum(1) - 1).clamp_min(0)
    mask = cache.place(position, own)
    mask = torch.zeros_like(mask, dtype=model.dtype).masked_fill_(~mask, torch.finfo(model.dtype).min)
    out = model(
        input_ids=ids,
        pixel_values=pixels,
        attention_mask=mask,
        position_ids=position,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=tail,
    )
    return out.logits[..., alphabet].float().cpu().numpy()


def _common_heads(prompts: Sequence[Sequence[int]], video_of: Sequence[int]) -> list[list[int]]:
    """What the prompts about each video have in common at their beginning."""
    heads: dict[int, list[int]] = {}
    for prompt, video in zip(prompts, video_of, strict=True):
        head = heads.setdefault(video, list(prompt))
        del head[next((k for k, (a, b) in enumerate(zip(head, prompt, strict=False)) if a != b), len(prompt)) :]
    return [heads[video] for video in range(len(heads))]


def _proposal(walk: Walk, drafts: bool) -> list[int]:
    return walk.draft(next_box(walk.boxes) if drafts else None)


def _verify(
    walk: Walk, logits: np.ndarray, proposal: list[int], chances: list[float], answer: Answer
) -> tuple[list[int], int]:
    """Choose greedily as long as the choices are those of the proposal, and once more; `logits[k]` follow its first k.

    Returns the tokens chosen beyond the proposal, with those forced after them, and how many of the proposal hold.
    """
    held = 0
    while True:
        options = list(walk.options)
        among = logits[held, [walk.grammar.column[token] for token in options]]
        best = int(among.argmax())
        chances.append(-math.log(float(np.exp(among - among[best]).sum())))
        frames = len(walk.boxes)
        tokens = walk.take(options[best])
        if len(walk.boxes) > frames:
            answer.confidences.append(math.exp(sum(chances) / len(chances)))
            chances.clear()
        ahead = proposal[held : held + len(tokens)]
        same = next((k for k, (a, b) in enumerate(zip(tokens, ahead, strict=False)) if a != b), len(ahead))
        held += same
        if walk.done or same < len(tokens):
            return tokens[same:], held
