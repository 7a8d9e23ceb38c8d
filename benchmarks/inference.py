"""Tracking as users run it: many objects at once, very long videos, and answers of random weights.

    python benchmarks/inference.py [many] [streams] [long] [wellformed] [--model FOLDER] [--frames 10000] [...]

many        eight expressions about one video of 8 frames against one expression, alternating in one run
streams     frames/s of one video and of 16 at once, by `generate`, forced tokens, and drafts; on a GPU the 7B shapes in
            bf16 with random weights, whose drafts are as good as never right, without one the model
long        peak memory and frames/s over a video of many frames, against reading the last 32 frames anew for each
wellformed  answers of random weights over 1 to 32 frames: each must parse, with n valid boxes
"""

import argparse
import itertools
import resource
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.progress import track as progress

from elysium.boxes import parse_boxes
from elysium.data.video import iter_frames
from elysium.errors import UserError
from elysium.inference import commands
from elysium.inference.engine import Engine, Query
from elysium.model import ElysiumConfig, ElysiumForConditionalGeneration, ElysiumProcessor
from elysium.model.loading import find_model, load_config, load_model, load_processor
from elysium.model.processing import image_token
from elysium.prompts import boxes_answer

NAMES = [f"{colour} {shape}" for colour in ("red", "green", "blue", "yellow") for shape in ("ball", "star")]
PARTS = ("many", "streams", "long", "wellformed")


def main() -> int:
    """Run the parts named, or all; exit code 1 if an answer is not well-formed, 2 without a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--model")
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--answers", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="of the random weights, pictures and boxes")
    parser.add_argument("--size", type=int, nargs=2, default=(640, 360), help="of the long video")
    arguments = parser.parse_args()
    bad = 0
    try:
        model = find_model(arguments.model)
        for part in arguments.parts or PARTS:
            if part == "many":
                many(Engine.from_pretrained(model))
            elif part == "streams":
                streams(model)
            elif part == "wellformed":
                bad += wellformed(model, arguments.answers, arguments.seed)
            elif arguments.parts == ["long"]:
                long(model, arguments.frames, arguments.size)
            else:  # peak memory is a process's own
                size = [str(side) for side in arguments.size]
                command = [sys.executable, __file__, "long", "--model", str(model), "--frames", str(arguments.frames)]
                subprocess.run([*command, "--size", *size], check=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 1 if bad else 0


def scene(n_frames: int, width: int, height: int) -> Iterator[np.ndarray]:
    """A disc that runs through the picture and bounces off its sides."""
    rows, columns = np.ogrid[:height, :width]
    ground = np.broadcast_to((columns % 64 + rows % 64)[..., None], (height, width, 3)).astype(np.uint8) + 60
    side = min(width, height) // 6
    for i in range(n_frames):
        x, y = (
            side + abs((speed * i) % (2 * room) - room)
            for speed, room in ((3, width - 2 * side), (2, height - 2 * side))
        )
        frame = ground.copy()
        frame[(columns - x) ** 2 + (rows - y) ** 2 < side**2] = (220, 40, 40)
        yield frame


def many(engine: Engine, rounds: int = 5) -> None:
    """One vision pass and one prefill for all, against one at a time; clips of slow and of fast objects."""
    queries = [Query(expression=name) for name in NAMES]
    total = {"at once": 0.0, "one by one": 0.0}
    same = 0
    for stride in (1, 4, 8, 16):
        video = [engine.processor.square(f) for f in itertools.islice(scene(8 * stride, 320, 240), 0, None, stride)]
        seconds: dict[str, list[float]] = {name: [] for name in total}
        for _ in range(rounds + 1):
            for name, ask in (
                ("at once", partial(engine.follow_many, [video], [queries])),
                ("one by one", lambda v=video: [engine.follow_many([v], [[q]])[0][0] for q in queries]),
            ):
                began = time.perf_counter()
                answers = ask()
                seconds[name].append(time.perf_counter() - began)
                if name == "at once":
                    together = answers[0]
            same += sum(a.boxes == b.boxes for a, b in zip(together, answers, strict=True))
        for name, took in seconds.items():
            total[name] += float(np.median(took[1:])) / 4  # the first warms up
    one = total["one by one"] / len(queries)
    print(f"many: 8 frames, one expression {one:.3f} s (mean of the eight, four clips)")
    print(f"  eight at once {total['at once']:.3f} s, {total['at once'] / one:.2f} times one")
    print(f"  the same boxes: {same} of {len(queries) * 4 * (rounds + 1)}")


def streams(folder: Path, n_frames: int = 8) -> None:
    """The same clip for all, each with a box of its own; the best of two rounds."""
    cuda = torch.cuda.is_available()
    model, processor = seven_billion(load_processor(folder)) if cuda else (load_model(folder), load_processor(folder))
    clip = [processor.square(f) for f in itertools.islice(scene(8 * n_frames, 320, 240), 0, None, 8)]
    print(f"streams: clips of {n_frames} frames, {torch.cuda.get_device_name() if cuda else 'CPU'}")
    for count in (1, 16):
        boxes = [(0.01 * k, 0.02 * k, 0.01 * k + 0.3, 0.02 * k + 0.4) for k in range(count)]
        for name, options in (("generate", {"plain": True}), ("forced tokens", {"drafts": False}), ("and drafts", {})):
            engine = Engine(model, processor, **options)
            took = []
            for _ in range(2):
                began = time.perf_counter()
                engine.track([clip] * count, [Query(box=box) for box in boxes])
                if cuda:
                    torch.cuda.synchronize()
                took.append(time.perf_counter() - began)
            print(f"  {count:2} at once, {name:13} {count * n_frames / min(took):7.1f} frames/s")


def seven_billion(small: ElysiumProcessor) -> tuple[ElysiumForConditionalGeneration, ElysiumProcessor]:
    """The paper's shapes with random weights on the GPU, asked through the small model's tokenizer."""
    config = ElysiumConfig(image_token_id=image_token(small.tokenizer))
    images = ElysiumProcessor.square_images(config.vision_config.image_size)
    with torch.device("cuda"):
        torch.set_default_dtype(torch.bfloat16)
        model = ElysiumForConditionalGeneration(config).eval()
        torch.set_default_dtype(torch.float32)
    return model, ElysiumProcessor(images, small.tokenizer, num_kept=config.num_kept, bins=config.bins)


def peak_mb() -> float:
    """The largest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def long(model: Path, n_frames: int, size: tuple[int, int]) -> None:
    """Peak memory above what the process needs with the model loaded, and speed."""
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "long.mp4"
        # In a process of its own: the encoder's memory is not the tracker's.
        code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import inference as b; "
        code += "from elysium.data.video import write_video; "
        code += f"write_video({str(video)!r}, b.scene({n_frames}, {size[0]}, {size[1]}), 25, crf=30)"
        subprocess.run([sys.executable, "-c", code], check=True)
        engine = Engine.from_pretrained(model)
        loaded = peak_mb()
        began = time.perf_counter()
        done = commands.track(engine, video, [Query(expression="red ball")])
        seconds = time.perf_counter() - began
        peak = peak_mb()
        assert len(done.times) == len(done.trajectories[0].boxes) == n_frames
        speed = n_frames / seconds
        print(f"long: {n_frames} frames of {size[0]}x{size[1]}, {speed:.1f} frames/s in clips of 8")
        print(
            f"  peak memory {peak:.0f} MB, {peak - loaded:.0f} MB above the process with only the model ({loaded:.0f})"
        )
        window: deque[np.ndarray] = deque(maxlen=32)
        spent, few = 0.0, 4
        for i, (frame, _) in enumerate(iter_frames(video, limit=31 + few)):
            window.append(engine.processor.square(frame))
            if i >= 31:
                began = time.perf_counter()
                engine.follow([list(window)], [Query(expression="red ball")])
                spent += time.perf_counter() - began
        print(f"  the last 32 frames anew for each: {few / spent:.2f} frames/s, {speed * spent / few:.0f} times slower")


