"""The served model: uploads in, boxes out; and a registered model found by its address."""

import base64
import json
from functools import partial
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow.pyfunc import PythonModelContext

from elysium.data.video import read_frames, write_video
from elysium.errors import UserError
from elysium.inference.clips import track_videos
from elysium.inference.engine import Query
from elysium.mlops import registry
from elysium.mlops.pyfunc import AT_ONCE, ElysiumModel
from elysium.model.loading import find_model
from tests.model.tiny import frames


@pytest.fixture(scope="module")
def served(checkpoint: Path) -> ElysiumModel:
    model = ElysiumModel()
    model.load_context(PythonModelContext({"checkpoint": str(checkpoint)}, None))
    return model


def upload(path: Path, n: int, seed: int) -> str:
    write_video(path, frames(n, seed=seed), 10)
    return base64.b64encode(path.read_bytes()).decode()


def test_rows_are_answered_as_the_engine_would(served: ElysiumModel, tmp_path: Path) -> None:
    box = (0.2, 0.3, 0.6, 0.7)
    rows = [
        {"video": upload(tmp_path / "a.mp4", 3, 1), "expression": "red ball", "box": None},
        {"video": upload(tmp_path / "b.mp4", 5, 2), "expression": None, "box": list(box)},
    ]
    told = [json.loads(text) for text in served.predict(None, pd.DataFrame(rows))["boxes"]]
    videos = [read_frames(tmp_path / name)[0] for name in ("a.mp4", "b.mp4")]
    wanted = track_videos(served.engine.track, videos, [Query(expression="red ball"), Query(box=box)])
    assert [[b and tuple(b) for b in row] for row in told] == wanted


def test_a_table_of_videos_is_answered_row_by_row(served: ElysiumModel, tmp_path: Path) -> None:
    """More videos than go together, one of them asked about three times, and an index that does not count from 0."""
    videos = [upload(tmp_path / f"{i}.mp4", 2 + i % 2, i) for i in range(AT_ONCE + 1)]
    rows = [{"video": video, "expression": "red ball"} for video in videos]
    rows += [{"video": videos[0], "expression": name} for name in ("blue star", "red ball")]
    looked: list[int] = []
    tower = served.engine.model.vision_tower
    hook = tower.register_forward_pre_hook(lambda module, inputs: looked.append(len(inputs[0])))
    told = served.predict(None, pd.DataFrame(rows, index=range(100, 100 + len(rows))))
    hook.remove()
    assert list(told.index) == list(range(100, 100 + len(rows)))
    assert [len(json.loads(text)) for text in told["boxes"]] == [2 + i % 2 for i in range(AT_ONCE + 1)] + [2, 2]
    assert told["boxes"].iloc[0] == told["boxes"].iloc[-1]
    assert sum(looked) == sum(2 + i % 2 for i in range(AT_ONCE + 1)), "a video was looked at more than once"
    alone = [served.predict(None, pd.DataFrame([row]))["boxes"][0] for row in (rows[3], rows[-2])]
    assert alone == [told["boxes"].iloc[3], told["boxes"].iloc[-2]]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"video": "../../etc/passwd", "expression": "ball"}, "row 0: the video is not base64"),
        ({"video": "", "expression": "ball"}, "row 0: the file is empty"),
        ({"video": base64.b64encode(b"no video").decode(), "expression": "ball"}, "row 0: not a readable video"),
        ({"video": "", "expression": " "}, "row 0: give an expression, or a box"),
        ({"video": "", "box": [0.5, 0.1, 0.2, 0.3]}, "row 0: box 0.5,0.1,0.2,0.3: needs 0 <= x1 < x2"),
        ({"video": "", "box": [0.5, 0.1]}, "row 0: .* a box is four numbers"),
    ],
)
def test_bad_rows_are_named(row: dict, said: str, served: ElysiumModel) -> None:
    with pytest.raises(UserError, match=said):
        served.predict(None, pd.DataFrame([row]))


def test_a_registered_model_is_found_by_its_address(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    request.addfinalizer(partial(mlflow.set_tracking_uri, mlflow.get_tracking_uri()))
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    with mlflow.start_run(experiment_id=mlflow.create_experiment("elsewhere")):  # another test may have left one active
        mlflow.pyfunc.log_model(
            name="model",
            python_model=str(Path(registry.__file__).with_name("pyfunc.py")),
            artifacts={"checkpoint": str(checkpoint)},
            signature=registry.signature(),
            pip_requirements=["torch"],
            registered_model_name="elysium",
        )
    mlflow.MlflowClient().set_registered_model_alias("elysium", registry.ALIAS, "1")
    folder = find_model(f"models:/elysium@{registry.ALIAS}")
    assert (folder / "model.safetensors").read_bytes() == (checkpoint / "model.safetensors").read_bytes()
    with pytest.raises(UserError, match="nobody"):
        find_model("models:/nobody@champion")
