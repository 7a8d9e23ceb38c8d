"""The whole curation on rendered videos: what is kept is right, and nothing is lost, torn or counted twice."""

import json
import random
import shutil
import time
from collections import Counter
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from elysium.boxes import as_array, iou
from elysium.config import CurationInput, CurationParams
from elysium.curation.annotations import read_annotations
from elysium.curation.captions import noun_chunks
from elysium.curation.estimate import Estimate, estimate
from elysium.curation.pipeline import curate_folder, run
from elysium.curation.report import funnel_rows
from elysium.curation.report import write as write_report
from elysium.curation.videos import is_eval
from elysium.data.shards import read_records
from elysium.data.video import read_frames, write_video
from elysium.errors import UserError

PARAMS = CurationParams(workers=1, videos_per_shard=3, frame_size=96)


def _params(raw: Path, **changes: object) -> CurationParams:
    source = CurationInput(str(raw), str(raw / "captions.jsonl"), "shapes")
    return replace(PARAMS, inputs={"world": source}, **changes)  # type: ignore[arg-type]


def _bytes(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def folder(raw_world, tmp_path_factory):
    """The rendered videos, a corrupt one and one whose captions name nothing."""
    raw = tmp_path_factory.mktemp("videos")
    for path in raw_world.iterdir():
        shutil.copy(path, raw)
    (raw / "broken.mp4").write_bytes(b"\x00\x00\x00\x18ftypmp42" + bytes(range(256)) * 8)
    write_video(raw / "nameless.mp4", read_frames(raw / "world-00000.mp4")[0][::-1], 10)
    with open(raw / "captions.jsonl", "a") as file:
        file.write(json.dumps({"video": "broken.mp4", "captions": ["A red ball moves."]}) + "\n")
        file.write(json.dumps({"video": "nameless.mp4", "captions": ["Time and love.", ""]}) + "\n")
    return raw


@pytest.fixture(scope="module")
def curated(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("curated")
    counts = run(_params(folder), out, progress=False)
    return out, counts


def test_what_is_kept_is_right(curated, folder):
    out, counts = curated
    truth = {
        (row["video"], o["expression"]): o["boxes"]
        for row in map(json.loads, (folder / "truth.jsonl").read_text().splitlines())
        for o in row["objects"]
    }
    tracks = [(r, o) for r in read_records(out, "train") for o in r.objects]
    assert len(tracks) == counts["trajectories"] >= 2
    for record, track in tracks:
        boxes = truth[record.metadata["video"], track.expression]
        assert iou(as_array(track.boxes), as_array(boxes)).mean() >= 0.7
        assert record.frame_size == (160, 160)
        assert record.frame_times == pytest.approx([i / 10 for i in range(16)])


def test_every_item_is_kept_or_discarded_with_a_reason(curated):
    out, counts = curated
    discarded = [json.loads(line) for line in (out / "discarded.jsonl").read_text().splitlines()]
    assert all(row["why"] and row["filter"] and row["phrase"] for row in discarded)
    chunks = [row for row in discarded if row["filter"].startswith("caption_")]
    assert len(discarded) - len(chunks) + counts["trajectories"] == counts["candidates"]
    assert funnel_rows(counts)[-1][2] == counts["trajectories"]


def test_the_corrupt_video_is_quarantined_and_the_rest_goes_on(curated):
    out, counts = curated
    rows = [json.loads(line) for line in (out / "quarantine.jsonl").read_text().splitlines()]
    assert [row["video"] for row in rows] == ["broken.mp4"]
    assert counts["videos_unreadable"] == 1
    assert counts["videos"] == 7
    assert "broken.mp4" in (out / "report" / "report.html").read_text()


def test_the_report_has_its_parts(curated):
    out, counts = curated
    report = out / "report"
    assert {"report.html", "report.md", "funnel.png", "histograms.png", "reliability.png", "counts.json"} <= {
        p.name for p in report.iterdir()
    }
    assert list((report / "samples").glob("*.png"))
    for name in ("report.html", "report.md"):
        text = (report / name).read_text()
        assert "reliability.png" in text and "40 rendered videos, not on this input" in text
    table = json.loads((report / "counts.json").read_text())["table"]
    assert sum(row["trajectories"] for row in table) == counts["trajectories"]


def test_the_report_of_another_tracker_shows_no_reliability_of_csrt(tmp_path):
    for by_csrt in (True, False):
        write_report(tmp_path / "report", Counter(), {}, [], [], by_csrt)
        assert (tmp_path / "report" / "reliability.png").exists() is by_csrt
        assert ("reliability.png" in (tmp_path / "report" / "report.html").read_text()) is by_csrt


def test_reading_the_annotations_back_gives_the_same_data_set(curated):
    out, _ = curated
    expected = [replace(record, frames=()) for record in read_records(out, "train")]
    assert read_annotations(out / "annotations.jsonl") == expected
    row = json.loads((out / "annotations.jsonl").read_text().splitlines()[0])
    assert list(row) == [
        "source", "id", "vid", "metadata", "frames", "object_class", "box", "object_description", "frame_size",
    ]  # fmt: skip


def test_running_again_changes_nothing_and_a_changed_parameter_does(curated, folder, tmp_path):
    out, counts = curated
    shutil.copytree(out, tmp_path / "again")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "again").glob("*.tar")}
    assert run(_params(folder), tmp_path / "again", progress=False) == counts
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "again").glob("*.tar")} == before
    assert _bytes(tmp_path / "again") == _bytes(out)
    none = run(_params(folder, grounding_threshold=0.999999), tmp_path / "again", progress=False)
    assert none["trajectories"] < counts["trajectories"]


