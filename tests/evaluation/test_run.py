"""The stage `evaluate` from shards to tables, with a model that works by colour."""

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import yaml

from elysium.config import Params
from elysium.data.shards import write_shards
from elysium.data.video import probe
from elysium.errors import UserError
from elysium.evaluation import ope
from elysium.evaluation.items import boxes_px, load_items
from elysium.evaluation.run import evaluate_model, run, score
from elysium.evaluation.score import score_set
from tests.evaluation.colour_model import ColourModel
from tests.evaluation.conftest import scene, write_scenes

TRACKING_TASKS = ["rec", "sot", "rsot"]  # without captions: no Java process


def tracking(params: Params, **changes: object) -> Params:
    return replace(params, eval=replace(params.eval, tasks=TRACKING_TASKS, **{"csrt": False, **changes}))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Params, Path]:
    """The parameters and the output of one evaluation, to look at."""
    root = tmp_path_factory.mktemp("evaluation")
    params = tracking(write_scenes(root), csrt=True, frames=10)
    evaluate_model(ColourModel(), "hash", params, root / "out")
    return params, root / "out"


def test_a_good_tracker_beats_the_baselines_in_one_table(done: tuple[Params, Path]) -> None:
    out = done[1]
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["world/sot/auc"] > 85 and metrics["world/rsot/auc"] > 85
    assert metrics["world/sot/margin"] > 20
    assert metrics["world/rec/acc50"] == 100
    assert metrics["world/rsot/follows_words"] == 100
    assert metrics["world/sot/auc_low"] <= metrics["world/sot/auc"] <= metrics["world/sot/auc_high"]
    assert {"world/sot/held/auc", "world/sot/csrt/auc", "world/rsot/held/auc", "world/rsot/per_frame/auc"} <= set(
        metrics
    )
    with (out / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["task"], r["method"]) for r in rows] == [
        ("rec", "elysium"), ("sot", "elysium"), ("sot", "held"), ("sot", "csrt"),
        ("rsot", "elysium"), ("rsot", "held"), ("rsot", "per_frame"), ("rsot", "csrt"),
    ]  # fmt: skip
    # Started at the box that REC finds in frame 1, which is right here, CSRT follows as from the given one.
    assert metrics["world/rsot/csrt/auc"] == pytest.approx(metrics["world/sot/csrt/auc"], abs=15)
    assert metrics["world/rsot/csrt/auc"] > metrics["world/rsot/held/auc"]
    table = (out / "results.md").read_text()
    assert "frame 1 held still" in table and "curated: not evaluated, because" in table
    report = (out / "report.html").read_text()
    assert "MiniGPT-v2 on each frame" in report and "AUC by object size" in report


def test_rec_asks_of_a_picture_only_what_it_answers(tmp_path: Path) -> None:
    """Neither words of motion nor a hidden object; a model that never finds those loses nothing by it."""
    known = scene("eval-000000", 4, ["red", "green"])
    moving = replace(known.objects[1], expression="green box moving right")
    visible = [[1.0, 1.0, 0.2, 1.0], [1.0] * 4]
    record = replace(known, objects=(known.objects[0], moving), metadata={"visible": visible})
    write_shards(tmp_path, "eval", [record], per_shard=1)
    items = load_items(tmp_path)
    assert [i.answerable for i in items] == [(True, True, False, True), (False,) * 4]
    lines = [
        {"video": i.video, "frames": i.frames, "truth": i.boxes, "answerable": i.answerable,
         "boxes": [box if asked else None for box, asked in zip(i.boxes, i.answerable, strict=True)]}
        for i in items
    ]  # fmt: skip
    [row] = score_set("world", {"frames": lines}, ["rec"], None).rows
    assert (row["n"], row["acc50"]) == (3, 100)
    assert score_set("world", {"frames": lines[1:]}, ["rec"], None).rows == []


def test_truth_is_the_raw_annotation(done: tuple[Params, Path]) -> None:
    """The stored truth equals the shard's boxes to the last digit, and scoring it against itself is perfect."""
    params, out = done
    items = {i.id: i for i in load_items(Path(params.artifacts) / "world", frames=10)}
    lines = [json.loads(line) for line in (out / "predictions/world_rsot.jsonl").read_text().splitlines()]
    assert len(lines) == len(items) == 6
    for line in lines:
        truth = [None if b is None else tuple(b) for b in line["truth"]]
        assert tuple(truth) == items[line["id"]].boxes
        px = boxes_px(line["truth"], line["frame_size"])
        assert ope.evaluate(px, px).precision_curve[0] == 1.0


def test_dvc_shows_the_figures_and_the_curves(done: tuple[Params, Path], tmp_path: Path) -> None:
    """`dvc metrics show` and `dvc plots show` on the outputs, with the sections of the project's own dvc.yaml."""
    sections = yaml.safe_load((Path(__file__).parents[2] / "dvc.yaml").read_text())
    shown = {key: sections[key] for key in ("metrics", "plots")}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(shown))
    shutil.copytree(done[1], tmp_path / "artifacts/evaluate")

    def dvc(*arguments: str) -> str:
        command = [sys.executable, "-m", "dvc", *arguments]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    dvc("init", "--no-scm", "--quiet")
    (found,) = [data for data in json.loads(dvc("metrics", "show", "--json")).values()]
    (metrics,) = [entry["data"] for entry in found["data"].values()]
    assert metrics == json.loads((done[1] / "metrics.json").read_text())
    dvc("plots", "show", "--out", "page")
    page = (tmp_path / "page/index.html").read_text()
    for name in ("success_world_rsot.png", "precision_world_sot.png"):
        assert name in page


