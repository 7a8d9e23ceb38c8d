"""Training: packed against padded, 3/16 of the tokens against all, shards against mp4, the loader against the step.

    python benchmarks/training.py [packing tokens shards loader gpu_step]     # without names: all, under a minute each
    python benchmarks/training.py gpu_step --frames 8 --samples 8 --lora 64   # on a GPU: the 7B shapes, random weights

Both sides of a ratio take turns in one run, on data made for it, with random weights. On the CPU times are those of the
process (one thread), so that other work on the machine does not count; on a GPU by the clock.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from omegaconf import OmegaConf

from elysium.compose import compose_config
from elysium.config import MixtureSource, Params, WorldParams, check_params
from elysium.data import world
from elysium.data.mixture import Mixture, decode_jpeg
from elysium.data.packing import pack
from elysium.data.sampling import sample_clip
from elysium.data.shards import Shard, write_shard
from elysium.data.tasks import Clip
from elysium.data.video import iter_frames, write_video
from elysium.model import ElysiumForConditionalGeneration
from elysium.model.describe import config_of
from elysium.model.varlen import packed_attention
from elysium.samples import ObjectTrack, VideoRecord
from elysium.training.batches import MicroBatch, StepBatches, collate
from elysium.training.lora import add_lora
from elysium.training.start import new_model
from elysium.training.throughput import FlopCounter, peak_flops


def params_of(*overrides: str) -> Params:
    return check_params(OmegaConf.to_container(compose_config(list(overrides), Path(__file__).parents[1] / "conf")))


def tiny(*overrides: str, **adapter: object) -> tuple[ElysiumForConditionalGeneration, object]:
    """The model and the processor of the tiny preset, with random weights."""
    params = params_of("preset=tiny", *overrides)
    model_params = replace(params.model, vision_init=None, text_init=None)
    return new_model(replace(params, model=model_params, adapter=replace(params.adapter, **adapter)))


def tiny_mixture(folder: Path, processor: object, frames: tuple[int, int] = (2, 8), images: bool = True) -> Mixture:
    """The mixture of finetune_short on a small world."""
    sizes = WorldParams(images=40, train_videos=8, train_frames=32, eval_videos=1, raw_videos=0, workers=1)
    if not any(folder.glob("train*.tar")):
        world.build(sizes, folder)
    sources = {"videos": MixtureSource(str(folder), "train", 0.7, {"sot": 1.0, "rsot": 1.0, "reg": 0.2}, 2)}
    if images:
        sources["images"] = MixtureSource(str(folder), "images", 0.3, {"rec": 1.0, "reg": 0.4}, 4)
    return Mixture(sources, processor, Clip(frames, (1, 60)), 8192, seed=0)


def step(model: ElysiumForConditionalGeneration, batches: list[MicroBatch]) -> None:
    """Forward and backward."""
    device = next(model.parameters()).device
    for batch in batches:
        inputs = {k: v.to(device) for k, v in batch.inputs.items()}
        with packed_attention(model.language_model) if "position_ids" in inputs else nullcontext():
            model(**inputs, num_items_in_batch=100, use_cache=False).loss.backward()
    model.zero_grad()


def seconds(sides: dict[str, Callable[[], object]], rounds: int = 2) -> dict[str, float]:
    """The best time of each side, taking turns; the first round warms up."""
    best = dict.fromkeys(sides, float("inf"))
    for turn in range(rounds + 1):
        for name, run in sides.items():
            begin = _now()
            run()
            if turn:
                best[name] = min(best[name], _now() - begin)
    return best


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def packing(folder: Path) -> None:
    """Padded in the order drawn, padded by length (`packing: false`), packed (`packing: true`)."""
    model, processor = tiny()
    mixture = tiny_mixture(folder, processor)
    samples = [mixture[i] for i in range(32)]
    drawn = [collate(samples[i : i + 8], processor) for i in range(0, 32, 8)]
    by_length = StepBatches(mixture, 32, 4, 0, 1, 0, 1).step(0).micro
    packed = StepBatches(mixture, 32, 4, 0, 1, 0, 1, packing=True).step(0).micro
    sides = {"padded as drawn": drawn, "padded by length": by_length, "packed": packed}
    took = seconds({name: partial(step, model, batches) for name, batches in sides.items()})
    tokens = sum(sum(b.lengths) for b in packed)
    for name, batches in sides.items():
        held = sum(b.inputs["input_ids"].numel() for b in batches)
        ratio = took["padded as drawn"] / took[name]
        print(f"  {name:18} {1 - tokens / held:6.1%} padding  {ratio:5.2f} times the samples/s of the first")


def tokens(folder: Path) -> None:
    """3/16 of the tokens by the T-Selector against all of them, 8 frames a sample, same backbones.

    At the tiny preset's 64 tokens a frame, and with the same layers at the paper's 576 (384 pixels in patches of 16).
    """
    for side, patch, samples in ((64, 8, 8), (384, 16, 2)):
        count = (side // patch) ** 2
        size = (f"model.image_size={side}", f"model.vision.image_size={side}", f"model.vision.patch_size={patch}")
        sides = {"3/16 kept": {"num_kept": count * 3 // 16}, "all tokens": {"name": "none", "num_kept": count}}
        steps, lengths = {}, {}
        for name, adapter in sides.items():
            model, processor = tiny(*size, **adapter)
            mixture = tiny_mixture(folder, processor, (8, 8), images=False)
            batch = collate([mixture[i] for i in range(samples)], processor, packing=True)
            lengths[name] = sum(batch.lengths) // samples
            steps[name] = partial(step, model, [batch])
        took = seconds(steps)
        ratio = took["all tokens"] / took["3/16 kept"]
        print(f"  {count} tokens a frame: {lengths} a sample; 3/16 kept: {ratio:.2f} times the samples/s of all tokens")


def shards(folder: Path) -> None:
    """Eight frames at a random interval of a 640x360 video of 120 frames: from a shard, and from the mp4 itself.

    The video is a real clip of `data/real`, forwards and backwards until it is long enough.
    """
    rng = np.random.default_rng(0)
    clip = [cv2.resize(frame, (640, 360)) for frame, _ in iter_frames("data/real/busy-square.mp4")]
    there_and_back = clip + clip[-2:0:-1]
    frames = [there_and_back[t % len(there_and_back)] for t in range(120)]
    write_video(folder / "v.mp4", frames, fps=30.0)
    jpegs = tuple(world._jpeg(frame) for frame in frames)
    track = ObjectTrack("ball", ((0.1, 0.1, 0.2, 0.2),) * 120)
    times = tuple(t / 30 for t in range(120))
    write_shard(folder / "v.tar", [VideoRecord("v", "b", (640, 360), times, (track,), frames=jpegs)])
    clips = [[int(i) for i in sample_clip(120, rng, (8, 8), (1, 60))] for _ in range(10)]
    shard = Shard(folder / "v.tar")
    took = seconds(
        {
            "shard": lambda: [[decode_jpeg(data) for data in shard.frames(0, clip)] for clip in clips],
            "mp4": lambda: [_from_mp4(folder / "v.mp4", clip) for clip in clips],
        }
    )
    print(f"  shard: {took['mp4'] / took['shard']:.1f} times the clips/s of random access into mp4")


def _from_mp4(path: Path, wanted: list[int]) -> list[np.ndarray]:
    """Frames by number: to the keyframe before the first, then forwards."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        per_frame = 1 / (stream.average_rate * stream.time_base)
        container.seek(int(wanted[0] * per_frame), stream=stream, backward=True)
        found = {}
        for frame in container.decode(stream):
            number = round(frame.pts / per_frame)
            if number in wanted:
                found[number] = frame.to_ndarray(format="rgb24")
            if number >= wanted[-1]:
                break
    return [found[i] for i in wanted]


