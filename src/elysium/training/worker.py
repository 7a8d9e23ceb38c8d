"""One process of a training stage: a compact loop of our own on DeepSpeed.

Why not transformers' Trainer: the order of samples is a function of the step alone (`data.mixture`), micro-batches are
cut by length, and the loss is normalised by the supervised tokens of the whole global batch; with the Trainer each of
the three is an override, and resuming would skip batches instead of starting at one. What is left is this loop.

Launch (CPU, one process): `RANK=0 LOCAL_RANK=0 WORLD_SIZE=1 MASTER_ADDR=127.0.0.1 MASTER_PORT=29500 python -m
elysium.training.worker --params artifacts/warmup/params.json --stage warmup`; `elysium stage warmup` does it for you.
"""

import argparse
import logging
import math
import os
import shutil
import signal
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from tqdm import tqdm

from elysium import offline, processes
from elysium.config import Params, TrainParams, load_params
from elysium.data.mixture import Mixture
from elysium.data.tasks import Clip
from elysium.errors import UserError
from elysium.model import ElysiumForConditionalGeneration, ElysiumProcessor
from elysium.model.adapters import TSelector
from elysium.model.loading import load_model
from elysium.model.varlen import packed_attention
from elysium.training import checkpoints
from elysium.training.batches import StepBatch, StepBatches, supervised_in_all
from elysium.training.drawing import draw_predictions, samples_to_draw
from elysium.training.lora import add_lora, merge_lora
from elysium.training.optimizer import build_optimizer, parameter_groups
from elysium.training.records import TrainingLog
from elysium.training.start import start_model
from elysium.training.throughput import FlopCounter, peak_flops

_BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}, ETA {remaining}{postfix}]"


def main() -> int:
    """Train; exit code 2 and one line on bad input."""
    processes.die_with_parent()
    offline.apply()
    rank_from_slurm()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=Path, required=True)
    parser.add_argument("--stage", required=True)
    parser.add_argument("--local_rank", type=int, default=None, help="set by DeepSpeed's launcher; RANK rules")
    arguments = parser.parse_args()
    try:
        train(load_params(arguments.params), arguments.stage)
    except UserError as error:
        if os.environ.get("RANK", "0") == "0" or not torch.distributed.is_initialized():
            print(f"error: {error}", file=sys.stderr)
        else:  # where all stop for one reason, rank 0 says it; where this rank stops alone, it must
            print(f"error on rank {os.environ['RANK']}: {error}", file=sys.stderr)
        return 2
    except (OSError, SafetensorError) as error:
        where = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
        reason = " ".join((error.strerror if isinstance(error, OSError) and error.strerror else str(error)).split())
        print(f"error: {where}{reason}; put that right, then run the stage again to go on", file=sys.stderr)
        return 2
    return 0


def rank_from_slurm() -> None:
    """Under `srun`, take rank and number of processes from Slurm's variables; the launcher gave the address."""
    names = {"RANK": "SLURM_PROCID", "LOCAL_RANK": "SLURM_LOCALID", "WORLD_SIZE": "SLURM_NTASKS"}
    if "RANK" not in os.environ and "SLURM_PROCID" in os.environ:
        os.environ |= {name: os.environ[slurm] for name, slurm in names.items()}


def learning_rate(step: int, p: TrainParams) -> float:
    """Linear warm-up, then a cosine to zero (section 4.2)."""
    if step < p.warmup_steps:
        return p.lr * (step + 1) / p.warmup_steps
    done = (step - p.warmup_steps) / max(1, p.steps - p.warmup_steps)
    return p.lr * 0.5 * (1 + math.cos(math.pi * done))


def micro_batches(p: TrainParams, world: int) -> int:
    """How many micro-batches each rank runs per step, so that the global batch stays what it is.

    Raises UserError if the global batch cannot be shared evenly.
    """
    if p.global_batch % world:
        raise UserError(f"global_batch={p.global_batch} cannot be shared by {world} processes; make it a multiple")
    share = p.global_batch // world
    size = next(m for m in range(min(p.micro_batch, share), 0, -1) if share % m == 0)
    return share // size