def test_absent_frames_are_left_out_and_counted_nowhere(done: tuple[Params, Path]) -> None:
    scores = score(done[1])["world"]
    lines, results = scores.items["rsot", "elysium"], scores.sequences["rsot", "elysium"]
    by_id = {line["id"]: r for line, r in zip(lines, results, strict=True)}
    assert (by_id["eval-000002/0"].n_frames, by_id["eval-000002/0"].n_missing) == (6, 0)
    assert by_id["eval-000002/0"].average_overlap > 0.85


def test_plots_videos_and_sheets_are_written(done: tuple[Params, Path]) -> None:
    out = done[1]
    for kind in ("success", "precision", "norm_precision"):
        image = cv2.imread(str(out / f"plots/{kind}_world_rsot.png"))
        assert image is not None and image.std() > 5
        lines = (out / f"plots/{kind}_world_rsot.csv").read_text().splitlines()
        assert len(lines) == 1 + 4 * (21 if kind == "success" else 51)
    videos, sheets = sorted(out.glob("videos/*.mp4")), sorted(out.glob("videos/*.png"))
    assert len(videos) == len(sheets) == 2
    report = (out / "report.html").read_text()
    places = [report.index(f"videos/{sheet.name}") for sheet in sheets]
    assert places == sorted(places) and all("(AUC" not in sheet.name for sheet in sheets)
    assert {probe(v).n_frames for v in videos} <= {8, 10}
    assert probe(videos[0]).height >= 360


def test_what_is_there_is_not_computed_again(scenes: Params, tmp_path: Path) -> None:
    out, params = tmp_path / "out", tracking(scenes, frames=4, render=0, csrt=True)
    evaluate_model(ColourModel(), "hash", params, out)
    before = (out / "metrics.json").read_bytes()
    csrt = (out / "predictions/world_csrt.jsonl").stat()
    (out / "predictions/world_rsot.jsonl").unlink()

    again = ColourModel()
    evaluate_model(again, "hash", params, out)
    assert {kind for kind, _ in again.calls} == {"track"}
    assert (out / "metrics.json").read_bytes() == before

    other = ColourModel()
    evaluate_model(other, "another hash", params, out)
    assert {kind for kind, _ in other.calls} == {"track", "locate"}
    assert (out / "predictions/world_csrt.jsonl").stat().st_mtime_ns == csrt.st_mtime_ns  # it knows no model


def test_scoring_alone_gives_the_same_figures(done: tuple[Params, Path], tmp_path: Path) -> None:
    out = done[1]
    made = {name: (out / name).read_bytes() for name in ("metrics.json", "results.csv", "results.md", "report.html")}
    for name in made:
        (out / name).unlink()
    score(out)
    assert {name: (out / name).read_bytes() for name in made} == made
    with pytest.raises(UserError, match="no predictions to score"):
        score(tmp_path / "elsewhere")


def test_clips_go_to_the_model_in_batches(scenes: Params, tmp_path: Path) -> None:
    """Six sequences in chunks of 4 and 2; those of 40 frames in 6 rounds of clips."""
    model = ColourModel()
    params = replace(scenes, eval=replace(scenes.eval, tasks=["sot"], csrt=False))
    evaluate_model(model, "hash", params, tmp_path / "out")
    tracked = [n for kind, n in model.calls if kind == "track"]
    assert max(tracked) == 4
    assert sum(tracked) == 3 + 3 * 6
    # Sequences of 8 and 40 frames: AUC by length is drawn and stands in the report.
    drawn = cv2.imread(str(tmp_path / "out/plots/groups_world_sot.png"))
    assert drawn is not None and drawn.std() > 5
    assert "groups_world_sot.png" in (tmp_path / "out/report.md").read_text()


def test_a_model_is_shown_as_many_frames_at_once_as_it_takes(scenes: Params, tmp_path: Path) -> None:
    """A model that takes 7 sees three sequences of 8 in clips of 4: three rounds, and 13 for those of 40."""
    model = ColourModel(max_frames=7)
    params = replace(scenes, eval=replace(scenes.eval, tasks=["sot"], csrt=False, clip=4))
    evaluate_model(model, "hash", params, tmp_path / "out")
    assert sum(n for kind, n in model.calls if kind == "track") == 3 * 3 + 3 * 13


def test_fewer_frames_and_videos_on_request(scenes: Params) -> None:
    world = Path(scenes.artifacts) / "world"
    assert {len(i.frames) for i in load_items(world, frames=5)} == {5}
    assert {i.video for i in load_items(world, limit=1)} == {"eval-000000"}
    long = next(i for i in load_items(world, frames=4) if i.video == "eval-000001")
    assert long.frames == (0, 13, 26, 39)
    assert len(long.pixels) == len(long.times) == 4


def test_bad_requests_say_what_is_wrong(scenes: Params, tmp_path: Path) -> None:
    wrong = replace(scenes, eval=replace(scenes.eval, tasks=["sott"]))
    with pytest.raises(UserError, match="'sott' is not a task"):
        evaluate_model(ColourModel(), "hash", wrong, tmp_path / "out")
    with pytest.raises(UserError, match="no held-out video"):
        evaluate_model(
            ColourModel(), "hash", replace(tracking(scenes), artifacts=str(tmp_path / "no")), tmp_path / "out"
        )
    with pytest.raises(UserError, match="no such model"):
        run(tracking(scenes), tmp_path / "out")
