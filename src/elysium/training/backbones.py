"""The small vision tower and language model of the embedded default, in place of CLIP and Vicuna.

On pictures that no other split shares: render them, pretrain the vision tower densely (`training.vision`), then train
the language model on the tokens that show objects with the ordinary loop, in three stages. `reading`: one thing, one
token, so that name and box are read off it; `backbones`: several things, of which the words choose one; `album`:
several pictures in a row, so that "Frame 3" means the third. Without the first the language model stays on a plateau
where it ignores the picture, without the last it looks at all frames alike. It sees no video. The adapter is dropped at
the end, so the chain learns its T-Selector from nothing. The result is copied to `data/backbones` (see `data.dvc`).
"""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoConfig

from elysium.config import Params
from elysium.data.world import build_backbone_images
from elysium.model.loading import load_model
from elysium.model.vision import ConvVisionConfig
from elysium.training import stage
from elysium.training.start import GATE_FILE
from elysium.training.vision import pretrain_vision

FOLDER = Path("data/backbones")


def run(params: Params) -> None:
    """Make `data/backbones/{vision,text}`; steps that are done are kept, so a killed run goes on."""
    out = params.stage_dir("backbones")
    build_backbone_images(params.world, out / "world", params.vision_pretraining.images)
    vision = out / "vision"
    if not (vision / "config.json").is_file():
        torch.set_num_threads(params.launcher.processes * max(1, params.launcher.threads))
        values = {k: v for k, v in params.model.vision.items() if k != "model_type"}
        config = AutoConfig.for_model(params.model.vision["model_type"], **values)
        assert isinstance(config, ConvVisionConfig)
        tower, gate = pretrain_vision(config, out / "world", "backbones", params.vision_pretraining, params.seed)
        tower.save_pretrained(out / "vision.part")
        save_file(gate.state_dict(), out / "vision.part" / GATE_FILE)
        os.replace(out / "vision.part", vision)
    started = replace(params, model=replace(params.model, vision_init=str(vision), text_init=None))
    for name in ("reading", "backbones", "album"):
        if not (out.parent / name / "model" / "config.json").is_file():
            stage.run(started, name)
    model = load_model(out.parent / "album" / "model")
    shutil.rmtree(FOLDER, ignore_errors=True)
    model.vision_tower.save_pretrained(FOLDER / "vision")
    model.language_model.save_pretrained(FOLDER / "text")
