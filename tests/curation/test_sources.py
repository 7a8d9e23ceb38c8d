"""Captioned videos in the forms that people have them in, repetitions found, clips cut by their times."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from elysium.config import CurationInput, CurationParams
from elysium.curation.shard import shots
from elysium.curation.sources import CaptionedVideo, read_captions
from elysium.curation.videos import plan
from elysium.data.scenes import draw_scene
from elysium.data.video import UnreadableVideo, read_frames, write_video
from elysium.errors import UserError


def _videos(folder: Path, *names: str) -> Path:
    """Files that hold their own name: enough where nothing is decoded."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def _read(folder: Path, captions: Path) -> list[tuple[str, tuple[str, ...], str, float, float | None]]:
    found = read_captions(CurationInput(str(folder), str(captions), "coco"))
    return [(v.name, v.captions, v.source, v.start, v.end) for v in found]


def _listing(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_json_lines_with_sources_and_times(tmp_path):
    rows = [
        {"video": "b.mp4", "captions": ["A dog.", "A cat."], "source": "film"},
        {"video": "a.mp4", "captions": ["A car."], "start": "0:00:08.875", "end": 16.9},
        {"video": "b.mp4", "captions": ["A cat.", "A cow."], "source": "film"},
    ]
    listing = _listing(tmp_path / "c.jsonl", "\n\n".join(map(json.dumps, rows)))
    assert _read(tmp_path, listing) == [
        ("a.mp4", ("A car.",), "a.mp4", 8.875, 16.9),
        ("b.mp4", ("A dog.", "A cat.", "A cow."), "film", 0.0, None),
    ]


def test_sidecar_texts(tmp_path):
    _videos(tmp_path, "a.mp4", "sub/b.webm", "alone.mp4", "note.pdf")
    _listing(tmp_path / "a.txt", "A red car.\n\n A road. \n")
    _listing(tmp_path / "sub" / "b.txt", "A dog.")
    _listing(tmp_path / "note.txt", "Not a video.")
    assert [row[:2] for row in _read(tmp_path, tmp_path)] == [
        ("a.mp4", ("A red car.", "A road.")),
        ("sub/b.webm", ("A dog.",)),
    ]


def test_csv_as_people_write_it_and_as_openvid_does(tmp_path):
    text = 'video,caption,aesthetic score,motion score,seconds\nx_0.mp4,"A man, in a hat.",5.1,2.0,4.2\n'
    assert _read(tmp_path, _listing(tmp_path / "openvid.csv", text)) == [
        ("x_0.mp4", ("A man, in a hat.",), "x_0.mp4", 0.0, None)
    ]
    text = "﻿video,caption,source,start,end\nx.mp4,A man.,film,1.5,3\nx.mp4,A dog.,film,3,\n"
    assert _read(tmp_path, _listing(tmp_path / "own.csv", text)) == [
        ("x.mp4", ("A man.",), "film", 1.5, 3.0),
        ("x.mp4", ("A dog.",), "film", 3.0, None),
    ]


def test_webvid(tmp_path):
    _videos(tmp_path, "000_049/21179416.mp4")
    text = (
        "videoid,contentUrl,duration,page_dir,name\n"
        "21179416,https://h/21179416.mp4,PT00H00M11S,000_049,Aerial shot of winter forest\n"
        "5629184,https://h/5629184.mp4,PT00H00M29S,000_050,A senior couple\n"
    )
    assert [row[:2] for row in _read(tmp_path, _listing(tmp_path / "webvid.csv", text))] == [
        ("000_049/21179416.mp4", ("Aerial shot of winter forest",)),
        ("5629184.mp4", ("A senior couple",)),
    ]


def test_panda_70m_gives_a_clip_per_time_range_of_one_source(tmp_path):
    text = (
        "videoID,url,timestamp,caption,matching_score\n"
        "abc,https://h/abc,\"[['0:00:13.640', '0:00:22.522'], ['0:01:00', '0:01:10.5']]\","
        '"[\'A man is riding a bike.\', ""A dog\'s bowl.""]","[0.4, 0.5]"\n'
    )
    assert _read(tmp_path, _listing(tmp_path / "panda.csv", text)) == [
        ("abc.mp4", ("A man is riding a bike.",), "abc.mp4", 13.64, 22.522),
        ("abc.mp4", ("A dog's bowl.",), "abc.mp4", 60.0, 70.5),
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "file,text\nx,y\n", r"a\.csv:1: expected a header"),
        ("a.csv", "video,caption,start,end\nx.mp4,A dog.,5,3\n", r"a\.csv:2: .*empty"),
        ("a.csv", "videoID,timestamp,caption\nx,\"[['0:1', '0:2']]\",\"[]\"\n", r"a\.csv:2: .*1 time ranges but 0"),
        ("a.csv", "videoID,timestamp,caption\nx,__import__('os'),[]\n", r"a\.csv:2"),
        ("a.csv", "video,caption\n", "no caption in it"),
        ("a.jsonl", '{"video": "x.mp4", "captions": "A dog."}\n', r"a\.jsonl:1"),
    ],
)
def test_a_wrong_listing_is_one_clear_error(tmp_path, name, text, message):
    with pytest.raises(UserError, match=message):
        _read(tmp_path, _listing(tmp_path / name, text))


