"""One page: a video, what to look for, and the result playing with its boxes (Gradio).

It listens on this machine only, loads nothing from elsewhere (fonts included; the browser is told to refuse it), and
keeps its files in one folder that goes with it. One question is answered at a time, the others wait in a short queue.
"""

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure

from elysium.boxes import Box
from elysium.data.video import UnreadableVideo, iter_frames, probe
from elysium.errors import UserError
from elysium.inference import commands
from elysium.inference.engine import Engine
from elysium.inference.render import PALETTE

QUEUE = 16
KEEP_SECONDS = 3600  # how long a result can be downloaded
# What the small model was made for, and real clips, where there are any.
SAMPLES = (Path(__file__).parents[1] / "assets/samples", Path("data/real"))

# 'unsafe-inline' and 'unsafe-eval' are what Gradio's own scripts need.
_POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'"


@dataclass(frozen=True)
class Limits:
    """What a question may ask for: a video of so many bytes, frames, pixels a side; objects; seconds of work."""

    size: int = 200_000_000
    frames: int = 3000
    side: int = 4096
    objects: int = 8
    seconds: float = 600

    def check(self, video: Path) -> int:
        """The number of frames of a video within the limits. Raises UserError on any other."""
        try:
            if video.stat().st_size > self.size:
                raise UserError(f"the video has {video.stat().st_size / 1e6:.0f} MB; at most {self.size // 10**6}")
            info = probe(video)
        except (UnreadableVideo, OSError) as error:
            reason = str(error).removeprefix(f"{video}: ")
            raise UserError(f"the video cannot be read: {reason}") from error
        if max(info.width, info.height) > self.side:
            raise UserError(f"the video has {info.width}x{info.height} pixels; at most {self.side} on a side")
        if info.n_frames > self.frames:
            raise UserError(f"the video has {info.n_frames} frames; at most {self.frames}")
        return info.n_frames


LIMITS = Limits()


