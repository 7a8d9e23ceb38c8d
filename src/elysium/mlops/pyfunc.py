"""The model as MLflow serves it: `mlflow.pyfunc.load_model("models:/elysium@champion")` or `mlflow models serve`.

This file is logged as code (MLflow's "models from code"): it runs when the model is loaded.
"""

import base64
import binascii
import hashlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel

from elysium.data.video import probe
from elysium.errors import UserError

if TYPE_CHECKING:
    from elysium.inference.engine import Query

AT_ONCE = 16  # videos that are tracked together


class ElysiumModel(PythonModel):
    """Tracks by expression or by box; the columns are those of `elysium.mlops.registry.signature`."""

    def load_context(self, context: Any) -> None:
        from elysium.inference.engine import Engine

        self.engine = Engine.from_pretrained(context.artifacts["checkpoint"])

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """One row of JSON boxes per row of input, which may be a table of many videos.

        Rows about the same video share its decoding, its vision pass and its prefill; `AT_ONCE` videos go together, so
        memory does not grow with the table. Raises UserError naming the row that is not a question or a video, before
        any is answered.
        """
        from elysium.inference.clips import track_streams
        from elysium.inference.commands import Stream, make_query

        with tempfile.TemporaryDirectory() as folder:
            asked: dict[Path, list[tuple[int, Query]]] = {}
            for number, row in enumerate(model_input.to_dict("records")):
                expression, box = row.get("expression"), row.get("box")
                expression = expression if isinstance(expression, str) and expression.strip() else None
                box = [float(v) for v in box] if isinstance(box, list | tuple) or hasattr(box, "shape") else None
                path = Path(folder)
                try:
                    query = make_query(expression, box)
                    content = _content(row["video"])
                    path /= hashlib.sha256(content).hexdigest()
                    if path not in asked:
                        path.write_bytes(content)
                        probe(path)
                except UserError as error:
                    raise UserError(f"row {number}: {str(error).removeprefix(f'{path}: ')}") from error
                asked.setdefault(path, []).append((number, query))
            told = [""] * len(model_input)
            paths = list(asked)
            for start in range(0, len(paths), AT_ONCE):
                some = paths[start : start + AT_ONCE]
                streams = [Stream(path, self.engine) for path in some]
                queries = [[query for _, query in asked[path]] for path in some]
                found = track_streams(self.engine.follow_many, streams, queries, max_frames=self.engine.max_frames)
                for path, trajectories in zip(some, found, strict=True):
                    for (number, _), trajectory in zip(asked[path], trajectories, strict=True):
                        told[number] = json.dumps(trajectory.boxes)
        return pd.DataFrame({"boxes": told}, index=model_input.index)


def _content(text: str) -> bytes:
    """The bytes of a video; nothing but base64 is taken, a path or an address least of all."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise UserError(f"the video is not base64 ({error})") from error


mlflow.models.set_model(ElysiumModel())
