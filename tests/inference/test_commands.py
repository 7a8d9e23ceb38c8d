"""`elysium track`, `describe` and `ask` from the command line down, on a tiny model with random weights."""

import io
import json
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from elysium import cli
from elysium.boxes import Box
from elysium.data.video import UnreadableVideo, iter_frames, probe, read_frames, write_video
from elysium.errors import UserError
from elysium.inference import commands
from elysium.inference.clips import track_videos
from elysium.inference.engine import Engine, Query
from elysium.model.loading import find_model
from tests.model.tiny import frames, tiny_config, tiny_model, tiny_processor

BOX: Box = (0.2, 0.3, 0.6, 0.7)


@pytest.fixture(scope="module")
def engine(checkpoint: Path) -> Engine:
    return Engine.from_pretrained(checkpoint)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Five frames of 48x32 pixels at 10 frames a second in every form."""
    folder = tmp_path_factory.mktemp("videos")
    pictures = frames(5, seed=3, size=(32, 48))
    paths = {name: folder / f"five.{name}" for name in ("mp4", "gif", "avi", "webm")}
    write_video(paths["mp4"], pictures, 10)
    write_video(paths["gif"], pictures, 10)
    for name, codec in (("avi", "mpeg4"), ("webm", "libvpx")):
        with av.open(str(paths[name]), "w") as container:
            stream = container.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
            for picture in pictures:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
    paths["folder"] = folder / "pictures"
    paths["folder"].mkdir()
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(paths["folder"] / f"frame{i + 8}.png")
    (paths["folder"] / "notes.txt").write_text("not a picture")
    return paths


def run(*arguments: str | Path) -> int:
    """The command in this process; its exit code."""
    with pytest.raises(SystemExit) as ended:
        cli.main([str(a) for a in arguments])
    return int(ended.value.code or 0)


@pytest.mark.parametrize("kind", ["mp4", "gif", "avi", "webm", "folder"])
def test_every_kind_of_video_is_tracked(
    kind: str, videos: dict[str, Path], checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        run(
            "track",
            videos[kind],
            "--find",
            "red ball",
            "--find",
            "red ball",
            "--box",
            "0.2,0.3,0.6,0.7",
            "--model",
            checkpoint,
        )
        == 0
    )
    told = json.loads(capsys.readouterr().out)
    assert told["frame_size"] == [48, 32]
    assert told["times"] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4], abs=0.002)
    assert [t["label"] for t in told["tracks"]] == ["red ball 1", "red ball 2", "box"]
    assert told["tracks"][0]["boxes"] == told["tracks"][1]["boxes"]
    assert told["tracks"][2]["boxes"][0] == pytest.approx([0.205, 0.305, 0.605, 0.705])
    for t in told["tracks"]:
        assert len(t["boxes"]) == len(t["boxes_px"]) == len(t["confidences"]) == 5
        for box, px in zip(t["boxes"], t["boxes_px"], strict=True):
            assert (box is None) == (px is None)
            assert box is None or px == pytest.approx(np.multiply(box, [48, 32, 48, 32]), abs=0.06)


def test_a_long_video_is_a_stream_and_gives_what_its_frames_in_a_list_give(engine: Engine, tmp_path: Path) -> None:
    write_video(tmp_path / "long.mp4", frames(40, seed=5), 10)
    pictures, times = read_frames(tmp_path / "long.mp4")
    query = Query(expression="red ball")
    seen: list[int] = []
    done = commands.track(engine, tmp_path / "long.mp4", [query], seen.append)
    assert done.times == times and sum(seen) == 40
    (trajectory,) = done.trajectories
    if not trajectory.regrounded:
        assert [trajectory.boxes] == track_videos(engine.track, [pictures], [query])
    assert all(trajectory.lost[i] < 40 for i in range(len(trajectory.lost)))


@pytest.mark.parametrize(("most", "clips"), [(32, [10]), (8, [8, 3])])
def test_the_model_says_how_many_frames_it_takes_at_once(most: int, clips: list[int], tmp_path: Path) -> None:
    model = tiny_model(tiny_config(max_frames=most))
    seen: list[int] = []
    model.vision_tower.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    engine = Engine(model, tiny_processor())
    write_video(tmp_path / "ten.mp4", frames(10, seed=3), 10)
    (trajectory,) = commands.track(engine, tmp_path / "ten.mp4", [Query("red ball")]).trajectories
    assert len(trajectory.boxes) == 10
    assert seen == clips


def test_pictures_come_in_the_order_of_their_numbers(videos: dict[str, Path]) -> None:
    seen, times = read_frames(videos["folder"])
    for got, wanted in zip(seen, frames(5, seed=3, size=(32, 48)), strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert times == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert [len(read_frames(videos["folder"], stride=s, limit=k)[0]) for s, k in ((2, None), (2, 2), (1, 9))] == [
        3,
        2,
        5,
    ]
    assert read_frames(videos["folder"], longest_side=24)[0][0].shape == (16, 24, 3)


def test_many_videos_come_from_stdin(
    videos: dict[str, Path], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """A video that cannot be read is named and left out; the names of results stay in their folder."""
    evil = tmp_path / "a" / "..mp4"
    evil.parent.mkdir()
    evil.write_bytes(videos["mp4"].read_bytes())
    lines = [videos["mp4"], tmp_path / "missing.mp4", videos["gif"], evil]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(map(str, lines)) + "\n"))
    out, boxes = tmp_path / "out", tmp_path / "boxes.jsonl"
    assert run("track", "-", "--find", "red ball", "--render", out, "--json", boxes, "--model", checkpoint) == 2
    told = capsys.readouterr()
    assert "missing.mp4: no such video file" in told.err and "1 of 4 videos could not be tracked" in told.err
    rows = [json.loads(line) for line in boxes.read_text().splitlines()]
    assert [row["video"] for row in rows] == ["five.mp4", "five.gif", "..mp4"]
    assert sorted(p.name for p in out.iterdir()) == ["0001-five.mp4", "0003-five.mp4", "0004-..mp4"]
    assert all(probe(p).n_frames == 5 for p in out.iterdir())


@pytest.mark.parametrize("name", ["tracked.mp4", "tracked.gif"])
def test_the_rendered_video_can_be_read(name: str, videos: dict[str, Path], engine: Engine, tmp_path: Path) -> None:
    done = commands.track(engine, videos["avi"], [Query(box=BOX)])
    done.render(tmp_path / "new" / name)
    assert probe(tmp_path / "new" / name).n_frames == 5
    seen, times = read_frames(tmp_path / "new" / name)
    assert times[-1] == pytest.approx(0.4, abs=0.01)
    assert np.linalg.norm(seen[0].astype(float) - (230, 85, 0), axis=-1).min() < 60, "no box is drawn"
    assert [p.name for p in (tmp_path / "new").iterdir()] == [name]


def shades(path: Path, n: int) -> list[np.ndarray]:
    """A video of evenly grey frames, each lighter than the one before; returns its frames as they are read."""
    write_video(path, [np.full((32, 32, 3), 8 * i, np.uint8) for i in range(n)], 10)
    return read_frames(path)[0]


@contextmanager
def looked_at(engine: Engine, pictures: list[np.ndarray]) -> Iterator[list[list[int]]]:
    """The numbers of the frames that enter the vision tower, one list per pass, by how light they are."""
    lightness = engine.processor.pixels(pictures).mean((1, 2, 3))
    seen: list[list[int]] = []

    def see(module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        seen.append((inputs[0].mean((1, 2, 3))[:, None] - lightness).abs().argmin(1).tolist())

    hook = engine.model.vision_tower.register_forward_pre_hook(see)
    yield seen
    hook.remove()


def test_describe_reads_the_frames_around_the_one_asked_for(engine: Engine, tmp_path: Path) -> None:
    pictures = shades(tmp_path / "a.mp4", 30)
    with looked_at(engine, pictures) as seen:
        for frame, first in ((0, 0), (3, 0), (15, 12), (29, 22)):
            phrase = commands.describe(engine, tmp_path / "a.mp4", BOX, frame)
            assert seen[-1] == list(range(first, first + 8))
            assert phrase == engine.describe([pictures[first : first + 8]], [BOX], [frame - first])[0]
    for frame in (30, -1):
        with pytest.raises(UserError, match=f"has frames 0 to 29, not {frame}|frames 0 to"):
            commands.describe(engine, tmp_path / "a.mp4", BOX, frame)


def test_ask_reads_sixteen_frames_spread_over_the_video(engine: Engine, tmp_path: Path) -> None:
    pictures = shades(tmp_path / "a.mp4", 31)
    with looked_at(engine, pictures) as seen:
        answer = commands.ask(engine, tmp_path / "a.mp4", " What\n is it? ")
    assert seen == [list(range(0, 31, 2))]
    assert answer == engine.ask([pictures[::2]], ["What is it?"])[0]


def gif_bomb(path: Path) -> None:
    """Sixty bytes that ask for four thousand million pixels."""
    side = struct.pack("<HH", 65535, 65535)
    header = b"GIF89a" + side + b"\x80\0\0" + b"\0\0\0\xff\xff\xff"
    path.write_bytes(header + b"," + struct.pack("<HH", 0, 0) + side + b"\0\x02\x02D\x01\0;")


def png_bomb(folder: Path) -> None:
    folder.mkdir()
    Image.new("1", (30000, 30000)).save(folder / "big.png")


def playlist(path: Path) -> None:
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n")


def concat(path: Path) -> None:
    path.write_text("ffconcat version 1.0\nfile /etc/passwd\n")


def mixed(folder: Path) -> None:
    folder.mkdir()
    for i, side in enumerate((32, 16)):
        Image.new("RGB", (side, side)).save(folder / f"{i}.png")


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("text.mp4", lambda p: p.write_text("a story, not a video\n" * 50), "not a readable video"),
        ("empty.mp4", lambda p: p.write_bytes(b""), "the file is empty"),
        ("bomb.gif", gif_bomb, "million pixels"),
        ("bombs", png_bomb, "900000000 pixels"),
        ("list.mp4", playlist, "not a readable video"),
        ("list.avi", concat, "not a readable video"),
        ("none", lambda p: p.mkdir(), "a folder without pictures"),
        ("mixed", mixed, "the first picture has 32x32"),
        ("gone.mp4", lambda p: None, "no such video file"),
        ("http://127.0.0.1:9/a.mp4", lambda p: None, "no such video file"),
    ],
)
def test_what_is_not_a_video_is_one_line_and_leaves_nothing(
    name: str, make: Any, said: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    make(Path(name))
    before = sorted(tmp_path.rglob("*"))
    assert run("track", name, "--find", "ball", "--json", "o/o.json", "--render", "o/o.mp4", "--model", checkpoint) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and said in lines[0] and Path(name).name in lines[0]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_video_that_breaks_off_leaves_nothing(engine: Engine, tmp_path: Path) -> None:
    video = tmp_path / "cut"
    video.mkdir()
    for i, picture in enumerate(frames(40)):
        Image.fromarray(picture).save(video / f"{i}.png")
    (video / "36.png").write_bytes((video / "36.png").read_bytes()[:60])
    with pytest.raises(UnreadableVideo, match=r"36.png: not a readable picture"):
        commands.track(engine, video, [Query(box=BOX)])
    for name in ("out.mp4", "out.gif"):
        with pytest.raises(UnreadableVideo):
            write_video(tmp_path / name, (frame for frame, _ in iter_frames(video)), 10)
    assert [p.name for p in tmp_path.iterdir()] == ["cut"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--find", "  "), "the expression is empty"),
        (("--find", "a <image> of a ball"), "must not contain <image>"),
        (("--find", "ball " * 100), "at most 300"),
        (("--box", "0.2,0.2,0.2,0.5"), "x1 < x2"),
        (("--box", "0.2,0.2,1.2,0.5"), "x2 <= 1"),
        (("--box", "nan,0.2,0.4,0.5"), "x1 < x2"),
        (("--find", "ball", "--render", "out.jpg"), "ends in .mp4 or .gif"),
        ((), "--find --box"),
    ],
)
def test_bad_questions_are_one_line(
    arguments: tuple[str, ...], said: str, videos: dict[str, Path], checkpoint: Path, capsys: Any
) -> None:
    assert run("track", videos["mp4"], *arguments, "--model", checkpoint) == 2
    err = capsys.readouterr().err.strip()
    assert err.startswith("error: ") and said in err and "\n" not in err


def test_a_place_that_cannot_be_written_is_one_line(
    videos: dict[str, Path], checkpoint: Path, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "file").write_text("")
    assert (
        run("track", videos["mp4"], "--find", "a", "--json", tmp_path / "file" / "o.json", "--model", checkpoint) == 2
    )
    assert str(tmp_path / "file") in capsys.readouterr().err.strip().splitlines()[-1]


def test_the_default_model_is_the_shipped_one_or_the_newest_of_the_pipeline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    project = tmp_path / "project"
    with pytest.raises(UserError, match="no model here"):
        find_model(None, project)
    for age, stage in ((20, "finetune_long"), (50, "pretrain")):
        path = tmp_path / "artifacts" / stage / "model" / "config.json"
        path.parent.mkdir(parents=True)
        path.write_text("{}")
        os.utime(path, (1e9 - age, 1e9 - age))
    assert find_model(None, project) == Path("artifacts/finetune_long/model")
    for root, found in ((project, project / "models/elysium-tiny"), (tmp_path, Path("models/elysium-tiny"))):
        (root / "models/elysium-tiny").mkdir(parents=True)
        (root / "models/elysium-tiny/config.json").write_text("{}")
        assert find_model(None, project) == found


def test_a_model_that_is_nowhere_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert find_model("some/folder/deep") == Path("some/folder/deep")
    with pytest.raises(UserError, match=r"no mlflow.db here"):
        find_model("models:/elysium@champion")
    with pytest.raises(UserError, match=r"^elysium-tests/no-such-model: no such folder"):
        find_model("elysium-tests/no-such-model")
