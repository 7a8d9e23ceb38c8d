"""ElysiumTrack's released form written and read back, and the review of the evaluation split."""

import json
import urllib.error
import urllib.request

import cv2
import numpy as np
import pytest

from elysium.curation.release import export_elysiumtrack, import_elysiumtrack
from elysium.curation.review import Review, apply_review, running
from elysium.data.scenes import draw_scene
from elysium.data.shards import read_records, write_shards
from elysium.errors import UserError
from elysium.samples import ObjectTrack, VideoRecord


def _record(seed: int, split: str) -> VideoRecord:
    scene = draw_scene(np.random.default_rng([21, seed]), 6, 64, 2)
    return VideoRecord(
        key=f"world-{seed}-s000",
        source=f"clip{seed}.mp4",
        frame_size=(64, 64),
        frame_times=tuple(f / 10 for f in range(6)),
        objects=tuple(
            ObjectTrack(t.name, b, t.shape) for t, b in zip(scene.things, scene.boxes, strict=True) if any(b)
        ),
        captions=("A caption.",),
        metadata={"split": split, "video": f"clip{seed}.mp4", "input": "world", "shot": 0},
        frames=tuple(cv2.imencode(".jpg", f)[1].tobytes() for f in scene.frames),
    )


@pytest.fixture(scope="module")
def data_set(tmp_path_factory):
    """A folder of shards: two videos to train on, three to evaluate on."""
    folder = tmp_path_factory.mktemp("set")
    write_shards(folder, "train", [_record(i, "train") for i in range(2)], 8)
    write_shards(folder, "eval", [_record(i, "eval") for i in range(2, 5)], 8)
    return folder


def test_exported_and_imported_is_the_same_data_set(data_set, tmp_path):
    lines = export_elysiumtrack(data_set, tmp_path / "out")
    assert lines == sum(len(record.objects) for record in read_records(data_set))
    row = json.loads((tmp_path / "out" / "annotations.jsonl").read_text().splitlines()[0])
    assert (tmp_path / "out" / row["frames"][5]).is_file()
    (tmp_path / "out" / "frames" / "world-3-s000" / "0002.jpg").unlink()
    count, left_out = import_elysiumtrack(tmp_path / "out" / "annotations.jsonl", tmp_path / "out", tmp_path / "back")
    assert count == 4 and left_out == ["world-3-s000: frames/world-3-s000/0002.jpg is missing"]
    assert list(read_records(tmp_path / "back", "train")) == list(read_records(data_set, "train"))
    evaluation = [r for r in read_records(data_set, "eval") if r.key != "world-3-s000"]
    assert list(read_records(tmp_path / "back", "eval")) == evaluation


def test_the_released_form_without_our_metadata_is_read(data_set, tmp_path):
    record = next(read_records(data_set, "train"))
    (tmp_path / "0.jpg").write_bytes(record.frames[0])
    row = {"source": "webvid", "id": 7, "vid": "00/1.2", "metadata": "none", "frames": ["0.jpg"], "object_class": None,
           "box": [[0.1, 0.2, 0.3, 0.4]], "object_description": "a dog", "frame_size": [64, 48]}  # fmt: skip
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    assert import_elysiumtrack(tmp_path / "a.jsonl", tmp_path, tmp_path / "out") == (1, [])
    (read,) = read_records(tmp_path / "out", "train")
    assert read.objects == (ObjectTrack("a dog", ((0.1, 0.2, 0.3, 0.4),)),)
    assert (read.source, read.frame_size, read.key[:6]) == ("webvid", (64, 48), "00-1-2")

    (tmp_path / "b.jsonl").write_text(json.dumps({**row, "frames": ["../x.jpg"]}))
    with pytest.raises(UserError, match="outside"):
        import_elysiumtrack(tmp_path / "b.jsonl", tmp_path, tmp_path / "out")
    (tmp_path / "c.jsonl").write_text(json.dumps(row) + "\n" + json.dumps({**row, "box": []}))
    with pytest.raises(UserError, match=r"c\.jsonl:2"):
        import_elysiumtrack(tmp_path / "c.jsonl", tmp_path, tmp_path / "out")


def _post(url: str, body: object, **headers: str) -> int:
    request = urllib.request.Request(
        f"{url}/verdict", json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_verdicts_are_kept_and_applied(data_set, tmp_path):
    cases = [str(case["id"]) for case in Review(data_set).cases]
    with running(data_set) as url:
        assert url.startswith("http://127.0.0.1:")
        picture = urllib.request.urlopen(f"{url}/picture/{cases[0]}").read()
        assert cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR) is not None
        assert _post(url, {"id": cases[0], "verdict": "accept"}) == 200
        assert _post(url, {"id": cases[0], "verdict": "reject"}) == 200  # a change of mind
        assert _post(url, {"id": cases[1], "verdict": "accept"}) == 200
        assert _post(url, {"id": "no such case", "verdict": "accept"}) == 400
        assert _post(url, {"id": cases[1], "verdict": "perhaps"}) == 400
        assert _post(url, {"id": cases[1], "verdict": "reject"}, Host="evil.example:80") == 403
        assert _post(url, {"id": cases[1], "verdict": "reject"}, **{"Content-Type": "text/plain"}) == 404
    assert Review(data_set).verdicts == {cases[0]: "reject", cases[1]: "accept"}
    counts = apply_review(data_set, tmp_path / "out")
    assert counts == {"accept": 1, "reject": 1, "undecided": len(cases) - 2}
    left = [f"{row['vid']}:{row['object_description']}" for row in
            map(json.loads, (tmp_path / "out" / "annotations.jsonl").read_text().splitlines())]  # fmt: skip
    everything = [f"{r.key}:{o.expression}" for r in read_records(data_set, "eval") for o in r.objects]
    assert left == everything[1:]
    assert sum(len(r.objects) for r in read_records(tmp_path / "out", "eval")) == len(left)


def test_a_folder_without_an_evaluation_split_is_one_clear_error(tmp_path):
    with pytest.raises(UserError, match=r"no shard eval\*\.tar"), running(tmp_path):
        pass