class Page:
    """What the buttons do. Every method raises `gradio.Error` with one line on bad input."""

    def __init__(
        self, engine: Engine, folder: Path, samples: Sequence[Path] = SAMPLES, limits: Limits = LIMITS
    ) -> None:
        self.engine, self.folder, self.limits = engine, folder, limits
        self.samples = {path.stem: path for folder in samples for path in sorted(folder.glob("*.mp4"))}

    def show_first(self, video: str | None) -> tuple[np.ndarray | None, str, list[tuple[int, int]]]:
        """The first frame of a video that was chosen, an empty box, no corners yet."""
        if video is None:
            return None, "", []
        with _told():
            self.limits.check(Path(video))
            frame, _ = next(iter_frames(video))
        return frame, "", []

    def pick_sample(self, name: str | None) -> str | None:
        """The path of a sample; only those on the list."""
        return str(self.samples[name]) if name in self.samples else None

    def click(
        self, video: str | None, corners: list[tuple[int, int]], at: tuple[int, int]
    ) -> tuple[np.ndarray | None, str, list[tuple[int, int]]]:
        """A corner of the box, given in the first frame's pixels; the second click ends it, a third begins anew."""
        if video is None:
            return None, "", []
        with _told():
            frame, _ = next(iter_frames(video))
        corners = [*corners, (int(at[0]), int(at[1]))] if len(corners) == 1 else [(int(at[0]), int(at[1]))]
        frame = frame.copy()
        height, width = frame.shape[:2]
        if len(corners) == 1:
            cv2.drawMarker(frame, corners[0], PALETTE[0], cv2.MARKER_CROSS, max(width // 20, 8), 2)
            return frame, "", corners
        (x1, x2), (y1, y2) = sorted((corners[0][0], corners[1][0])), sorted((corners[0][1], corners[1][1]))
        cv2.rectangle(frame, (x1, y1), (x2, y2), PALETTE[0], max(2, height // 240))
        text = ",".join(f"{min(v / size, 1):.3f}" for v, size in ((x1, width), (y1, height), (x2, width), (y2, height)))
        return frame, text, corners

    def track(
        self, video: str | None, expressions: str, box: str, report: Callable[..., object] = lambda *a, **k: None
    ) -> tuple[str, Figure, str, str, str]:
        """The rendered video, the plot, a summary, and the files: JSON and mp4."""
        with _told():
            queries = [commands.make_query(line, None) for line in expressions.splitlines() if line.strip()]
            if box.strip():
                queries.append(commands.make_query(None, read_box(box)))
            if not queries:
                raise UserError("say what to look for: an expression, or a box on the first frame")
            if len(queries) > self.limits.objects:
                raise UserError(f"{len(queries)} objects; at most {self.limits.objects} at once")
            path, total = self._video(video)
            self._forget_old()
            began, count = time.monotonic(), 0

            def advance(frames: int) -> None:
                nonlocal count
                count += frames
                if time.monotonic() - began > self.limits.seconds:
                    raise UserError(f"stopped after {self.limits.seconds} s and {count} frames; give a shorter video")
                if count > self.limits.frames:
                    raise UserError(f"the video has more than {self.limits.frames} frames")
                report((min(count, total), total), unit="frames")

            done = commands.track(self.engine, path, queries, advance)
            out = Path(tempfile.mkdtemp(dir=self.folder / "results"))
            done.write_json(out / "tracked.json")
            done.render(out / "tracked.mp4")
        lines = []
        for label, t in zip(done.labels(), done.trajectories, strict=True):
            seen = sum(b is not None for b in t.boxes)
            sure = np.mean(t.confidences)
            lines.append(f"- {label}: found in {seen} of {len(t.boxes)} frames, mean confidence {sure:.2f}")
        mp4 = str(out / "tracked.mp4")
        return mp4, plot(done), "\n".join(lines), str(out / "tracked.json"), mp4

    def describe(self, video: str | None, box: str) -> str:
        """A phrase for the object in the box of the first frame."""
        with _told():
            where = read_box(box)
            return commands.describe(self.engine, self._video(video)[0], where, 0)

    def ask(self, video: str | None, question: str) -> str:
        """The answer to a question about the video."""
        with _told():
            commands.check_text(question, "question")
            return commands.ask(self.engine, self._video(video)[0], question)

    def _video(self, video: str | None) -> tuple[Path, int]:
        if video is None:
            raise UserError("give a video first")
        return Path(video), self.limits.check(Path(video))

    def _forget_old(self) -> None:
        for old in (self.folder / "results").iterdir():
            if time.time() - old.stat().st_mtime > KEEP_SECONDS:
                shutil.rmtree(old, ignore_errors=True)


def read_box(text: str) -> Box:
    """`x1,y1,x2,y2` in [0, 1]. Raises UserError."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError(f"the box {text!r} is not x1,y1,x2,y2") from error
    return commands.check_box(numbers)


def plot(done: commands.Tracked) -> Figure:
    """Where the centre of each box went, and how sure the model was over time."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    way, sure = figure.subplots(1, 2)
    for k, (label, t) in enumerate(zip(done.labels(), done.trajectories, strict=True)):
        colour = tuple(v / 255 for v in PALETTE[k % len(PALETTE)])
        nothing = (np.nan,) * 4
        x1, y1, x2, y2 = np.array([b or nothing for b in t.boxes], dtype=float).T
        way.plot((x1 + x2) / 2, (y1 + y2) / 2, "-o", markersize=3, color=colour, label=label)
        sure.plot(done.times, t.confidences, color=colour)
        again = [done.times[f] for f in t.regrounded]
        sure.plot(again, [t.confidences[f] for f in t.regrounded], "o", color=colour, markerfacecolor="white")
    width, height = done.frame_size
    way.set(xlim=(0, 1), ylim=(1, 0), box_aspect=height / width, title="centre of the box", xlabel="x", ylabel="y")
    way.legend(fontsize=8)
    sure.set(ylim=(0, 1.02), title="confidence (ring: looked for again)", xlabel="seconds")
    return figure


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Bad input as the page's own message."""
    import gradio as gr

    try:
        yield
    except UserError as error:
        raise gr.Error(" ".join(str(error).split()), print_exception=False) from error


def build(page: Page) -> Any:
    """The page as Gradio `Blocks`."""
    import gradio as gr

    with gr.Blocks(title="Elysium", analytics_enabled=False, delete_cache=(KEEP_SECONDS, KEEP_SECONDS)) as blocks:
        gr.Markdown(
            "# Elysium\nFollow an object through a video by what it is called, or by a box in the first frame.\n\n"
            f"Up to {page.limits.frames} frames, {page.limits.size // 10**6} MB and {page.limits.side} pixels a side; "
            f"{page.limits.seconds / 60:g} minutes of work; what is uploaded is deleted after an hour."
        )
        corners = gr.State([])
        with gr.Row():
            with gr.Column():
                video = gr.Video(label="Video", sources=["upload"], elem_id="video")
                sample = gr.Dropdown(list(page.samples), value=None, label="or a sample", elem_id="sample")
                first = gr.Image(
                    label="First frame: click two corners for a box", interactive=False, elem_id="first", buttons=[]
                )
                words = gr.Textbox(
                    label="Expressions, one a line", lines=2, placeholder="red striped ball", elem_id="words"
                )
                box = gr.Textbox(label="Box x1,y1,x2,y2 in the first frame, each in [0, 1]", elem_id="box")
                go = gr.Button("Track", variant="primary", elem_id="track")
            with gr.Column():
                result = gr.Video(label="Tracked", interactive=False, autoplay=True, loop=True, elem_id="result")
                summary = gr.Markdown(elem_id="summary")
                chart = gr.Plot(show_label=False, elem_id="chart")
                with gr.Row():
                    as_json = gr.DownloadButton("JSON", elem_id="json")
                    as_mp4 = gr.DownloadButton("mp4", elem_id="mp4")
                describe = gr.Button("Describe the object in the box", elem_id="describe")
                phrase = gr.Textbox(label="Description", interactive=False, elem_id="phrase")
                question = gr.Textbox(label="Question about the video", elem_id="question")
                ask = gr.Button("Ask", elem_id="ask")
                answer = gr.Textbox(label="Answer", interactive=False, elem_id="answer")

        def on_click(video: str | None, corners: list[tuple[int, int]], event: gr.SelectData) -> Any:
            return page.click(video, corners, event.index)

        def on_track(video: str | None, words: str, box: str, progress: gr.Progress = gr.Progress()) -> Any:  # noqa: B008
            return page.track(video, words, box, progress)

        sample.input(page.pick_sample, sample, video, api_name="sample")
        video.change(page.show_first, video, [first, box, corners], api_name="first")
        first.select(on_click, [video, corners], [first, box, corners], api_name=False)
        go.click(on_track, [video, words, box], [result, chart, summary, as_json, as_mp4], api_name="track")
        describe.click(page.describe, [video, box], phrase, api_name="describe")
        ask.click(page.ask, [video, question], answer, api_name="ask")
    return blocks.queue(max_size=QUEUE, default_concurrency_limit=1)


@contextlib.contextmanager
def running(
    engine: Engine, host: str = "127.0.0.1", port: int | None = None, samples: Sequence[Path] = SAMPLES
) -> Iterator[str]:
    """The page as long as the context lasts; gives its address. `port` None takes a free one.

    Raises UserError if Gradio is missing or the address is taken.
    """
    try:
        import gradio as gr
        from starlette.middleware import Middleware
    except ImportError as error:
        raise UserError("the page needs Gradio: pip install 'elysium[app]'") from error
    with tempfile.TemporaryDirectory(prefix="elysium-app-") as name:
        folder = Path(name)
        (folder / "results").mkdir()
        os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
        blocks = build(Page(engine, folder, samples))
        plain = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
        try:
            _, url, _ = blocks.launch(
                server_name=host,
                server_port=port,
                share=False,
                quiet=True,
                prevent_thread_lock=True,
                show_error=True,
                max_file_size=LIMITS.size,
                allowed_paths=[str(folder.resolve()) for folder in samples if folder.is_dir()],
                app_kwargs={"middleware": [Middleware(_OwnOnly)]},
                ssr_mode=False,
                run_history=False,
                enable_monitoring=False,
                footer_links=[],
                theme=plain,
            )
        except OSError as error:
            raise UserError(f"{host}:{port}: {str(error).splitlines()[0]}") from error
        try:
            yield url
        finally:
            blocks.close(verbose=False)


class _OwnOnly:
    """Tells the browser to load nothing from other hosts."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def own(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (b"content-security-policy", _POLICY.encode())]
            await send(message)

        await self.app(scope, receive, own)


def serve(engine: Engine, host: str, port: int) -> None:
    """Run the page until it is interrupted or told to end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the folder goes then, too
    with running(engine, host, port) as url:
        print(f"{url} (Ctrl-C ends it)", flush=True)
        threading.Event().wait()
