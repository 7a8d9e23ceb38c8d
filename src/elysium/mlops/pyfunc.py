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

from elysium.errors import UserError


class ElysiumModel(PythonModel):
    """Tracks by expression or by box; the columns are those of `elysium.mlops.registry.signature`."""

    def load_context(self, context: Any) -> None:
        from elysium.inference.engine import Engine

        self.engine = Engine.from_pretrained(context.artifacts["checkpoint"])

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """One row of JSON boxes per row of input. Raises UserError naming the row that is not a question."""
        from elysium.inference.clips import track_videos
        from elysium.inference.engine import Query

        videos, queries = [], []
        for number, row in enumerate(model_input.to_dict("records")):
            expression, box = row.get("expression"), row.get("box")
            expression = expression if isinstance(expression, str) and expression.strip() else None
            box = tuple(map(float, box)) if isinstance(box, list | tuple) or hasattr(box, "shape") else None
            if (expression is None and box is None) or (box is not None and len(box) != 4):
                raise UserError(f"row {number}: give an expression, or a box of four numbers x1, y1, x2, y2 in [0, 1]")
            videos.append(_decode(row["video"], number))
            queries.append(Query(expression=expression, box=box))
        tracks = track_videos(self.engine.track, videos, queries)
        return pd.DataFrame({"boxes": [json.dumps(track) for track in tracks]})


def _decode(text: str, number: int) -> list[Any]:
    from elysium.data.video import read_frames

    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise UserError(f"row {number}: the video is not base64 ({error})") from error
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video"
        path.write_bytes(content)
        return read_frames(path)[0]


mlflow.models.set_model(ElysiumModel())