def wellformed(model: Path, answers: int, seed: int = 0, batch: int = 100) -> int:
    """Print how many answers of randomly initialised models are not well-formed; returns it.

    The models are of this configuration but for their depth: one layer is as good for nonsense, and faster.
    """
    config, processor = load_config(model), load_processor(model)
    config.text_config.num_hidden_layers = config.vision_config.num_hidden_layers = 1
    draw = np.random.default_rng(seed)
    bad = frames = 0
    for number in progress(range(-(-answers // batch)), "random weights", transient=True):
        torch.manual_seed(1_000_000 * seed + number)
        random = ElysiumForConditionalGeneration(config)
        with torch.no_grad():  # far from the usual initialisation, so that answers differ
            for parameter in random.parameters():
                parameter.mul_(float(draw.uniform(0.5, 4)))
        engine = Engine(random, processor, drafts=bool(number % 2))
        lengths = draw.integers(1, 33, min(batch, answers - number * batch) // 10 or 1)
        clips = [[draw.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(n)] for n in lengths]
        corners = np.sort(draw.uniform(0, 1, (len(clips), 10, 2, 2)), axis=2).reshape(len(clips), 10, 4)
        queries = [
            [
                Query(expression=NAMES[k % 8] if k < 7 else None, box=tuple(box) if k > 4 else None)
                for k, box in enumerate(own)
            ]
            for own in corners
        ]
        for n, own in zip(lengths, engine.follow_many(clips, queries), strict=True):
            for answer in own:
                frames += int(n)
                text = boxes_answer(answer.boxes, processor.bins)
                whole = len(answer.boxes) == n and parse_boxes(text, int(n), processor.bins) == answer.boxes
                valid = all(b is None or (0 <= b[0] < b[2] < 1 and 0 <= b[1] < b[3] < 1) for b in answer.boxes)
                bad += not (whole and valid)
    print(f"wellformed: {answers} answers of random weights over {frames} frames, {bad} not well-formed")
    return bad


if __name__ == "__main__":
    sys.exit(main())
