"""A training stage, for real: DeepSpeed on the CPU, one and two processes, cut off and resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from elysium.config import LauncherParams, MixtureSource, ModelParams, Params, TrainParams, WorldParams
from elysium.data import world
from elysium.errors import UserError
from elysium.training import stage
from elysium.training.worker import learning_rate, micro_batches

STEPS = 6


@pytest.fixture(scope="module")
def params(tmp_path_factory) -> Params:
    root = tmp_path_factory.mktemp("training")
    world.build(WorldParams(images=40, train_videos=6, train_frames=12, eval_videos=1, raw_videos=0, workers=1), root)
    vision = {"model_type": "conv_vision", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {"model_type": "llama", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    mixture = {
        "images": MixtureSource(str(root), "images", 1.0, {"rec": 1, "detect": 1}, turns=2),
        "videos": MixtureSource(str(root), "train", 1.0, {"sot": 1, "rsot": 1}),
    }
    train = TrainParams(
        mixture=mixture, steps=STEPS, global_batch=4, micro_batch=2, lr=1e-3, log_every=1, max_length=1024, frames_max=4
    )
    return Params(
        artifacts=str(root / "artifacts"),
        model=ModelParams(
            vision={**vision, "intermediate_size": 64},
            text={**text, "num_key_value_heads": 2, "intermediate_size": 64},
        ),
        train={"warmup": replace(train, trainable=["adapter"]), "pretrain": replace(train, init_from="warmup")},
        deepspeed={"zero_optimization": {"stage": 2}},
        launcher=LauncherParams(processes=1),
    )


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def warmup(params: Params) -> Path:
    stage.run(params, "warmup")
    return params.stage_dir("warmup")


@pytest.fixture(scope="module")
def pretrain(params: Params, warmup: Path) -> Path:
    stage.run(params, "pretrain")
    return params.stage_dir("pretrain")


def test_a_stage_leaves_model_log_metrics_and_picture(warmup: Path) -> None:
    assert len(losses(warmup)) == STEPS
    metrics = json.loads((warmup / "metrics.json").read_text())
    assert metrics["supervised_tokens/images"] > 0 and metrics["supervised_tokens/videos"] > 0
    assert (warmup / "kept_tokens.png").stat().st_size > 1000
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {p.name for p in (warmup / "model").iterdir()}
    assert not (warmup / "checkpoints").exists()


def test_frozen_parts_stay_and_trained_parts_move(warmup: Path, pretrain: Path) -> None:
    before, after = (load_file(p / "model" / "model.safetensors") for p in (warmup, pretrain))
    moved = {name.split(".")[0] for name in before if not before[name].equal(after[name])}
    assert moved == {"vision_tower", "adapter", "language_model"}
    gate = [name for name in before if name.startswith("adapter.gate")]
    assert gate and all(not before[name].equal(after[name]) for name in gate)


@pytest.mark.slow
def test_two_processes_equal_one(params: Params, warmup: Path) -> None:
    """With the gate frozen: while it learns, each process draws its own swaps."""
    start = {"init_from": str(warmup / "model"), "trainable": ["vision", "projection", "text"]}
    runs = []
    for processes in (1, 2):
        own = replace(
            params,
            artifacts=f"{params.artifacts}-{processes}",
            launcher=LauncherParams(processes=processes),
            train={"pretrain": replace(params.train["pretrain"], **start)},
        )
        stage.run(own, "pretrain")
        runs.append(losses(own.stage_dir("pretrain")))
    assert runs[1] == pytest.approx(runs[0], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_goes_on_with_the_same_losses(params: Params, pretrain: Path, kill: int, tmp_path: Path) -> None:
    train = replace(params.train["pretrain"], init_from=str(params.stage_dir("warmup") / "model"), save_every=2)
    cut = replace(params, artifacts=str(tmp_path), train={"pretrain": train})
    out = cut.stage_dir("pretrain")
    out.mkdir(parents=True)
    (out / stage.PARAMS_FILE).write_text(json.dumps(asdict(cut), sort_keys=True, indent=1))
    environment = {**os.environ, "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    environment |= {"MASTER_PORT": str(stage._free_port()), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "elysium.training.worker", "--params", str(out / stage.PARAMS_FILE)]
    worker = subprocess.Popen([*command, "--stage", "pretrain"], env=environment)
    while not (out / "checkpoints" / "latest").exists() and worker.poll() is None:
        time.sleep(0.02)
    worker.send_signal(kill)
    assert worker.wait() != 0
    assert not (out / "model").exists()
    stage.run(cut, "pretrain")
    # Steps after the last checkpoint are run twice; the log's last word on each step counts.
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert list({row["step"]: row["loss"] for row in rows}.values()) == losses(pretrain)
    a, b = (load_file(p / "model" / "model.safetensors") for p in (out, pretrain))
    assert all(a[name].equal(b[name]) for name in b)


def test_a_stage_without_its_predecessor_says_which_to_run(params: Params, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dvc repro warmup"):
        stage.run(replace(params, artifacts=str(tmp_path)), "pretrain")


def test_an_unknown_stage_is_refused(params: Params) -> None:
    with pytest.raises(UserError, match="no such training stage"):
        stage.run(params, "distil")


def test_the_schedule_warms_up_and_ends_near_zero() -> None:
    p = TrainParams(steps=100, warmup_steps=10, lr=1.0)
    rates = [learning_rate(s, p) for s in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == pytest.approx(1.0) and rates[-1] < 0.001
    assert rates[55] == pytest.approx(0.5)


@pytest.mark.parametrize(("world_size", "expected"), [(1, 4), (2, 2), (8, 1)])
def test_the_global_batch_stays_when_processes_change(world_size: int, expected: int) -> None:
    assert micro_batches(TrainParams(global_batch=32, micro_batch=8), world_size) == expected


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(UserError, match="make it a multiple"):
        micro_batches(TrainParams(global_batch=10), 4)
