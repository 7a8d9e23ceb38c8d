"""The trained model in MLflow's registry, as a pyfunc with the alias `champion`."""

import hashlib
from importlib import metadata
from pathlib import Path
from typing import Any

from elysium.config import Params
from elysium.errors import UserError
from elysium.mlops.mlflow import connect

ALIAS = "champion"
_RUNTIME = (
    "torch",
    "transformers",
    "safetensors",
    "tokenizers",
    "numpy",
    "pillow",
    "av",
    "omegaconf",
    "mlflow",
    "pandas",
)


def register(params: Params, parent: str | None = None) -> tuple[str, bool]:
    """Register the evaluated checkpoint and make it the champion; returns (version, whether it is new).

    A checkpoint that is the champion already, by the hash of its files, is not registered again. Raises UserError if
    there is no checkpoint or the store does not answer.
    """
    checkpoint = params.stage_dir(params.eval.model) / "model"
    if not (checkpoint / "config.json").is_file():
        raise UserError(f"{checkpoint}: no model there; run the stage {params.eval.model} first")
    mlflow = connect(params.mlflow)
    client = mlflow.MlflowClient()
    name, digest = params.mlflow.registered_model, folder_hash(checkpoint)
    champion = _champion(client, name)
    if champion is not None and champion.tags.get("checkpoint_sha256") == digest:
        return str(champion.version), False
    with mlflow.start_run(run_name="register", parent_run_id=parent, tags={"stage": "register"}):
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(Path(__file__).with_name("pyfunc.py")),
            artifacts={"checkpoint": str(checkpoint)},
            code_paths=[str(Path(__file__).parents[1])],
            signature=signature(),
            pip_requirements=[f"{package}=={metadata.version(package).split('+')[0]}" for package in _RUNTIME],
            registered_model_name=name,
        )
    version = str(info.registered_model_version)
    client.set_model_version_tag(name, version, "checkpoint_sha256", digest)
    client.set_model_version_tag(name, version, "preset", params.preset)
    client.set_registered_model_alias(name, ALIAS, version)
    return version, True


def signature() -> Any:
    """One row per question: a video file as base64 with an expression, or with the box in its first frame, or both.

    `box` is xyxy normalised to [0, 1]. The answer is JSON text: one such box, or null where the object is absent, per
    frame of the video.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array

    inputs = Schema(
        [
            ColSpec(DataType.string, "video"),
            ColSpec(DataType.string, "expression", required=False),
            ColSpec(Array(DataType.double), "box", required=False),
        ]
    )
    return ModelSignature(inputs=inputs, outputs=Schema([ColSpec(DataType.string, "boxes")]))


def folder_hash(folder: Path) -> str:
    """SHA-256 over the names and contents of all files below a folder."""
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            total.update(f"{path.relative_to(folder)}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def _champion(client: Any, name: str) -> Any | None:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(name, ALIAS)
    except MlflowException:  # no such model, or no such alias yet
        return None