def test_repeated_videos_and_captions_count_once_and_are_logged(tmp_path):
    _videos(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    shutil.copy(tmp_path / "a.mp4", tmp_path / "z.mp4")
    captions = {"a.mp4": ["A dog."], "b.mp4": ["a  DOG."], "c.mp4": ["A dog.", "A cat."], "z.mp4": ["A puppy."]}
    listing = _listing(
        tmp_path / "c.jsonl", "\n".join(json.dumps({"video": k, "captions": v}) for k, v in captions.items())
    )
    source = CurationInput(str(tmp_path), str(listing), "coco")
    params = CurationParams(inputs={"one": source, "two": source}, videos_per_caption=2)
    planned = plan(params)
    assert [(s.input_name, [(v.name, v.captions) for v in s.videos]) for s in planned.shards] == [
        ("one", [("a.mp4", ("A dog.", "A puppy.")), ("b.mp4", ("a  DOG.",)), ("c.mp4", ("A cat.",))])
    ]
    log = [(row["input"], row["video"], row["filter"], row["why"]) for row in planned.repeated]
    assert log[0] == ("one", "z.mp4", "video_repeated", "the same file as a.mp4 of one")
    assert log[1] == ("one", "c.mp4", "caption_of_other_videos", "caption of 2 videos before")
    assert [row[:3] for row in log[2:]] == [("two", f"{n}.mp4", "video_repeated") for n in "abcz"]


def test_a_clip_has_the_frames_and_times_of_its_range_after_a_seek(tmp_path):
    frames = list(draw_scene(np.random.default_rng(0), 400, 64, 2).frames)
    write_video(tmp_path / "long.mp4", frames, 10)
    whole, times = read_frames(tmp_path / "long.mp4")
    params = CurationParams(max_frames=400)
    ranges = ((0.0, 1.6, 0, 16), (1.6, 3.2, 16, 32), (31.25, 35.0, 313, 350), (38.0, None, 380, 400))
    for start, end, first, last in ranges:
        clip = CaptionedVideo(str(tmp_path / "long.mp4"), "long.mp4", (), "long.mp4", start, end)
        found = list(shots(clip, params))
        assert [t for shot in found for t in shot.times] == pytest.approx(times[first:last])
        for frame, expected in zip((f for shot in found for f in shot.frames), whole[first:last], strict=True):
            assert (frame == expected).all()
    with pytest.raises(UnreadableVideo, match="no frame between 50 s and 60 s"):
        list(shots(replace(clip, start=50.0, end=60.0), params))
