"""ZeRO-3 on two processes, one with frames, the other with text alone: both gather every parameter, so none waits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from elysium.training.stage import _free_port

ROOT = Path(__file__).parents[2]
SCRIPT = """
import os, sys
sys.path.insert(0, {root!r})
import torch, deepspeed, deepspeed.ops
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # would be compiled first
from elysium.training.batches import collate
from elysium.data.mixture import TrainingSample
from tests.model.tiny import CONV, frames, tiny_config, tiny_model, tiny_processor

rank = int(os.environ["RANK"])
model, processor = tiny_model(tiny_config(CONV)), tiny_processor()
images = frames(2, seed=1) if rank == 0 else []
asked = "Frame 1: <image>, Frame 2: <image>\\nTrack the red ball." if images else "What is a ball?"
ids, labels = processor.training_sample([(asked, "round")], 200)
batch = collate([TrainingSample("test", "key", "ask", ids, labels, images)], processor)
config = {{"train_micro_batch_size_per_gpu": 1, "zero_optimization": {{"stage": 3}},
           "zero_allow_untested_optimizer": True, "zero_force_ds_cpu_optimizer": False}}
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
engine.train()
losses = []
for step in range(4):
    loss = engine(**batch.inputs, use_cache=False).loss
    engine.backward(loss)
    engine.step()
    losses.append(float(loss))
state = engine._zero3_consolidated_16bit_state_dict()
assert losses[-1] < losses[0], losses
if rank == 0:
    shapes = {{n: tuple(p.ds_shape) for n, p in engine.module.named_parameters()}}
    assert all(tuple(state[n].shape) == shape for n, shape in shapes.items())
    print("TRAINED", len(images), losses)
sys.stdout.flush()
os._exit(0)
"""


@pytest.mark.slow
def test_a_rank_without_frames_does_not_stop_the_other(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(SCRIPT.format(root=str(ROOT)))
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen(
            [sys.executable, str(script)],
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        out = [worker.communicate(timeout=240)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], out
    assert "TRAINED 2" in out[0]
