"""Trajectories by the grammar, with and without motion drafts, beside plain `generate`: passes, time, equal boxes.

    python benchmarks/decoding.py [--model artifacts/finetune_long/model] [--world artifacts/world] [--objects 32]
    python benchmarks/decoding.py --count artifacts/evaluate/predictions/world_{sot,rsot}.jsonl [--model ...]

Both sides answer the same questions about the same held-out videos in one run, alternating; figures are ratios to
`generate`. It needs a trained model: with random weights no draft is ever right. `--count` runs no model: it counts, on
the stored answers, the passes that each way needs by this model's tokenizer and by LLaMA's. In SOT the first box of the
answer is the given one: `generate` writes it anew, the grammar does not ask for it.
"""

import argparse
import gzip
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from elysium.boxes import Box
from elysium.errors import UserError
from elysium.evaluation.items import load_items
from elysium.inference.clips import Frames, track_videos
from elysium.inference.engine import Engine, Query
from elysium.inference.grammar import Grammar, Walk
from elysium.model import ElysiumProcessor
from elysium.model.loading import load_model, load_processor
from elysium.prompts import boxes_answer

EVAL_FRAMES = 16  # of the held-out videos; more frames are taken from the long ones, which only tiny_full has
LLAMA = Path(__file__).parents[1] / "tests/assets/llama_tokenizer.json.gz"


def main() -> int:
    """Measure each number of frames; exit code 2 without a model or videos."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("artifacts/finetune_long/model"))
    parser.add_argument("--world", type=Path, default=Path("artifacts/world"))
    parser.add_argument("--objects", type=int, default=32)
    parser.add_argument("--frames", type=int, nargs="*", default=[8, 16])
    parser.add_argument("--count", type=Path, nargs="+", metavar="FILE", help="predictions of SOT or RSOT")
    arguments = parser.parse_args()
    try:
        if arguments.count:
            for path in arguments.count:
                count(load_processor(arguments.model), path)
            return 0
        model, processor = load_model(arguments.model), load_processor(arguments.model)
        for frames in arguments.frames:
            for task in ("sot", "rsot"):
                measure(model, processor, arguments.world, task, frames, arguments.objects)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def count(processor: ElysiumProcessor, predictions: Path) -> None:
    """Print, for both tokenizers, the passes of the same answers: one a token, and one a free choice."""
    answers = [[b and tuple(b) for b in row["boxes"]] for row in map(json.loads, predictions.open())]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_buffer(gzip.decompress(LLAMA.read_bytes())), bos_token="<s>", eos_token="</s>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    llama = ElysiumProcessor(processor.image_processor, tokenizer, num_kept=processor.num_kept)
    print(f"{predictions.stem}: {len(answers)} answers, {sum(map(len, answers))} frames")
    for name, each in (("this model's tokenizer", processor), ("LLaMA's tokenizer", llama)):
        plain, forced, grammar = 0, 0, Grammar(each)
        for boxes in answers:
            walk = Walk(grammar, len(boxes))
            tokens = [*each.answer_ids(boxes_answer(boxes, each.bins)), grammar.eos]
            plain += len(tokens)
            at = len(walk.start())
            if predictions.stem.endswith("_sot") and boxes[0] is not None:
                at += len(walk.write(boxes[0]))
            while not walk.done:
                ahead = walk.draft(None)
                if ahead and tokens[at : at + len(ahead)] == ahead:  # found in the pass of the first digit
                    at += len(walk.enter())
                forced += 1
                at += len(walk.take(tokens[at]))
            assert at == len(tokens)
        print(f"  {name}: `generate` {plain} passes, grammar {forced}, {forced / plain:.1%}")


def measure(model: object, processor: object, world: Path, task: str, frames: int, objects: int) -> None:
    """Print one table line per engine."""
    found = load_items(world, "eval-" if frames <= EVAL_FRAMES else "long-", frames=frames)
    items = [i for i in found if len(i.frames) == frames][:objects]
    videos = [i.pixels for i in items]
    queries = [Query(box=i.boxes[0]) if task == "sot" else Query(expression=i.expression) for i in items]
    engines = {
        "generate": Engine(model, processor, plain=True),
        "grammar": Engine(model, processor, drafts=False),
        "grammar and drafts": Engine(model, processor),
    }
    most = engines["generate"].max_frames
    seconds, boxes, done = dict.fromkeys(engines, float("inf")), {}, {}
    for _ in range(2):  # the first round warms up; the best counts
        for name, engine in engines.items():
            done[name] = Counted(engine)
            began = time.perf_counter()
            boxes[name] = [
                track_videos(done[name].track, [v], [q], max_frames=most)[0]
                for v, q in zip(videos, queries, strict=True)
            ]
            seconds[name] = min(seconds[name], time.perf_counter() - began)
    drafts, plain = done["grammar and drafts"], done["generate"]
    print(
        f"{task}, {frames} frames, {len(items)} objects, one by one; "
        f"drafted tokens accepted: {drafts.accepted / drafts.drafted:.0%}"
    )
    for name in engines:
        same = sum(a == b for a, b in zip(boxes[name], boxes["generate"], strict=True))
        share = done[name].passes / plain.passes, seconds[name] / seconds["generate"]
        speed = frames * len(items) / seconds[name]
        print(f"  {name:18} passes {share[0]:6.1%}  time {share[1]:6.1%}  {speed:5.1f} frames/s  {same}/{len(items)}")


class Counted:
    """An engine as clips are asked of it, and the passes of the LLM so far.

    Those of plain generation are the tokens of its answers, which are canonical where they are well-formed.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.passes = self.drafted = self.accepted = 0

    def track(self, clips: Sequence[Frames], queries: Sequence[Query]) -> list[list[Box | None]]:
        """A box (or None) per frame of each clip."""
        if self.engine.plain:
            found = self.engine.track(clips, queries)
            texts = [boxes_answer(boxes, self.engine.processor.bins) for boxes in found]
            self.passes += sum(len(self.engine.processor.answer_ids(text)) + 1 for text in texts)
            return found
        answers = self.engine.follow(clips, queries)
        self.passes += sum(a.passes for a in answers)
        self.drafted += sum(a.drafted for a in answers)
        self.accepted += sum(a.accepted for a in answers)
        return [a.boxes for a in answers]


if __name__ == "__main__":
    sys.exit(main())
