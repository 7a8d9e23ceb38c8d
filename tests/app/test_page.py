"""The web page over HTTP: what the buttons call, with Gradio's own client, on a tiny model with random weights."""

import json
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import gradio
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from elysium.app import page
from elysium.data.video import probe, write_video
from elysium.errors import UserError
from elysium.inference.engine import Engine
from tests.model.tiny import CONV, frames, tiny_config, tiny_model, tiny_processor


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(tiny_model(tiny_config(CONV)), tiny_processor())


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    write_video(folder / "five.mp4", frames(5, size=(32, 48)), 10)
    write_video(folder / "many.mp4", frames(60, size=(32, 48)), 10)
    return folder


@pytest.fixture(scope="module")
def url(engine: Engine, samples: Path) -> Iterator[str]:
    with page.running(engine, samples=[samples]) as address:
        yield address


@pytest.fixture(scope="module")
def client(url: str, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(url, verbose=False, download_files=str(tmp_path_factory.mktemp("downloads")), analytics_enabled=False)


def upload(path: Path) -> dict:
    return handle_file(str(path))


def test_a_video_goes_in_and_boxes_come_out(client: Client, samples: Path) -> None:
    video, chart, summary, boxes, mp4 = client.predict(
        upload(samples / "five.mp4"), "red ball\nblue star\n", "0.1,0.2,0.5,0.6", api_name="/track"
    )
    assert probe(mp4).n_frames == 5 and probe(video).n_frames == 5
    told = json.loads(Path(boxes).read_text())
    assert [t["label"] for t in told["tracks"]] == ["red ball", "blue star", "box"]
    assert all(len(t["boxes"]) == 5 for t in told["tracks"])
    assert summary.count("of 5 frames") == 3 and chart["plot"].startswith("data:image")


def test_describe_and_ask_answer(client: Client, samples: Path) -> None:
    assert isinstance(client.predict(upload(samples / "five.mp4"), "0.1,0.2,0.5,0.6", api_name="/describe"), str)
    assert isinstance(client.predict(upload(samples / "five.mp4"), "What is it?", api_name="/ask"), str)


@pytest.mark.parametrize(
    ("words", "box", "said"),
    [
        ("", "", "say what to look for"),
        ("ball", "0.1,0.2", "a box is four numbers"),
        ("ball", "a,b,c,d", "is not x1,y1,x2,y2"),
        ("", "0.5,0.2,0.1,0.6", "x1 < x2"),
        ("ball\n" * 9, "", "9 objects; at most 8"),
        ("<image>", "", "must not contain"),
    ],
)
def test_bad_questions_are_told(client: Client, samples: Path, words: str, box: str, said: str) -> None:
    with pytest.raises(AppError, match=said):
        client.predict(upload(samples / "five.mp4"), words, box, api_name="/track")


def test_no_video_and_no_video_at_all_are_told(client: Client, tmp_path: Path) -> None:
    with pytest.raises(AppError, match="give a video first"):
        client.predict(None, "ball", "", api_name="/track")
    (tmp_path / "story.mp4").write_text("not a video " * 100)
    with pytest.raises(AppError, match="the video cannot be read: not a readable video") as caught:
        client.predict(upload(tmp_path / "story.mp4"), "ball", "", api_name="/track")
    assert tempfile.gettempdir() not in str(caught.value), "the message tells a path of the server"


def test_videos_over_the_limits_are_refused(samples: Path, tmp_path: Path) -> None:
    limits = page.Limits(frames=50, side=48)
    assert limits.check(samples / "five.mp4") == 5
    with pytest.raises(UserError, match="60 frames; at most 50"):
        limits.check(samples / "many.mp4")
    with pytest.raises(UserError, match="48x32 pixels; at most 40"):
        page.Limits(side=40).check(samples / "five.mp4")
    with (tmp_path / "huge.mp4").open("wb") as file:
        file.truncate(4 << 30)
    with pytest.raises(UserError, match="4295 MB; at most 200"):
        page.LIMITS.check(tmp_path / "huge.mp4")


def test_work_that_takes_too_long_is_stopped(engine: Engine, samples: Path, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    buttons = page.Page(engine, tmp_path, [samples], page.Limits(seconds=0))
    with pytest.raises(gradio.Error, match="stopped after 0 s and 8 frames"):
        buttons.track(str(samples / "many.mp4"), "ball", "")
    assert list((tmp_path / "results").iterdir()) == []


def test_an_upload_over_the_limit_is_cut_off(url: str) -> None:
    """The server stops reading: nothing of it stays."""
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="../../a.mp4"\r\n\r\n'
    body += bytes(page.LIMITS.size + 1000) + b"\r\n--x--\r\n"
    request = urllib.request.Request(
        url + "gradio_api/upload", body, {"Content-Type": "multipart/form-data; boundary=x"}
    )
    with pytest.raises((urllib.error.HTTPError, urllib.error.URLError)) as caught:
        urllib.request.urlopen(request, timeout=60)
    assert getattr(caught.value, "code", 413) == 413


def test_names_that_leave_the_folder_stay_in_it(url: str, samples: Path) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="../../../../../elysium-escaped.mp4"\r\n\r\n'
    body += (samples / "five.mp4").read_bytes() + b"\r\n--x--\r\n"
    request = urllib.request.Request(
        url + "gradio_api/upload", body, {"Content-Type": "multipart/form-data; boundary=x"}
    )
    (path,) = json.load(urllib.request.urlopen(request, timeout=60))
    assert "elysium-app-" in path and Path(path).resolve() == Path(path) and Path(path).is_file()
    for name in ("/etc/passwd", "../../etc/passwd", "/proc/self/environ"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{url}gradio_api/file={name}", timeout=60)
        assert caught.value.code in (403, 404)


def test_a_path_of_the_server_is_not_a_video(client: Client, url: str) -> None:
    with pytest.raises(AppError):
        client.predict({"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}, "ball", "", api_name="/track")
    with pytest.raises(AppError, match="not in the list"):
        client.predict("../five", api_name="/sample")


def test_the_page_names_no_other_host_for_fonts_and_scripts(url: str) -> None:
    with urllib.request.urlopen(url, timeout=60) as answer:
        text, policy = answer.read().decode(), answer.headers["content-security-policy"]
    assert "Elysium" in text and "fonts.googleapis" not in text and "cdn" not in text.lower()
    assert policy.startswith("default-src 'self'")
    theme = urllib.request.urlopen(url + "theme.css", timeout=60).read().decode()
    assert "@import" not in theme and "http" not in theme.replace("http://www.w3.org", "")


def test_two_clicks_are_a_box(engine: Engine, samples: Path, tmp_path: Path) -> None:
    buttons = page.Page(engine, tmp_path, [samples])
    video = str(samples / "five.mp4")
    frame, box, corners = buttons.show_first(video)
    assert frame.shape == (32, 48, 3) and (box, corners) == ("", [])
    one, box, corners = buttons.click(video, corners, (36, 24))
    assert box == "" and not np.array_equal(one, frame)
    _, box, corners = buttons.click(video, corners, (12, 8))
    assert page.read_box(box) == pytest.approx((0.25, 0.25, 0.75, 0.75))
    _, box, corners = buttons.click(video, corners, (1, 1))
    assert box == "" and corners == [(1, 1)]


def test_a_taken_port_is_one_line_and_all_files_go_with_the_page(engine: Engine, samples: Path) -> None:
    def left() -> set[Path]:
        return set(Path(tempfile.gettempdir()).glob("elysium-app-*"))

    before = left()
    with page.running(engine, samples=[samples]) as address:
        (folder,) = left() - before
        shutil.copy(samples / "five.mp4", folder / "results")
        with (
            pytest.raises(UserError, match="port"),
            page.running(engine, port=int(address.rstrip("/").rsplit(":", 1)[1])),
        ):
            pass
    assert left() == before