def train(params: Params, stage: str) -> None:
    """The whole stage, in this process."""
    p = params.train[stage]
    torch.manual_seed(params.seed)
    np.random.seed(params.seed)
    if params.launcher.threads and not torch.cuda.is_available():
        torch.set_num_threads(params.launcher.threads)
    out = params.stage_dir(stage)
    model, processor = start_model(params, stage)
    freeze(model, p.trainable)
    if p.lora_rank:
        add_lora(model, p.lora_rank, p.trainable, zero_stage(params))
    mixture = Mixture(
        p.mixture,
        processor,
        Clip((p.frames_min, p.frames_max), (p.interval_min, p.interval_max)),
        p.max_length,
        params.seed,
    )
    world = int(os.environ["WORLD_SIZE"])
    parts = micro_batches(p, world)
    engine = start_deepspeed(model, params, p, parts, world)
    rank = torch.distributed.get_rank()
    state = checkpoints.load_checkpoint(engine, out / "checkpoints")
    first = int(state["step"])
    if rank == 0:
        share = p.global_batch // world
        print(
            f"{stage}: {p.steps - first} steps of {p.global_batch} = {world} processes x {parts} micro-batches x "
            f"{share // parts}; trained: {', '.join(p.trainable)}",
            flush=True,
        )
    stop = StopSignal()
    log = TrainingLog(out, stage, p, mixture, world, first, state.get("log")) if rank == 0 else None
    threads = params.launcher.loader_threads
    batches = StepBatches(mixture, p.global_batch, parts, rank, world, first, p.steps, threads, p.packing)
    # Ranks draw differently, or the same places of their shares would be treated alike.
    loop(engine, batches, p, params.seed * world + rank, first, out, log, stop)
    finish(engine, processor, params, stage, log)


def freeze(model: ElysiumForConditionalGeneration, trainable: list[str]) -> None:
    """Leave gradients to the named parts only; `projection` is the adapter without a T-Selector's gate.

    Raises UserError on an unknown part.
    """
    parts = {"vision": model.vision_tower, "adapter": model.adapter, "text": model.language_model}
    if hasattr(model.adapter, "projection"):
        parts["projection"] = model.adapter.projection
    unknown = set(trainable) - set(parts)
    if unknown or not trainable:
        raise UserError(f"trainable: {sorted(unknown) or 'empty'}; choose some of {', '.join(parts)}")
    model.requires_grad_(False)
    for name in trainable:
        parts[name].requires_grad_()


def zero_stage(params: Params) -> int:
    """0 (nothing is shared out), 2 or 3."""
    return int(params.deepspeed.get("zero_optimization", {}).get("stage", 0))


def start_deepspeed(
    model: ElysiumForConditionalGeneration, params: Params, p: TrainParams, parts: int, world: int
) -> Any:
    """The DeepSpeed engine around the model."""
    import deepspeed
    import deepspeed.ops

    if params.deepspeed.get("fp16", {}).get("enabled") and not torch.cuda.is_available():
        raise UserError("precision=fp16 needs a GPU; choose precision=fp32 or bf16")
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    if not torch.cuda.is_available():
        # The shared-memory op would be compiled for minutes at first use; gloo does the same work.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    config = {
        **params.deepspeed,
        "train_batch_size": p.global_batch,
        "train_micro_batch_size_per_gpu": p.global_batch // world // parts,
        "gradient_accumulation_steps": parts,
        "gradient_clipping": p.clip_grad,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }
    if p.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    groups = parameter_groups(model, p.weight_decay)
    optimizer = build_optimizer(groups, p.optimizer, p.lr, (p.betas[0], p.betas[1]), zero_stage(params))
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config, dist_init_required=True)
    return engine


def loop(
    engine: Any,
    batches: StepBatches,
    p: TrainParams,
    seed: int,
    first: int,
    out: Path,
    log: TrainingLog | None,
    stop: "StopSignal",
) -> None:
    """Steps `first` to `p.steps`. Raises UserError on a loss that is not finite or a batch without answers."""
    flops = FlopCounter(engine.module)
    peak = peak_flops()
    engine.train()
    bar = tqdm(total=p.steps, initial=first, disable=log is None, mininterval=5, bar_format=_BAR, dynamic_ncols=True)
    begin = time.perf_counter()
    with bar:  # closed before an error is said, or both would share a line
        for step, batch in enumerate(batches, first):
            waited = time.perf_counter() - begin
            torch.manual_seed((seed << 32) + step)  # the draws of a step do not depend on how many came before
            if isinstance(engine.module.adapter, TSelector):
                engine.module.adapter.held = step < p.gate_from
            loss, work, stopped = run_step(engine, batch, learning_rate(step, p), flops, stop.asked)
            seconds = time.perf_counter() - begin
            check_finite(engine, step, loss, out / "checkpoints")
            if log is not None:
                bar.update()
                shown = log.step(step, loss, learning_rate(step, p), batch, seconds, waited, work / peak / seconds)
                if shown:
                    bar.set_postfix_str(shown)
            done = step + 1
            if p.draw_every and done % p.draw_every == 0:
                draw(engine, batches.mixture, p, out / f"predictions-{done:06d}.png", log)
            if done < p.steps and (stopped or (p.save_every and done % p.save_every == 0)):
                state = {"log": log.state()} if log is not None else {}
                checkpoints.save_checkpoint(engine, out / "checkpoints", done, state, p.keep_checkpoints)
                if stopped:
                    raise UserError(f"stopped by a signal after step {done}; run the stage again to go on from there")
            begin = time.perf_counter()