def test_killed_ten_times_and_started_again_gives_the_same_bytes(folder, tmp_path):
    params = _params(folder, videos_per_shard=1)
    whole, target = tmp_path / "whole", tmp_path / "killed"
    noun_chunks(["A dog."])  # a fork has spaCy loaded already
    start = time.perf_counter()
    run(params, whole, progress=False)
    took = time.perf_counter() - start
    noise = random.Random(0)
    unfinished = 0
    for _ in range(10):
        child = get_context("fork").Process(target=run, args=(params, target, False))
        child.start()
        child.join(noise.uniform(0.02, 0.15) * took)
        unfinished += child.exitcode is None and not (target / "annotations.jsonl").exists()
        child.kill()
        child.join()
    assert unfinished >= 3
    run(params, target, progress=False)
    assert _bytes(target) == _bytes(whole)


def test_two_workers_and_other_shards_give_the_same_set(curated, folder, tmp_path):
    out, counts = curated
    assert run(_params(folder, workers=2, videos_per_shard=4), tmp_path / "out", progress=False) == counts
    for name in ("annotations.jsonl", "discarded.jsonl", "quarantine.jsonl"):
        lines = [sorted((folder / name).read_text().splitlines()) for folder in (out, tmp_path / "out")]
        assert lines[0] == lines[1]
    assert list(read_records(out, "train")) == list(read_records(tmp_path / "out", "train"))


def test_an_estimate_times_a_sample_and_multiplies(folder):
    found = estimate(_params(folder), sample=4)
    assert (found.videos, found.frames % 16) == (4, 0) and found.frames >= 16
    assert found.seconds > 0 and found.core_seconds > 0
    measured, total = Estimate(4, 100, 2, seconds=8.0, core_seconds=10.0).lines(1_000_000, 8)
    assert "0.50 videos/s, 12.5 frames/s (10.0 a core, 1.2 cores at work), 0.50 trajectories a video" in measured
    assert "1,000,000 videos on 8 GPUs" in total and "69.4 hours (23.1 GPU-days)" in total
    assert "about 500,000 trajectories (22,000 a GPU-day)" in total


def test_an_unknown_runner_is_one_clear_error(folder, tmp_path):
    with pytest.raises(UserError, match="choose one of local, ray"):
        run(_params(folder, runner="slurm"), tmp_path / "out")


def test_bad_input_is_one_clear_error(folder, tmp_path):
    with pytest.raises(UserError, match="no such caption file"):
        curate_folder(folder, tmp_path / "none.jsonl", tmp_path / "out")
    with pytest.raises(UserError, match="no such folder"):
        curate_folder(tmp_path / "none", folder / "captions.jsonl", tmp_path / "out")
    (tmp_path / "bad.jsonl").write_text('{"video": "a.mp4", "captions": ["x"]}\n{"video": 3}\n')
    with pytest.raises(UserError, match=r"bad.jsonl:2"):
        curate_folder(folder, tmp_path / "bad.jsonl", tmp_path / "out")
    with pytest.raises(UserError, match="grounding 'none' is not known"):
        curate_folder(folder, folder / "captions.jsonl", tmp_path / "out", grounding="none")
    with pytest.raises(UserError, match="inputs is empty"):
        run(PARAMS, tmp_path / "out")


def test_the_split_keeps_a_source_together_at_the_asked_share():
    names = [f"source-{i}" for i in range(4000)]
    assert np.mean([is_eval(name, 0.2) for name in names]) == pytest.approx(0.2, abs=0.03)
    assert not any(is_eval(name, 0.0) for name in names)
    assert all(is_eval(name, 1.0) for name in names)


def test_a_trajectory_never_crosses_a_cut(raw_world, tmp_path):
    first, second = (read_frames(raw_world / f"world-0000{i}.mp4")[0] for i in (0, 1))
    write_video(tmp_path / "joined.mp4", first + second, 10)
    captions = {
        row["video"]: row["captions"]
        for row in map(json.loads, (raw_world / "captions.jsonl").read_text().splitlines())
    }
    both = captions["world-00000.mp4"] + captions["world-00001.mp4"]
    (tmp_path / "captions.jsonl").write_text(json.dumps({"video": "joined.mp4", "captions": both}) + "\n")
    out = tmp_path / "out"
    counts = curate_folder(tmp_path, tmp_path / "captions.jsonl", out, PARAMS, grounding="shapes")
    assert counts["shots"] == 2
    for line in (out / "annotations.jsonl").read_text().splitlines():
        row = json.loads(line)
        start = 1.6 * row["metadata"]["record"]["shot"]
        assert len(row["box"]) == 16
        assert row["metadata"]["frame_times"][0] == pytest.approx(start)
