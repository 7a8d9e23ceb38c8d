"""The grammar of a trajectory, `Frame 1: [a,b,c,d], Frame 2: none, ...`, and where an answer stands in it.

Free are only whether a frame has a box, and the digits of its numbers, where the corners must not be swapped. All other
tokens are forced.

Why not llguidance: its grammars cannot say x1 < x2 without listing 4,950 pairs, and its state is per token on the CPU
anyway; on digit tokens the automaton below is smaller than the binding.
"""

import copy
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from elysium.boxes import Box, box_of_cells, cells_of_box, format_box
from elysium.model import ElysiumProcessor

_ONE = "[1,1,1,1]"


class Grammar:
    """The tokens between the choices, for one tokenizer; a digit must be a token of its own, as in LLaMA's.

    Raises ValueError if it is not.
    """

    def __init__(self, processor: ElysiumProcessor) -> None:
        self.processor, self.bins = processor, processor.bins
        ids = [self._ids(f"[{d},{d}")[-1] for d in range(10)]
        if len(set(ids)) != 10 or self._ids("[1,12")[-2:] != (ids[1], ids[2]):
            raise ValueError("the tokenizer joins digits: trajectories cannot be decoded by their grammar")
        self.digits = dict(enumerate(ids))
        self.digit_of = {token: digit for digit, token in self.digits.items()}
        self.eos = int(processor.tokenizer.eos_token_id)

    @cached_property
    def column(self) -> dict[int, int]:
        """All tokens that are ever chosen, numbered: where their logits are in a table of those alone."""
        tokens = [*self.digits.values(), self.comma[0], self.end("box")[0]]
        for before in ("box", "none"):
            shared, *ways = self.step(before, 2)
            tokens += [shared[0], *(way[0] for way in ways)]
        tokens += [way[0] for way in self.step("", 1)[1:]]
        return {token: k for k, token in enumerate(dict.fromkeys(tokens))}

    @cached_property
    def comma(self) -> tuple[int, ...]:
        """What stands between two numbers of a box."""
        return self._between("[1", ",1")[:-1]

    @lru_cache(maxsize=4096)  # noqa: B019 -- a grammar lives as long as its engine
    def step(self, before: str, frame: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """From the end of `before` ("", "box" or "none") to the first digit of a frame's box: what is forced, then what
        goes on to a box, then what goes on to "none"."""
        past = {"": "", "box": f"Frame {frame - 1}: {_ONE[:-1]}", "none": f"Frame {frame - 1}: none"}[before]
        label = {"": "", "box": "], ", "none": ", "}[before] + f"Frame {frame}:"
        box = self._between(past, f"{label} [1")[:-1]
        none = self._between(past, f"{label} none")
        shared = next(i for i, (a, b) in enumerate(zip(box, none, strict=False)) if a != b)
        return box[:shared], box[shared:], none[shared:]

    @cached_property
    def opening(self) -> tuple[int, ...]:
        """From the question to the first digit of a box that stands alone (REC)."""
        return self._ids("[1")[:-1]

    @lru_cache(maxsize=2)  # noqa: B019
    def end(self, before: str) -> tuple[int, ...]:
        """From the last digit, or from "none", to the end of the answer."""
        return (*(self._between(_ONE[:-1], "]") if before == "box" else ()), self.eos)

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self.processor.answer_ids(text)) if text else ()

    def _between(self, past: str, text: str) -> tuple[int, ...]:
        head, whole = self._ids(past), self._ids(past + text)
        if whole[: len(head)] != head:
            raise ValueError(f"the tokenizer joins {past[-4:]!r} with {text[:4]!r}")
        return whole[len(head) :]


@lru_cache(maxsize=65536)
def _may_go_on(prefix: str, low: int, high: int) -> tuple[tuple[int, ...], bool]:
    """The digits that may follow `prefix`, and whether the number may end, for a number in [low, high]."""

    def possible(text: str) -> bool:
        value, width = int(text), 1
        if text != "0" and text.startswith("0"):
            return False
        while value * width <= high:
            if value * width + width - 1 >= low:
                return True
            if value == 0:
                return False
            width *= 10
        return False

    digits = tuple(d for d in range(10) if possible(prefix + str(d)))
    return digits, bool(prefix) and low <= int(prefix) <= high


