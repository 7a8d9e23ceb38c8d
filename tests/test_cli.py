"""The command `elysium`, run as a person would: help is instant, bad input is one line and exit code 2."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from elysium.data.video import write_video
from elysium.offline import OFFLINE_ENV

ROOT = Path(__file__).parents[1]


def elysium(*arguments: str, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "ELYSIUM_"))} | variables
    command = [sys.executable, "-m", "elysium.cli", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


def refused(*arguments: str, cwd: Path = ROOT, **variables: str) -> str:
    """The one line that a command on bad input prints."""
    done = elysium(*arguments, cwd=cwd, **variables)
    assert done.returncode == 2, done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A readable video of five frames."""
    path = tmp_path_factory.mktemp("video") / "five.mp4"
    write_video(path, [np.full((48, 64, 3), 40 * i, np.uint8) for i in range(5)], fps=5)
    return path


def test_help_is_there_for_every_command_and_imports_nothing_heavy() -> None:
    done = elysium("--help")
    assert done.returncode == 0
    commands = ["compose", "stage", "register", "curate", "track", "describe", "ask", "app"]
    for command in commands:
        assert f"    {command} " in done.stdout
    for command in commands:
        assert "usage: " in elysium(command, "--help").stdout
    code = "import sys; from elysium.cli import build_parser; build_parser(); print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not [name for name in ("torch", "mlflow", "transformers", "cv2", "hydra", "spacy") if f"'{name}'" in loaded]


def test_the_environment_of_the_command_is_offline_and_quiet() -> None:
    code = "from elysium import offline; offline.apply(); import os, json; print(json.dumps(dict(os.environ)))"
    environment = {k: v for k, v in os.environ.items() if k not in OFFLINE_ENV} | {"HF_HUB_OFFLINE": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout)
    assert seen["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert seen["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert seen["HF_HUB_OFFLINE"] == "0", "what a user has set himself stays"
    assert str(Path(sys.executable).parent) in seen["PATH"].split(os.pathsep)


def test_compose_writes_params_yaml(tmp_path: Path) -> None:
    out = tmp_path / "params.yaml"
    assert elysium("compose", "preset=debug", "--out", str(out)).returncode == 0
    assert "preset: debug" in out.read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nonsense",), "invalid choice: 'nonsense'"),
        (("compose", "preset=nope"), "preset/nope"),
        (("compose", "train.warmup.lrr=1"), "train.warmup.lrr"),
        (("stage", "nope"), "unknown stage 'nope'"),
        (("stage", "world", "--params", "nowhere.yaml"), "nowhere.yaml: no such file"),
        (("track", "a.mp4"), "--find --box"),
        (("track", "a.mp4", "--box", "1,2,3"), "is not x1,y1,x2,y2"),
        (("track", "a.mp4", "--box", "0.5,0.1,0.2,0.9"), "0 <= x1 < x2 <= 1"),
        (("describe", "a.mp4", "--box", "0,0,2,1"), "0 <= x1 < x2 <= 1"),
    ],
)
def test_bad_usage_is_one_line(arguments: tuple[str, ...], said: str) -> None:
    assert said in refused(*arguments)


def test_a_tracking_uri_that_does_not_answer_stops_a_stage_before_any_work(tmp_path: Path) -> None:
    assert (
        elysium("compose", "preset=debug", f"artifacts={tmp_path}", "--out", str(tmp_path / "p.yaml")).returncode == 0
    )
    started = time.monotonic()
    line = refused("stage", "world", "--params", str(tmp_path / "p.yaml"), MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert "http://127.0.0.1:9 does not answer" in line
    assert time.monotonic() - started < 15
    assert not (tmp_path / "world").exists()


def test_a_missing_caption_file_is_one_line(video: Path, tmp_path: Path) -> None:
    line = refused(
        "curate", str(video.parent), "--captions", str(tmp_path / "none.jsonl"), "--out", str(tmp_path / "o")
    )
    assert "none.jsonl" in line


def test_a_missing_folder_of_videos_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"video": "a.mp4", "captions": ["A red ball."]}\n')
    line = refused(
        "curate", str(tmp_path / "no"), "--captions", str(tmp_path / "c.jsonl"), "--out", str(tmp_path / "o")
    )
    assert str(tmp_path / "no") in line


def test_a_folder_without_a_model_is_one_line(video: Path, tmp_path: Path) -> None:
    assert str(tmp_path) in refused("track", str(video), "--find", "red ball", "--model", str(tmp_path))


def test_a_checkpoint_of_another_architecture_is_one_line(video: Path, tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=32, **sizes)).save_pretrained(tmp_path)
    line = refused("track", str(video), "--find", "red ball", "--model", str(tmp_path))
    assert str(tmp_path) in line
    assert "llama" in line.lower()


def test_a_corrupt_video_is_one_line(video: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all" * 100)
    assert str(broken) in refused("track", str(broken), "--find", "red ball", "--model", str(tmp_path))
