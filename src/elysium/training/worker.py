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
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from elysium import offline, processes
from elysium.config import Params, TrainParams, load_params
from elysium.data.mixture import Mixture
from elysium.data.tasks import Clip
from elysium.errors import UserError
from elysium.model import ElysiumForConditionalGeneration, ElysiumProcessor
from elysium.model.adapters import TSelector
from elysium.training.batches import StepBatch, StepBatches, supervised_in_all
from elysium.training.optimizer import build_optimizer, parameter_groups
from elysium.training.records import TrainingLog
from elysium.training.start import start_model
from elysium.training.throughput import FlopCounter, peak_flops


def main() -> int:
    """Train; exit code 2 and one line on bad input."""
    processes.die_with_parent()
    offline.apply()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=Path, required=True)
    parser.add_argument("--stage", required=True)
    parser.add_argument("--local_rank", type=int, default=None, help="set by DeepSpeed's launcher; RANK rules")
    arguments = parser.parse_args()
    try:
        train(load_params(arguments.params), arguments.stage)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


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
    first = resume(engine, out / "checkpoints")
    if rank == 0:
        share = p.global_batch // world
        print(
            f"{stage}: {p.steps - first} steps of {p.global_batch} = {world} processes x {parts} micro-batches x "
            f"{share // parts}; trained: {', '.join(p.trainable)}",
            flush=True,
        )
    log = TrainingLog(out, stage, p, first) if rank == 0 else None
    batches = StepBatches(mixture, p.global_batch, parts, rank, world, first, p.steps)
    # Ranks draw differently, or the same places of their shares would be treated alike.
    loop(engine, batches, p, params.seed * world + rank, first, out, log)
    finish(engine, processor, mixture, params, stage, log)


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


def start_deepspeed(
    model: ElysiumForConditionalGeneration, params: Params, p: TrainParams, parts: int, world: int
) -> Any:
    """The DeepSpeed engine around the model."""
    import deepspeed
    import deepspeed.ops

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
    zero_stage = params.deepspeed.get("zero_optimization", {}).get("stage", 0)
    groups = parameter_groups(model, p.weight_decay)
    optimizer = build_optimizer(groups, p.optimizer, p.lr, (p.betas[0], p.betas[1]), zero_stage)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config, dist_init_required=True)
    return engine


def resume(engine: Any, folder: Path) -> int:
    """The step to go on with: after the last whole checkpoint, or 0."""
    if not (folder / "latest").is_file():
        return 0
    _, state = engine.load_checkpoint(str(folder))
    return int(state["step"])


def save_checkpoint(engine: Any, folder: Path, step: int) -> None:
    """Model, optimiser and step; `latest` moves when all is written, the one before it is then dropped."""
    state = {"step": step}
    engine.save_checkpoint(str(folder), tag=f"step{step}", client_state=state)
    if torch.distributed.get_rank() == 0:
        import shutil

        for old in folder.glob("step*"):
            if old.name != f"step{step}":
                shutil.rmtree(old)


def loop(
    engine: Any, batches: StepBatches, p: TrainParams, seed: int, first: int, out: Path, log: TrainingLog | None
) -> None:
    """Steps `first` to `p.steps`. Raises UserError on a loss that is not finite or a batch without answers."""
    flops = FlopCounter(engine.module)
    peak = peak_flops()
    stop = StopSignal()
    engine.train()
    bar = tqdm(total=p.steps, initial=first, disable=log is None, mininterval=5, unit="step", dynamic_ncols=True)
    begin = time.perf_counter()
    for step, batch in enumerate(batches, first):
        waited = time.perf_counter() - begin
        torch.manual_seed((seed << 32) + step)  # the draws of a step do not depend on how many came before
        if isinstance(engine.module.adapter, TSelector):
            engine.module.adapter.held = step < p.gate_from
        loss, work = run_step(engine, batch, learning_rate(step, p), flops)
        seconds = time.perf_counter() - begin
        if not math.isfinite(loss):
            raise UserError(f"step {step}: the loss is {loss}; lower the learning rate, then run the stage again")
        if log is not None:
            bar.update()
            shown = log.step(step, loss, learning_rate(step, p), batch, seconds, waited, work / peak / seconds)
            if shown:
                bar.set_postfix_str(shown)
        done = step + 1
        if done < p.steps and (stop.asked or (p.save_every and done % p.save_every == 0)):
            save_checkpoint(engine, out / "checkpoints", done)
            if stop.asked:
                raise UserError(f"stopped by a signal after step {done}; run the stage again to go on from there")
        begin = time.perf_counter()
    bar.close()


def run_step(engine: Any, batch: StepBatch, lr: float, flops: FlopCounter) -> tuple[float, float]:
    """One optimiser step over this rank's micro-batches; returns the global loss and the FLOPs of this rank."""
    world = torch.distributed.get_world_size()
    supervised = supervised_in_all(batch.supervised)
    if supervised == 0:
        raise UserError("a batch without one supervised token: the answers were lost; check the shards and max_length")
    for group in engine.optimizer.param_groups:
        group["lr"] = lr
    total, work = 0.0, 0.0
    for part in batch.micro:
        inputs = {k: v.to(engine.device) for k, v in part.inputs.items()}
        # DeepSpeed averages over ranks and micro-batches; the loss is a sum over the global batch's answer tokens.
        loss = engine(**inputs, num_items_in_batch=supervised, use_cache=False).loss * world * len(batch.micro)
        engine.backward(loss)
        engine.step()
        total += float(loss.detach()) / len(batch.micro)
        rows, length = inputs["input_ids"].shape
        work += flops.step(rows, length, part.frames)
    mean = torch.tensor([total / world], dtype=torch.float64)
    if torch.cuda.is_available():
        mean = mean.cuda()
    torch.distributed.all_reduce(mean)
    return float(mean), work


class StopSignal:
    """Notes SIGTERM, so that the loop can save a checkpoint before it ends."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, *_: object) -> None:
        self.asked = True


def finish(
    engine: Any, processor: ElysiumProcessor, mixture: Mixture, params: Params, stage: str, log: TrainingLog | None
) -> None:
    """Write the stage's model folder and its report, on rank 0."""
    out = params.stage_dir(stage)
    state = engine._zero3_consolidated_16bit_state_dict() if engine.zero_optimization_stage() == 3 else None
    if log is not None:
        engine.module.save_pretrained(out / "model", state_dict=state, max_shard_size="2GB")
        processor.save_pretrained(out / "model")
        log.close(engine.module, processor, mixture)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # a failed rank must not wait for the others in a collective at exit
