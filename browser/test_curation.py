"""The curation's report and its review page in headless Chromium; `make test-browser`, as test_app.py."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from elysium.config import CurationInput, CurationParams, WorldParams
from elysium.curation.pipeline import run
from elysium.curation.review import running
from elysium.data.world import build

QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered videos, all of them in the evaluation split, curated."""
    world, out = tmp_path_factory.mktemp("world"), tmp_path_factory.mktemp("out")
    build(WorldParams(3, 0, train_videos=0, eval_videos=0, raw_videos=8, raw_frames=16, raw_size=160, workers=1), world)
    source = CurationInput(str(world / "raw"), str(world / "raw" / "captions.jsonl"), "shapes", eval_fraction=1.0)
    run(replace(CurationParams(workers=1, frame_size=96), inputs={"world": source}), out, progress=False)
    return out


@pytest.fixture(scope="module")
def opened() -> Iterator[Page]:
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    assert program, "no Chromium on this machine: install it, or say where it is with CHROMIUM=/path"
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=list(QUIET))
        page = browser.new_page()
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def test_the_report_shows_table_funnel_histograms_and_samples(opened: Page, curated: Path) -> None:
    opened.goto((curated / "report" / "report.html").as_uri())
    table = json.loads((curated / "report" / "counts.json").read_text())["table"]
    text = opened.inner_text("body")
    for column in ("trajectories", "expressions", "duration (s)"):
        assert column in text
    cells = opened.locator("table").first.locator("tr").nth(2).locator("td").all_inner_texts()
    assert cells[0] == "eval" and cells[2] == str(table[1]["trajectories"]) != "0"
    for source in ("funnel.png", "histograms.png"):
        assert opened.evaluate(f"document.querySelector('img[src=\"{source}\"]').naturalWidth") > 300
    samples = opened.evaluate("[...document.querySelectorAll('figure img')].map(i => i.naturalWidth)")
    assert samples and min(samples) > 100


def test_cases_are_judged_with_the_keyboard(opened: Page, curated: Path) -> None:
    with running(curated) as url:
        asked: list[str] = []
        opened.on("request", lambda request: asked.append(request.url))
        opened.goto(url)
        opened.wait_for_function("document.querySelector('#picture').naturalWidth > 100")
        first = opened.inner_text("#expression")
        opened.keyboard.press("r")
        opened.wait_for_function("document.querySelector('#progress').textContent.includes('1 decided')")
        opened.keyboard.press("a")
        opened.wait_for_function("document.querySelector('#progress').textContent.includes('2 decided')")
        for _ in range(2):
            opened.keyboard.press("ArrowLeft")
        opened.wait_for_function("document.querySelector('#progress').textContent.startsWith('case 1 ')")
        assert opened.inner_text("#expression") == first and opened.inner_text("#verdict") == "reject"
        assert {address.split("/")[2] for address in asked} == {url.split("/")[2]}
    verdicts = [json.loads(line)["verdict"] for line in (curated / "review.jsonl").read_text().splitlines()]
    assert verdicts == ["reject", "accept"]