def loader(folder: Path) -> None:
    """What one loader thread prepares against what a training step on one core consumes, tiny preset."""
    model, processor = tiny()
    mixture = tiny_mixture(folder, processor)
    batches = StepBatches(mixture, 32, 4, 0, 1, 0, 4)
    ready = batches.step(0).micro
    took = seconds({"loader": lambda: batches.step(1), "step": partial(step, model, ready)})
    ratio = took["step"] / took["loader"]
    print(f"  loader alone: {ratio:.1f} times the samples/s of forward and backward (without the optimiser)")


def gpu_step(_: Path, frames: int = 8, samples: int = 4, lora: int = 64, layers: int = 0) -> None:
    """A packed forward and backward pass and AdamW of the 7B shapes in bf16; the debug shapes without a GPU."""
    cuda = torch.cuda.is_available()
    device, dtype = ("cuda", torch.bfloat16) if cuda else ("cpu", torch.float32)
    params = params_of("preset=elysium_7b" if cuda else "preset=debug")
    config = config_of(params)
    if layers:
        config.text_config.num_hidden_layers = layers
    with torch.device(device):
        torch.set_default_dtype(dtype)
        model = ElysiumForConditionalGeneration(config).train()
        if lora:
            model.vision_tower.requires_grad_(False)
            add_lora(model, lora, ["adapter", "text"], 0)
        torch.set_default_dtype(torch.float32)
    if cuda:
        model.activation_checkpointing_enable({"use_reentrant": False})
    optimizer = torch.optim.AdamW([q for q in model.parameters() if q.requires_grad], lr=1e-5, fused=cuda)
    batch = [_random_batch(model, frames, samples)]

    def whole() -> None:
        inputs = {k: v.to(device) for k, v in batch[0].inputs.items()}
        with packed_attention(model.language_model) if "position_ids" in inputs else nullcontext():
            model(**inputs, num_items_in_batch=100, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    took = seconds({"step": whole})["step"]
    work = FlopCounter(model).step(batch[0].lengths, batch[0].frames)
    trained = sum(q.numel() for q in model.parameters() if q.requires_grad)
    peak = torch.cuda.max_memory_allocated() / 2**30 if cuda else float("nan")
    where = torch.cuda.get_device_name() if cuda else "CPU, debug shapes"
    print(
        f"  {where}: {samples} x {frames} frames, {trained / 1e6:.1f} M of "
        f"{sum(q.numel() for q in model.parameters()) / 1e6:.1f} M parameters trained: "
        f"{sum(batch[0].lengths) / took:.0f} tokens/s, peak memory {peak:.1f} GiB, MFU {work / took / peak_flops():.1%}"
    )


def _random_batch(model: ElysiumForConditionalGeneration, frames: int, samples: int) -> MicroBatch:
    """Packed samples of `frames` frames with 24 tokens of text each, half of them supervised."""
    config = model.config
    rng = np.random.default_rng(0)
    ids, labels = [], []
    for _ in range(samples):
        image = [config.image_token_id] * config.num_kept
        words = rng.integers(5, config.text_config.vocab_size, (2, frames, 12)).tolist()
        asked = [t for f in range(frames) for t in words[0][f] + image]
        told = [t for f in range(frames) for t in words[1][f]]
        ids.append(asked + told)
        labels.append([-100] * len(asked) + told)
    lengths = [len(i) for i in ids]
    size = config.vision_config.image_size
    inputs = pack(ids, labels)
    inputs["pixel_values"] = torch.randn(samples * frames, 3, size, size)
    return MicroBatch(inputs, samples, samples * frames, lengths)


BENCHMARKS = {"packing": packing, "tokens": tokens, "shards": shards, "loader": loader, "gpu_step": gpu_step}


def main() -> None:
    """Run the named benchmarks, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--frames", type=int, default=8, help="of gpu_step")
    parser.add_argument("--samples", type=int, default=4, help="of gpu_step")
    parser.add_argument("--lora", type=int, default=64, help="rank, of gpu_step; 0 trains everything")
    parser.add_argument("--layers", type=int, default=0, help="of the LLM, of gpu_step; 0: all")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"{', '.join(sorted(unknown))}: choose some of {', '.join(BENCHMARKS)}")
    if not torch.cuda.is_available():
        torch.set_num_threads(1)
    BENCHMARKS["gpu_step"] = partial(
        gpu_step, frames=arguments.frames, samples=arguments.samples, lora=arguments.lora, layers=arguments.layers
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.names or BENCHMARKS:
            torch.manual_seed(0)
            print(name, flush=True)
            BENCHMARKS[name](Path(folder))


if __name__ == "__main__":
    main()