def draw(engine: Any, mixture: Mixture, p: TrainParams, path: Path, log: TrainingLog | None) -> None:
    """True and predicted boxes on the first samples after the end of the run, the same ones each time.

    Rank 0 draws; under ZeRO-3, where a process has but a part of the weights, all run the model together.
    """
    if log is None and engine.zero_optimization_stage() != 3:
        return
    samples = samples_to_draw(mixture, p.steps * p.global_batch)
    if samples:
        draw_predictions(engine.module, mixture.processor, samples, path if log is not None else None)
        if log is not None:
            log.picture(path)


def check_finite(engine: Any, step: int, loss: float, folder: Path) -> None:
    """Raise UserError on a loss, or a gradient that was just applied, that is not finite: no checkpoint may follow.

    In fp16 a gradient may overflow; DeepSpeed then skips the step and lowers its scale.
    """
    norm = engine.get_global_grad_norm()
    name = "loss" if not math.isfinite(loss) else "gradient's norm"
    value = loss if norm is None or engine.fp16_enabled() or not math.isfinite(loss) else float(norm)
    if not math.isfinite(value):
        raise UserError(
            f"step {step + 1}: the {name} is {value}; lower the learning rate, then run the stage again, which begins "
            f"anew; the last good checkpoint until then: {checkpoints.newest(folder)}"
        )


def run_step(engine: Any, batch: StepBatch, lr: float, flops: FlopCounter, stop: bool) -> tuple[float, float, bool]:
    """One optimiser step over this rank's micro-batches.

    Returns the global loss, the FLOPs of this rank, and whether any rank was asked to stop: all must save together.
    """
    world = torch.distributed.get_world_size()
    supervised = supervised_in_all(batch.supervised)
    if supervised == 0:
        raise UserError("a batch without one supervised token: the answers were lost; check the shards and max_length")
    for group in engine.optimizer.param_groups:
        group["lr"] = lr
    total, work = 0.0, 0.0
    for part in batch.micro:
        inputs = {k: v.to(engine.device) for k, v in part.inputs.items()}
        packed = "position_ids" in inputs
        with packed_attention(engine.module.language_model) if packed else nullcontext():
            # DeepSpeed averages over ranks and micro-batches; the loss is a sum over the global batch's answer tokens.
            loss = engine(**inputs, num_items_in_batch=supervised, use_cache=False).loss * world * len(batch.micro)
            engine.backward(loss)
        engine.step()
        total += float(loss.detach()) / len(batch.micro)
        work += flops.step(part.lengths, part.frames)
    mean = torch.tensor([total / world, float(stop)], dtype=torch.float64)
    if torch.cuda.is_available():
        mean = mean.cuda()
    torch.distributed.all_reduce(mean)
    return float(mean[0]), work, bool(mean[1])


class StopSignal:
    """Notes SIGTERM, so that the loop can save a checkpoint before it ends."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, *_: object) -> None:
        self.asked = True


def finish(engine: Any, processor: ElysiumProcessor, params: Params, stage: str, log: TrainingLog | None) -> None:
    """Write the stage's model folder and its report, on rank 0."""
    out = params.stage_dir(stage)
    state = engine._zero3_consolidated_16bit_state_dict() if engine.zero_optimization_stage() == 3 else None
    merge_lora(engine.module)
    if log is not None:
        part = out / "model.part"  # a model folder is whole or not there
        shutil.rmtree(part, ignore_errors=True)
        engine.module.save_pretrained(part, state_dict=state, max_shard_size="2GB")
        processor.save_pretrained(part)
        shutil.rmtree(out / "model", ignore_errors=True)
        os.replace(part, out / "model")
        # Under ZeRO-3 this process alone cannot run its part of the model.
        log.close(engine.module if state is None else load_model(out / "model"), processor)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # a failed rank must not wait for the others in a collective at exit
