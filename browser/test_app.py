"""The web page in headless Chromium: upload, type, click a box, run, see the boxes, download.

Apart from `tests/`, because it needs a browser: `make test-browser`, with CHROMIUM naming another one. `PICTURE`
keeps a picture of the page with its result, `MODEL` takes a trained model instead of random weights, `VIDEO`
another video.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, sync_playwright

from elysium.app import page
from elysium.data.video import write_video
from elysium.inference.engine import Engine
from tests.model.tiny import CONV, frames, tiny_config, tiny_model, tiny_processor

QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip

COLOURS = {"blue": (30, 60, 200), "red": (200, 40, 30)}
MIDDLE = """() => {
    const picture = document.querySelector('#first img'), canvas = document.createElement('canvas').getContext('2d')
    canvas.drawImage(picture, 0, 0)
    return [...canvas.getImageData(80, 60, 1, 1).data].slice(0, 3)
}"""


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if os.environ.get("VIDEO"):
        return Path(os.environ["VIDEO"])
    path = tmp_path_factory.mktemp("uploads") / "ten.mp4"
    write_video(path, frames(10, size=(120, 160)), 10)
    return path


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of one colour each."""
    folder = tmp_path_factory.mktemp("samples")
    for name, colour in COLOURS.items():
        write_video(folder / f"{name}.mp4", [np.full((120, 160, 3), colour, np.uint8)] * 5, 10)
    return folder


@pytest.fixture(scope="module")
def url(samples: Path) -> Iterator[str]:
    model = os.environ.get("MODEL")
    engine = Engine.from_pretrained(model) if model else Engine(tiny_model(tiny_config(CONV)), tiny_processor())
    with page.running(engine, samples=[samples]) as address:
        yield address


@pytest.fixture
def browser_page(url: str) -> Iterator[tuple[Page, list[str]]]:
    """The page, loaded, and the addresses that it has asked for."""
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    assert program, "no Chromium on this machine: install it, or say where it is with CHROMIUM=/path"
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=list(QUIET))
        opened = browser.new_page(viewport={"width": 1300, "height": 1150})
        opened.set_default_timeout(60_000)
        asked: list[str] = []
        opened.on("request", lambda request: asked.append(request.url))
        opened.goto(url)
        opened.wait_for_selector("#track")
        yield opened, asked
        browser.close()


def test_an_object_is_tracked_on_the_page(browser_page: tuple[Page, list[str]], video: Path, url: str) -> None:
    opened, asked = browser_page
    opened.set_input_files("#video input[type=file]", str(video))
    picture = opened.wait_for_selector("#first img")
    place = picture.bounding_box()
    for x, y in ((0.25, 0.25), (0.75, 0.75)):
        before = opened.get_attribute("#first img", "src")
        opened.click("#first img", position={"x": place["width"] * x, "y": place["height"] * y})
        opened.wait_for_function(f"document.querySelector('#first img').src != {json.dumps(before)}")
    opened.wait_for_function("document.querySelector('#box textarea, #box input').value != ''")
    box = [float(v) for v in opened.input_value("#box textarea, #box input").split(",")]
    assert box == pytest.approx([0.25, 0.25, 0.75, 0.75], abs=0.03)

    opened.fill("#words textarea", "red ball")
    opened.click("#track")
    opened.wait_for_selector("#result video")
    opened.wait_for_function("document.querySelector('#result video').currentTime > 0.2")  # it plays
    assert "red ball: found in" in opened.inner_text("#summary") and "box: found in" in opened.inner_text("#summary")
    opened.wait_for_selector("#chart img")
    with opened.expect_download() as download:
        opened.click("#json")
    assert [t["label"] for t in json.loads(Path(download.value.path()).read_text())["tracks"]] == ["red ball", "box"]
    if os.environ.get("PICTURE"):
        opened.screenshot(path=os.environ["PICTURE"], full_page=True)

    opened.click("#describe")
    opened.fill("#question textarea, #question input", "What is there?")
    opened.click("#ask")
    opened.wait_for_function("document.querySelector('#ask').disabled == false")
    opened.fill("#box textarea, #box input", "0.9,0.1,0.2,0.3")
    opened.click("#track")
    opened.wait_for_selector("text=needs 0 <= x1 < x2 <= 1")
    assert {address.split("/")[2] for address in asked if address.startswith("http")} == {url.split("/")[2]}


def test_the_sample_that_is_picked_is_the_one_shown(browser_page: tuple[Page, list[str]]) -> None:
    opened, _ = browser_page
    for name in ("blue", "red"):
        before = opened.evaluate("document.querySelector('#first img')?.src")
        opened.click("#sample input")
        opened.click(f"#sample li:has-text('{name}'), [role=option]:has-text('{name}')")
        opened.wait_for_selector("#first img")
        opened.wait_for_function(
            "old => { const i = document.querySelector('#first img'); return i.src != old && i.naturalWidth == 160 }",
            arg=before,
        )
        assert opened.evaluate(MIDDLE) == pytest.approx(COLOURS[name], abs=12)
