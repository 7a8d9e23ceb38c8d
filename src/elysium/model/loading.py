"""Finding and reading a model folder, with one clear line when it is not there or not one of ours."""

import os
import re
import sys
from pathlib import Path

from safetensors import SafetensorError
from transformers import AutoConfig
from transformers.utils.logging import disable_progress_bar

from elysium.errors import UserError
from elysium.model import ElysiumConfig, ElysiumForConditionalGeneration, ElysiumProcessor

SHIPPED = Path("models/elysium-tiny")
PROJECT = Path(__file__).parents[3]


def find_model(name: str | None, project: Path = PROJECT) -> Path:
    """The folder of a model: a local folder, an MLflow URI (`models:/elysium@champion`) or a hub id (`owner/name`).

    Without a name: the model that ships with the project (here, or in the checkout `project`), else the newest one that
    the pipeline here has left in `artifacts/STAGE/model`. Raises UserError if there is none.
    """
    if name is None:
        return _default_model(project)
    if name.startswith("models:/"):
        return _from_registry(name)
    if Path(name).exists() or not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name):
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.model", "*.txt"]))
    except LocalEntryNotFoundError as error:
        raise UserError(f"{name}: no such folder, and not in the hub's cache; HF_HUB_OFFLINE=0 fetches it") from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise UserError(f"{name}: no such folder, and the hub says: {str(error).splitlines()[0]}") from error


def _default_model(project: Path) -> Path:
    for root in (Path(), project):
        if (root / SHIPPED / "config.json").is_file():
            return root / SHIPPED
    made = [path.parent for path in Path("artifacts").glob("*/model/config.json")]
    if not made:
        raise UserError("no model here: run `make demo`, or give --model FOLDER, models:/NAME@ALIAS or OWNER/NAME")
    return max(made, key=lambda folder: (folder / "config.json").stat().st_mtime)


def _from_registry(uri: str) -> Path:
    import mlflow
    from mlflow.exceptions import MlflowException

    if not os.environ.get("MLFLOW_TRACKING_URI"):
        if not Path("mlflow.db").is_file():
            raise UserError(f"{uri}: no mlflow.db here, and MLFLOW_TRACKING_URI is not set")
        mlflow.set_tracking_uri("sqlite:///mlflow.db")
    try:
        folder = Path(mlflow.artifacts.download_artifacts(uri))
    except (MlflowException, OSError) as error:
        raise UserError(f"{uri}: {str(error).splitlines()[0]}") from error
    for path in sorted(folder.glob("artifacts/*/config.json")):
        return path.parent
    raise UserError(f"{uri}: no checkpoint in that model")


def load_model(folder: Path) -> ElysiumForConditionalGeneration:
    """An Elysium model folder. Raises UserError if it is missing or of another architecture."""
    config = load_config(folder)
    if not sys.stderr.isatty():
        disable_progress_bar()
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
