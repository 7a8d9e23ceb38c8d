"""Videos of every odd kind among good ones: the good ones are all there, each bad one has its line."""

import json
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from elysium.boxes import as_array, iou
from elysium.config import CurationInput, CurationParams
from elysium.curation.filters import filter_shot
from elysium.curation.grounding import load_grounder
from elysium.curation.pipeline import discarded, run
from elysium.curation.trackers import load_tracker
from elysium.data.scenes import draw_scene
from elysium.data.shards import read_records
from elysium.data.video import write_video
from elysium.errors import UserError

PARAMS = CurationParams(workers=1, frame_size=96)
STAMPS = [0, 100, 150, 200, 400, 410, 600, 700, 900, 1000, 1300, 1400, 1450, 1500]  # thousandths of a second
BAD = {
    "audio-only.mp4": "no video stream (audio only?)",
    "empty.mp4": "the file is empty",
    "noise.mp4": "not a readable video",
    "not-there.mp4": "no such video file",
    "over-8k.mp4": "more than 40 million pixels a frame",
}


def _lone_thing():
    """Frames, name and true boxes `[14, 4]` of one thing that the whole pipeline keeps."""
    for seed in range(200):
        scene = draw_scene(np.random.default_rng([11, seed]), 14, 160, 1)
        boxes, thing = scene.boxes[0], scene.things[0]
        if None in boxes or min(scene.visible[0]) < 0.99 or thing.colour != "red" or abs(thing.velocity[0]) < 0.02:
            continue
        frames = list(scene.frames)
        if filter_shot(frames, [thing.name], load_grounder("shapes"), load_tracker("csrt"), PARAMS)[0]:
            return frames, thing.name, as_array(boxes)
    raise AssertionError("no seed draws a lone red thing that is kept")


def _encode(path, frames, stamps, codec="libx264"):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, 1000)
        for image, stamp in zip(frames, stamps, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _turn_clockwise(path):
    """Write a quarter turn into the track header, as a phone held upright does."""
    data = path.read_bytes()
    one, minus = (1 << 16).to_bytes(4, "big"), ((1 << 32) - (1 << 16)).to_bytes(4, "big")
    zero, last = bytes(4), (1 << 30).to_bytes(4, "big")
    identity, turned = one + zero * 3 + one + zero * 3 + last, zero + one + zero + minus + zero * 4 + last
    at = data.index(identity, data.index(b"tkhd"))
    path.write_bytes(data[:at] + turned + data[at + len(identity) :])


@pytest.fixture(scope="module")
def curated(tmp_path_factory):
    """The output folder of good and bad videos, the name of the thing in them, its true boxes."""
    raw, out = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("out")
    frames, name, truth = _lone_thing()
    write_video(raw / "good.mp4", frames, 10)
    write_video(raw / "rotated.mp4", [np.rot90(frame) for frame in frames], 10)
    _turn_clockwise(raw / "rotated.mp4")
    _encode(raw / "variable.mp4", frames, STAMPS)
    large = [cv2.resize(frame[:90], (7680, 4320)) for frame in frames[:5]]
    _encode(raw / "eight-k.mp4", large, STAMPS[:5], "mpeg4")
    _encode(raw / "over-8k.mp4", [np.zeros((7680, 7680, 3), np.uint8)], [0], "mpeg4")
    _sound(raw / "audio-only.mp4")
    (raw / "empty.mp4").touch()
    (raw / "noise.mp4").write_bytes(b"\x00\x00\x00\x18ftypmp42" + bytes(range(256)) * 8)
    names = ["good.mp4", "rotated.mp4", "variable.mp4", "eight-k.mp4", *BAD]
    lines = (json.dumps({"video": video, "captions": [f"A {name} moves over a floor."]}) for video in names)
    (raw / "captions.jsonl").write_text("\n".join(lines))
    source = CurationInput(str(raw), str(raw / "captions.jsonl"), "shapes")
    counts = run(CurationParams(inputs={"odd": source}, workers=1, frame_size=96), out, progress=False)
    return out, counts, name, truth


def test_the_good_ones_are_all_there_with_boxes_in_display_orientation(curated):
    out, counts, name, truth = curated
    records = {r.metadata["video"]: r for r in read_records(out, "train")}
    assert {"good.mp4", "rotated.mp4", "variable.mp4"} <= set(records)
    for video in ("good.mp4", "rotated.mp4", "variable.mp4"):
        (track,) = records[video].objects
        assert track.expression == name
        assert iou(as_array(track.boxes), truth).mean() >= 0.7
        picture = cv2.imdecode(np.frombuffer(records[video].frames[0], np.uint8), cv2.IMREAD_COLOR)
        x, y = (int(v * 96) for v in ((truth[0, 0] + truth[0, 2]) / 2, (truth[0, 1] + truth[0, 3]) / 2))
        assert picture[y, x, 2] > 150 > picture[y, x, 0]  # red is where the box is
    assert records["variable.mp4"].frame_times == pytest.approx([t / 1000 for t in STAMPS])
    assert counts["videos"] == 4 and counts["frames"] >= 3 * 14 + 5  # the one of 8K was decoded and judged


def test_each_bad_one_has_its_line(curated):
    out, counts, _, _ = curated
    rows = [json.loads(line) for line in (out / "quarantine.jsonl").read_text().splitlines()]
    assert {row["video"] for row in rows} == set(BAD)
    assert len(rows) == counts["videos_unreadable"] == len(BAD)
    assert all(BAD[row["video"]] in row["reason"] for row in rows)
    page = (out / "report" / "report.html").read_text()
    assert all(video in page for video in BAD)


def test_the_log_can_be_asked(curated):
    out, _, _, _ = curated
    assert [row["video"] for row in discarded(out, at="quarantine", video="8k")] == ["over-8k.mp4"]
    floors = discarded(out, phrase="FLOOR", video="good")
    assert [row["phrase"] for row in floors] == ["floor"] and floors[0]["filter"] in (
        "grounding_first",
        "caption_virtual",
    )
    with pytest.raises(UserError, match=r"no discarded\.jsonl"):
        discarded(out / "nothing")
