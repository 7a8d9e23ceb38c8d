"""The model as MLflow serves it: `mlflow.pyfunc.load_model("models:/elysium@champion")` or `mlflow models serve`.

This file is logged as code (MLflow's "models from code"): it runs when the model is loaded.
"""

import base64
import binascii
import json
import tempfile
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel

from elysium.data.video import probe
from elysium.errors import UserError


class ElysiumModel(PythonModel):
    """Tracks by expression or by box; the columns are those of `elysium.mlops.registry.signature`."""

    def load_context(self, context: Any) -> None:
        from elysium.inference.engine import Engine

        self.engine = Engine.from_pretrained(context.artifacts["checkpoint"])

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """One row of JSON boxes per row of input. Raises UserError naming the row that is not a question or a video."""
        from elysium.inference.clips import track_streams
        from elysium.inference.commands import Stream, make_query

        with tempfile.TemporaryDirectory() as folder:
            videos, queries = [], []
            for number, row in enumerate(model_input.to_dict("records")):
                expression, box = row.get("expression"), row.get("box")
                expression = expression if isinstance(expression, str) and expression.strip() else None
                box = [float(v) for v in box] if isinstance(box, list | tuple) or hasattr(box, "shape") else None
                path = Path(folder) / str(number)
                try:
                    queries.append([make_query(expression, box)])
                    path.write_bytes(_content(row["video"]))
                    probe(path)
                except UserError as error:
                    raise UserError(f"row {number}: {str(error).removeprefix(f'{path}: ')}") from error
                videos.append(Stream(path, self.engine))
            found = track_streams(self.engine.follow_many, videos, queries)
        return pd.DataFrame({"boxes": [json.dumps(trajectory.boxes) for (trajectory,) in found]})


def _content(text: str) -> bytes:
    """The bytes of a video; nothing but base64 is taken, a path or an address least of all."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise UserError(f"the video is not base64 ({error})") from error


mlflow.models.set_model(ElysiumModel())
