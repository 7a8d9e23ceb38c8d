"""Reading a model folder, with one clear line when it is not one of ours."""

from pathlib import Path

from safetensors import SafetensorError
from transformers import AutoConfig

from elysium.errors import UserError
from elysium.model import ElysiumConfig, ElysiumForConditionalGeneration, ElysiumProcessor


def load_model(folder: Path) -> ElysiumForConditionalGeneration:
    """An Elysium model folder. Raises UserError if it is missing or of another architecture."""
    config = load_config(folder)
    try:
        return ElysiumForConditionalGeneration.from_pretrained(folder, config=config)
    except (RuntimeError, OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{folder}: the weights do not fit the configuration ({str(error).splitlines()[0]})") from error


def load_config(folder: Path) -> ElysiumConfig:
    """The configuration of an Elysium model folder. Raises UserError if it is missing or of another architecture."""
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: no model there (no config.json)")
    try:
        config = AutoConfig.from_pretrained(folder)
    except (ValueError, OSError) as error:
        raise UserError(f"{folder}/config.json: not a readable configuration ({str(error).splitlines()[0]})") from error
    if not isinstance(config, ElysiumConfig):
        raise UserError(f"{folder}: a {config.model_type} checkpoint, not elysium; give a folder that a stage wrote")
    return config


def load_processor(folder: Path) -> ElysiumProcessor:
    """The processor saved beside a model. Raises UserError if it is not there."""
    try:
        return ElysiumProcessor.from_pretrained(folder)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{folder}: no processor beside the model ({str(error).splitlines()[0]})") from error
