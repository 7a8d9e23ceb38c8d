"""The stage `evaluate` with a real model folder: the debug preset's architecture with random weights."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from elysium.cli import main
from elysium.compose import write_params
from elysium.config import Params
from elysium.errors import UserError
from elysium.evaluation.run import run
from elysium.training.start import new_model
from tests.evaluation import official
from tests.evaluation.conftest import write_scenes


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> Params:
    root = tmp_path_factory.mktemp("model")
    scenes = write_scenes(root)
    configured = write_params(["preset=debug"], root / "params.yaml")
    torch.manual_seed(0)
    model, processor = new_model(configured)
    model.save_pretrained(root / "finetune_long" / "model")
    processor.save_pretrained(root / "finetune_long" / "model")
    return replace(scenes, eval=replace(scenes.eval, tasks=["rec", "sot", "rsot"], frames=3, batch_size=8))


def test_an_untrained_model_is_evaluated_below_the_baselines(params: Params, tmp_path: Path) -> None:
    run(params, tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["world/rec/acc50"] < 20
    assert metrics["world/rsot/auc"] < metrics["world/sot/held/auc"]
    lines = (tmp_path / "predictions/world_sot.jsonl").read_text().splitlines()
    assert len(lines) == 6 and all(len(json.loads(line)["boxes"]) == 3 for line in lines)


def test_a_folder_of_another_architecture_is_refused(params: Params, tmp_path: Path) -> None:
    other = tmp_path / "finetune_long" / "model"
    other.mkdir(parents=True)
    (other / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match="not elysium"):
        run(replace(params, artifacts=str(tmp_path)), tmp_path / "out")


def test_the_command_runs_a_model_folder_on_public_benchmarks(
    params: Params, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A random model on OTB-100 and MSRVTT-QA; the second time every prediction is there."""
    model = params.stage_dir("finetune_long") / "model"
    for name, build in (("otb100", official.otb100), ("msrvtt-qa", official.msrvtt_qa)):
        (tmp_path / name).mkdir()
        build(tmp_path / name)
        command = ["evaluate", name, "--in", str(tmp_path / name), "--out", str(tmp_path / "out")]
        said = []
        for _ in range(2):
            with pytest.raises(SystemExit) as end:
                main([*command, "--model", str(model), "--limit", "1"])
            assert end.value.code == 0
            said.append((tmp_path / "out" / name / "metrics.json").read_text())
        assert said[0] == said[1]
    capsys.readouterr()
    assert json.loads(said[0])["MSRVTT-QA/videoqa/n"] == 1
    boxes = tmp_path / "out/otb100/results/OTB2015/elysium_sot/Basketball.txt"
    assert len(boxes.read_text().splitlines()) == 9
