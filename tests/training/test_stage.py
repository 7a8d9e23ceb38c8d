"""A training stage, for real: DeepSpeed on the CPU, one and two processes, cut off and resumed."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file
from transformers import AutoTokenizer

from elysium.config import LauncherParams, MixtureSource, ModelParams, Params, TrainParams, WorldParams
from elysium.data import world
from elysium.data.mixture import Mixture
from elysium.data.tasks import Clip
from elysium.errors import UserError
from elysium.model import ElysiumProcessor
from elysium.training import stage
from elysium.training.batches import StepBatches
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
        train={
            "warmup": replace(train, trainable=["adapter"]),
            "pretrain": replace(train, init_from="warmup", log_every=2),
        },
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


@pytest.fixture(scope="module")
def gate_at_rest(params: Params, warmup: Path) -> Params:
    """`pretrain` without the gate: while it learns, swaps are drawn by process and place in the batch."""
    start = {"init_from": str(warmup / "model"), "trainable": ["vision", "projection", "text"]}
    train = {"pretrain": replace(params.train["pretrain"], **start)}  # type: ignore[arg-type]
    return replace(params, artifacts=f"{params.artifacts}-at-rest", train=train)


@pytest.fixture(scope="module")
def expected(gate_at_rest: Params) -> list[float]:
    stage.run(gate_at_rest, "pretrain")
    return losses(gate_at_rest.stage_dir("pretrain"))


@pytest.mark.slow
def test_two_processes_equal_one(gate_at_rest: Params, expected: list[float], tmp_path: Path) -> None:
    two = replace(gate_at_rest, artifacts=str(tmp_path), launcher=LauncherParams(processes=2))
    stage.run(two, "pretrain")
    assert losses(tmp_path / "pretrain") == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_packed_under_zero_3_equals_padded_under_zero_2(
    gate_at_rest: Params, expected: list[float], tmp_path: Path
) -> None:
    train = replace(gate_at_rest.train["pretrain"], packing=True, draw_every=3)
    packed = replace(
        gate_at_rest,
        artifacts=str(tmp_path),
        train={"pretrain": train},
        deepspeed={"zero_optimization": {"stage": 3}},
    )
    stage.run(packed, "pretrain")
    out = tmp_path / "pretrain"
    assert losses(out) == pytest.approx(expected, rel=1e-4)
    assert {"predictions-000003.png", "predictions-000006.png", "kept_tokens.png"} <= {p.name for p in out.iterdir()}
    a, b = (load_file(f / "model" / "model.safetensors") for f in (out, gate_at_rest.stage_dir("pretrain")))
    assert a.keys() == b.keys() and {n: v.shape for n, v in a.items()} == {n: v.shape for n, v in b.items()}


@pytest.mark.slow
def test_lora_in_bf16_with_the_optimizer_offloaded_leaves_a_whole_model(
    params: Params, warmup: Path, tmp_path: Path
) -> None:
    own = of_its_own(params, tmp_path, lora_rank=4, steps=2, log_every=1)
    offload = {"stage": 2, "offload_optimizer": {"device": "cpu"}}
    own = replace(own, deepspeed={"zero_optimization": offload, "bf16": {"enabled": True}})
    stage.run(own, "pretrain")
    a, b = (
        load_file(f / "model" / "model.safetensors") for f in (own.stage_dir("pretrain"), params.stage_dir("warmup"))
    )
    assert a.keys() == b.keys()


def start_worker(params: Params, max_file_bytes: int = resource.RLIM_INFINITY) -> subprocess.Popen:
    """The process that trains `pretrain`; it can write no file beyond a size, as on a full disk."""
    stage.prepare(params, "pretrain")
    environment = {**os.environ, "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    environment |= {"MASTER_PORT": str(stage._free_port()), "OMP_NUM_THREADS": "1"}
    file = params.stage_dir("pretrain") / stage.PARAMS_FILE
    return subprocess.Popen(
        [sys.executable, "-m", "elysium.training.worker", "--params", str(file), "--stage", "pretrain"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes)),
    )


def of_its_own(params: Params, folder: Path, **train: object) -> Params:
    """The run `pretrain` in another folder, from the same start."""
    start = str(params.stage_dir("warmup") / "model")
    own = replace(params.train["pretrain"], init_from=start, **train)  # type: ignore[arg-type]
    return replace(params, artifacts=str(folder), train={"pretrain": own})


def signal_when(worker: subprocess.Popen, condition: Callable[[], bool], number: int) -> None:
    while not condition() and worker.poll() is None:
        time.sleep(0.01)
    assert worker.poll() is None, worker.stderr.read()
    worker.send_signal(number)


def steps_of(out: Path) -> list[str]:
    return sorted(path.name for path in (out / "checkpoints").glob("step*"))


def errors_of(worker: subprocess.Popen) -> list[str]:
    return [line for line in worker.communicate()[1].splitlines() if line.startswith("error")]


def assert_same_run(one: Path, other: Path) -> None:
    """Losses, order of samples and weights, bit for bit; every step once."""
    a, b = ([json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()] for folder in (one, other))
    assert [r["step"] for r in a] == [2, 4, 6]
    assert [[r[k] for k in ("step", "loss", "lr", "order")] for r in a] == [
        [r[k] for k in ("step", "loss", "lr", "order")] for r in b
    ]
    x, y = (load_file(folder / "model" / "model.safetensors") for folder in (one, other))
    assert x.keys() == y.keys() and all(x[name].equal(y[name]) for name in x)
    supervised = [
        {k: v for k, v in json.loads((folder / "metrics.json").read_text()).items() if k.startswith("supervised")}
        for folder in (one, other)
    ]
    assert supervised[0] == supervised[1]


@pytest.mark.slow
def test_after_kill_9_and_a_damaged_checkpoint_the_run_is_that_of_the_undisturbed(
    params: Params, pretrain: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Resumed with other loader threads, from the checkpoint before the newest, in the middle of a line of the log."""
    cut = of_its_own(params, tmp_path, save_every=1)
    out = cut.stage_dir("pretrain")
    worker = start_worker(cut)
    signal_when(worker, (out / "checkpoints" / "step4").exists, signal.SIGKILL)
    assert worker.wait() == -signal.SIGKILL and not (out / "model").exists()
    # Two are kept; it may have died before it dropped the third.
    kept = [name for name in steps_of(out) if not name.endswith(".part")]
    assert kept[-1] == "step4" and set(kept) <= {"step2", "step3", "step4"}
    biggest = max((out / "checkpoints" / "step4").iterdir(), key=lambda path: path.stat().st_size)
    os.truncate(biggest, biggest.stat().st_size // 2)
    stage.run(replace(cut, launcher=replace(cut.launcher, loader_threads=3)), "pretrain")
    said = capfd.readouterr().out
    assert "step4: damaged, passed over" in said and "pretrain: 3 steps of 4" in said
    assert_same_run(out, pretrain)
    assert not (out / "checkpoints").exists()


@pytest.mark.slow
def test_sigterm_and_a_full_disk_leave_a_checkpoint_to_go_on_from(
    params: Params, pretrain: Path, tmp_path: Path
) -> None:
    cut = of_its_own(params, tmp_path)
    out = cut.stage_dir("pretrain")
    worker = start_worker(cut)
    signal_when(worker, (out / "log.jsonl").exists, signal.SIGTERM)
    (line,) = errors_of(worker)
    assert worker.returncode == 2 and "stopped by a signal" in line
    (good,) = steps_of(out)
    before = {path.name: path.read_bytes() for path in (out / "checkpoints" / good).iterdir()}
    # save_every is no part of what a run must have in common with the one it goes on from.
    worker = start_worker(of_its_own(params, tmp_path, save_every=1), max_file_bytes=20_000)
    (line,) = errors_of(worker)
    assert worker.returncode == 2 and "could not be written" in line and f"{good} is untouched" in line
    assert {path.name: path.read_bytes() for path in (out / "checkpoints" / good).iterdir()} == before
    stage.run(cut, "pretrain")
    assert_same_run(out, pretrain)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_the_run(params: Params, warmup: Path, tmp_path: Path) -> None:
    out = tmp_path / "pretrain"
    worker = start_worker(of_its_own(params, tmp_path, lr=1e30, save_every=1))
    (line,) = errors_of(worker)
    assert worker.returncode == 2 and re.search(r"step [23]: the (loss|gradient's norm) is (nan|inf)", line), line
    assert line.endswith(str(out / "checkpoints" / steps_of(out)[-1]))


def test_a_run_of_other_parameters_or_data_begins_anew(params: Params, tmp_path: Path) -> None:
    own = replace(params, artifacts=str(tmp_path))
    kept = tmp_path / "warmup" / "checkpoints" / "step1"
    stage.prepare(own, "warmup")
    for other, stays in (
        (replace(own, launcher=replace(own.launcher, threads=2)), True),
        (replace(own, seed=1), False),
        (replace(own, train={"warmup": replace(own.train["warmup"], lr=0.5)}), False),
    ):
        kept.mkdir(exist_ok=True)
        stage.prepare(other, "warmup")
        assert kept.is_dir() is stays


def test_the_order_of_steps_does_not_depend_on_loader_threads(params: Params) -> None:
    tokenizer = AutoTokenizer.from_pretrained("src/elysium/assets/tokenizer")
    processor = ElysiumProcessor(ElysiumProcessor.square_images(64), tokenizer, num_kept=12, system="")
    runs = []
    for threads in (1, 4):
        mixture = Mixture(params.train["warmup"].mixture, processor, Clip((2, 4)), 1024, seed=0)
        batches = list(StepBatches(mixture, 8, 2, 0, 1, 3, 12, threads))
        runs.append([(b.keys, b.supervised, [m.inputs["input_ids"].tolist() for m in b.micro]) for b in batches])
        assert len(batches) == 9
    assert runs[0] == runs[1]


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
