"""Reading and writing video files with PyAV: sequential decoding, display orientation, frame times in seconds."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from elysium.errors import UserError


class UnreadableVideo(UserError):
    """A file that holds no decodable picture: corrupt, empty, audio only. The message is one line with the path."""


@dataclass(frozen=True)
class VideoInfo:
    """What a container says of its first video stream; width and height in display orientation, duration in seconds.

    `n_frames` is exact where the container counts frames and an estimate from the duration elsewhere.
    """

    width: int
    height: int
    fps: float
    n_frames: int
    duration: float


def _open(path: Path) -> tuple[Any, Any]:
    path = Path(path)
    if not path.is_file():
        raise UnreadableVideo(f"{path}: no such video file")
    if path.stat().st_size == 0:
        raise UnreadableVideo(f"{path}: the file is empty")
    try:
        container = av.open(str(path))
    except (av.FFmpegError, ValueError) as error:
        raise UnreadableVideo(f"{path}: not a readable video ({_reason(error)})") from error
    if not container.streams.video:
        container.close()
        raise UnreadableVideo(f"{path}: no video stream (audio only?)")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    return container, stream


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0]


def probe(path: str | Path) -> VideoInfo:
    """Size, frame rate and length without decoding the whole file (the first frame is decoded, for its rotation).

    Raises UnreadableVideo if there is no decodable frame.
    """
    path = Path(path)
    container, stream = _open(path)
    with container:
        try:
            first = next(container.decode(stream), None)
        except (av.FFmpegError, ValueError) as error:
            raise UnreadableVideo(f"{path}: the first frame cannot be decoded ({_reason(error)})") from error
        if first is None:
            raise UnreadableVideo(f"{path}: the video stream has no frame")
        width, height = first.width, first.height
        if _quarter_turns(first) % 2:
            width, height = height, width
        fps = float(stream.average_rate or stream.guessed_rate or 0)
        if stream.duration is not None and stream.time_base is not None:
            duration = float(stream.duration * stream.time_base)
        elif container.duration is not None:
            duration = container.duration / av.time_base
        else:
            duration = stream.frames / fps if fps else 0.0
        n_frames = int(stream.frames) or max(1, round(duration * fps))
        return VideoInfo(width, height, fps, n_frames, duration)


def _quarter_turns(frame: Any) -> int:
    """Counter-clockwise quarter turns that bring a decoded frame to display orientation."""
    return round(frame.rotation / 90) % 4


def iter_frames(
    path: str | Path, stride: int = 1, limit: int | None = None, longest_side: int = 0
) -> Iterator[tuple[np.ndarray, float]]:
    """Every `stride`-th frame, at most `limit`: RGB uint8 `[H, W, 3]` in display orientation, and its time in seconds.

    Decoding is sequential and memory does not grow with the length of the video. `longest_side > 0` shrinks larger
    frames to it in the colour conversion, keeping the aspect. Times count from the first frame shown, from the
    presentation stamps (so variable frame rates are right). Raises UnreadableVideo if no frame, or a damaged stream
    part-way, is met: a video whose end cannot be decoded is not used in part.
    """
    if stride < 1:
        raise ValueError(f"the stride is at least 1, got {stride}")
    path = Path(path)
    container, stream = _open(path)
    with container:
        rate = float(stream.average_rate or stream.guessed_rate or 0) or 1.0
        origin: float | None = None
        yielded = 0
        try:
            for index, frame in enumerate(container.decode(stream)):
                time = frame.time if frame.time is not None else index / rate
                origin = time if origin is None else origin
                if index % stride:
                    continue
                yield _rgb(frame, longest_side), max(0.0, time - origin)
                yielded += 1
                if limit is not None and yielded >= limit:
                    break
        except (av.FFmpegError, ValueError) as error:
            raise UnreadableVideo(f"{path}: damaged after {yielded} frames ({_reason(error)})") from error
        if origin is None:
            raise UnreadableVideo(f"{path}: the video stream has no frame")


def _rgb(frame: Any, longest_side: int) -> np.ndarray:
    longest = max(frame.width, frame.height)
    if 0 < longest_side < longest:
        scale = longest_side / longest
        size = (max(1, round(frame.width * scale)), max(1, round(frame.height * scale)))
        image = frame.to_ndarray(format="rgb24", width=size[0], height=size[1], interpolation="AREA")
    else:
        image = frame.to_ndarray(format="rgb24")
    turns = _quarter_turns(frame)
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def read_frames(
    path: str | Path, stride: int = 1, limit: int | None = None, longest_side: int = 0
) -> tuple[list[np.ndarray], list[float]]:
    """`iter_frames` as two lists: RGB uint8 frames `[H, W, 3]` and their times in seconds."""
    frames: list[np.ndarray] = []
    times: list[float] = []
    for frame, time in iter_frames(path, stride, limit, longest_side):
        frames.append(frame)
        times.append(time)
    return frames, times


def write_video(path: str | Path, frames: Sequence[np.ndarray], fps: float, crf: int = 20) -> None:
    """Write RGB uint8 frames `[H, W, 3]` as H.264 mp4; one thread, so the same frames give the same bytes.

    An odd width or height loses its last row or column (4:2:0 chroma needs even sizes).
    """
    if not len(frames):
        raise ValueError("a video needs at least one frame")
    height, width = (side - side % 2 for side in frames[0].shape[:2])
    if not height or not width:
        raise ValueError(f"a video needs frames of at least 2x2 pixels, got {frames[0].shape[:2]}")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    ticks = 1000 if not math.isclose(fps, round(fps)) else 1
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        # x264's macroblock tree gives other bytes at every call on processors with AVX-512.
        options = {"crf": str(crf), "preset": "medium", "threads": "1", "x264-params": "mbtree=0"}
        stream: Any = container.add_stream("libx264", rate=Fraction(round(fps * ticks), ticks), options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        for image in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[:height, :width]), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
