"""What a training stage starts from: the previous stage's model, or the two backbones and a new adapter."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from elysium.config import Params
from elysium.errors import UserError
from elysium.model import ElysiumConfig, ElysiumForConditionalGeneration, ElysiumProcessor
from elysium.model.adapters import TSelector
from elysium.model.configuration import assemble_config
from elysium.model.loading import load_model, load_processor
from elysium.model.processing import image_token
from elysium.training.stage import start_folder

GATE_FILE = "gate.safetensors"


def start_model(params: Params, stage: str) -> tuple[ElysiumForConditionalGeneration, ElysiumProcessor]:
    """Model and processor at the beginning of a stage, in float32. Raises UserError on a folder of another model."""
    folder = start_folder(params, stage)
    num_kept = params.train[stage].num_kept or params.adapter.num_kept
    if folder is None:
        return new_model(replace(params, adapter=replace(params.adapter, num_kept=num_kept)))
    model, processor = load_model(folder), load_processor(folder)
    model.language_model.set_attn_implementation(params.model.attn_implementation)
    if isinstance(model.adapter, TSelector):  # its parameters do not depend on how many tokens it keeps
        model.adapter.num_kept = model.config.num_kept = processor.num_kept = num_kept
    return model, processor


def build_config(params: Params, tokenizer: PreTrainedTokenizerBase) -> ElysiumConfig:
    """The model's configuration by the parameters, with the backbones' own where their folders are given.

    A text configuration that does not say its vocabulary takes the tokenizer's.
    """
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    vision = _sub(params.model.vision_init, params.model.vision)
    text = _sub(params.model.text_init, {"vocab_size": len(tokenizer), **ids, **params.model.text})
    return assemble_config(params, vision, text, image_token(tokenizer))


def _sub(folder: str | None, values: dict[str, Any]) -> Any:
    if folder is None:
        return dict(values)
    if not Path(folder, "config.json").is_file():
        raise UserError(f"no backbone in {folder}; fetch it with `dvc pull`, or train it with `make backbones`")
    return AutoConfig.from_pretrained(folder)


def new_model(params: Params) -> tuple[ElysiumForConditionalGeneration, ElysiumProcessor]:
    """A model of the two backbones, from their folders where configured, with a new adapter."""
    tokenizer = AutoTokenizer.from_pretrained(params.model.tokenizer)
    config = build_config(params, tokenizer)
    model = ElysiumForConditionalGeneration(config)
    if params.model.vision_init:
        model.vision_tower = AutoModel.from_pretrained(params.model.vision_init)
        gate = Path(params.model.vision_init, GATE_FILE)
        if gate.is_file() and isinstance(model.adapter, TSelector):  # while the small backbones are made, only
            model.adapter.gate.load_state_dict(load_file(gate))
    if params.model.text_init:
        model.language_model = AutoModelForCausalLM.from_pretrained(params.model.text_init)
    model.language_model.set_attn_implementation(params.model.attn_implementation)
    processor = ElysiumProcessor(
        ElysiumProcessor.square_images(params.model.image_size),
        tokenizer,
        num_kept=config.num_kept,
        bins=params.model.bins,
        timestamps=params.model.timestamps,
        system=params.model.system,
    )
    return model, processor