@dataclass
class Walk:
    """Where one answer stands in the grammar. `options` are the tokens that may come next, never just one of them."""

    grammar: Grammar
    n_frames: int
    labelled: bool = True
    may_be_absent: bool = True
    boxes: list[Box | None] = field(default_factory=list)
    options: tuple[int, ...] = ()
    done: bool = False
    _numbers: list[int] = field(default_factory=list)
    _prefix: str = ""
    _deciding: bool = False  # between a box and "none"
    _before: str = ""  # what the frame before ended with: "", "box" or "none"

    def __deepcopy__(self, memo: object) -> "Walk":
        twin = copy.copy(self)
        twin.boxes, twin._numbers = list(self.boxes), list(self._numbers)
        return twin

    def start(self) -> list[int]:
        """The tokens that are forced before the first choice."""
        if not self.labelled:
            return self._run(list(self.grammar.opening))
        return self._run([*self.grammar.step("", 1)[0], *self._begin_frame("")])

    def take(self, token: int) -> list[int]:
        """Choose one of `options`; returns it with the tokens that are forced after it."""
        return self._run([token, *self._apply(token)])

    def _run(self, tokens: list[int]) -> list[int]:
        while not self.done:
            self.options = self._find_options()
            if len(self.options) > 1:
                break
            tokens += [self.options[0], *self._apply(self.options[0])]
        return tokens

    @property
    def _frame(self) -> int:
        return len(self.boxes) + 1

    def _begin_frame(self, before: str) -> tuple[int, ...]:
        """Stand after `Frame k:`; returns what is forced there."""
        self._before, self._deciding = before, self.may_be_absent
        return () if self.may_be_absent else self.grammar.step(before, self._frame)[1]

    def _range(self) -> tuple[int, int]:
        i, bins = len(self._numbers), self.grammar.bins
        return (0, bins - 2) if i < 2 else (self._numbers[i - 2] + 1, bins - 1)

    def _after_number(self) -> tuple[int, ...]:
        """The tokens between the number that ends here and the next choice."""
        if len(self._numbers) < 3:
            return self.grammar.comma
        if self._frame == self.n_frames:
            return self.grammar.end("box")
        return self.grammar.step("box", self._frame + 1)[0]

    def _find_options(self) -> tuple[int, ...]:
        if self._deciding:
            _, to_box, to_none = self.grammar.step(self._before, self._frame)
            return to_box[0], to_none[0]
        digits, may_end = _may_go_on(self._prefix, *self._range())
        found = tuple(self.grammar.digits[d] for d in digits)
        return (*found, self._after_number()[0]) if may_end else found

    def _apply(self, token: int) -> tuple[int, ...]:
        """Go past a chosen token; returns what is forced after it."""
        if self._deciding:
            return self._decide(token)
        digit = self.grammar.digit_of.get(token)
        if digit is not None:
            self._prefix += str(digit)
            return ()
        rest = self._after_number()[1:]
        self._numbers.append(int(self._prefix))
        self._prefix = ""
        if len(self._numbers) < 4:
            return rest
        box = box_of_cells(self._numbers, self.grammar.bins)
        self._numbers = []
        return rest + self._end_frame(box, "box")

    def _decide(self, token: int) -> tuple[int, ...]:
        """Between a box and its absence."""
        self._deciding = False
        _, to_box, to_none = self.grammar.step(self._before, self._frame)
        if token == to_box[0]:
            return to_box[1:]
        last = self._frame == self.n_frames
        after = self.grammar.end("none") if last else self.grammar.step("none", self._frame + 1)[0]
        return to_none[1:] + after + self._end_frame(None, "none")

    def _end_frame(self, box: Box | None, kind: str) -> tuple[int, ...]:
        self.boxes.append(box)
        self.done = len(self.boxes) == self.n_frames
        return () if self.done else self._begin_frame(kind)

    def most_tokens(self) -> int:
        """How many tokens may be to come: no fewer than the longest answer, with a rejected draft after it."""
        label, opening, _ = self.grammar.step("box", self.n_frames)
        frame = len(label) + len(opening) + 4 * len(str(self.grammar.bins - 1)) + 3 * len(self.grammar.comma)
        return (self.n_frames - len(self.boxes) + 1) * frame + len(self.grammar.end("box"))

    def write(self, box: Box) -> list[int]:
        """Go on as far as this box can be written, at most to the choice after it; returns the tokens."""
        texts = format_box(box, self.grammar.bins)[1:-1].split(",")
        frame = len(self.boxes)
        tokens = self.enter()
        while len(self.boxes) == frame:
            text = texts[len(self._numbers)]
            if not text.startswith(self._prefix):
                break
            rest = text[len(self._prefix) :]
            token = self.grammar.digits[int(rest[0])] if rest else self._after_number()[0]
            if token not in self.options:
                break
            tokens += self.take(token)
        return tokens

    def enter(self) -> list[int]:
        """Go on to the frame's box where "none" would be possible, too; returns the tokens."""
        return self.take(self.options[0]) if self._deciding else []

    def draft(self, box: Box | None) -> list[int]:
        """The tokens that `write` would give for the box as it fits, or `enter` without one, without going there."""
        twin = copy.deepcopy(self)
        return twin.enter() if box is None else twin.write(self.fit(box))

    def fit(self, box: Box) -> Box:
        """The box moved, its size kept, so that it begins with the numbers and the digits that are chosen already."""
        bins = self.grammar.bins
        numbers = cells_of_box(box, bins)

        def move(i: int, value: int) -> None:
            if i < 2:
                numbers[i + 2] += value - numbers[i]
            numbers[i] = value

        for i, value in enumerate(self._numbers):
            move(i, value)
        low, high = self._range()
        begun = [v for v in range(low, high + 1) if str(v).startswith(self._prefix)] if self._prefix else []
        if begun:
            i = len(self._numbers)
            move(i, min(begun, key=lambda v: abs(v - numbers[i])))
        x1, y1 = (min(max(v, 0), bins - 2) for v in numbers[:2])
        x2, y2 = (min(max(v, least + 1), bins - 1) for v, least in zip(numbers[2:], (x1, y1), strict=True))
        return box_of_cells((x1, y1, x2, y2), bins)
