"""Reading and writing video files with PyAV: sequential decoding, display orientation, frame times in seconds.

A video is a file of one of `CONTAINERS`, or a folder of pictures. Files come from strangers: containers that name
other files or addresses (playlists, picture patterns) are refused, and so is a picture of more than `MAX_PIXELS`,
before it is decoded.
"""

import itertools
import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageOps

from elysium.errors import UserError

CONTAINERS = ("mov", "mp4", "matroska", "webm", "avi", "gif", "mpegts", "mpeg", "flv", "ogg", "asf")  # FFmpeg's names
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
MAX_PIXELS = 40_000_000  # 8K is 33 million
PICTURE_RATE = 10.0  # a folder has no clock: its pictures are taken to be a tenth of a second apart, as in GOT-10k
GIF_SIDE = 640  # a gif is shrunk to this longest side


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
    limits = {"protocol_whitelist": "file", "format_whitelist": ",".join(CONTAINERS), "max_pixels": str(MAX_PIXELS)}
    try:
        container = av.open(f"file:{path}", options=limits)
    except (av.FFmpegError, ValueError) as error:
        raise UnreadableVideo(f"{path}: not a readable video ({_reason(error)})") from error
    if not container.streams.video:
        container.close()
        raise UnreadableVideo(f"{path}: no video stream (audio only?)")
    stream = container.streams.video[0]
    try:
        _check_size(path, stream.width or 0, stream.height or 0)
    except UnreadableVideo:
        container.close()
        raise
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    stream.thread_type = "AUTO"
    return container, stream


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise UnreadableVideo(
            f"{path}: {width}x{height} pixels a frame; at most {MAX_PIXELS // 10**6} million are decoded"
        )


def _reason(error: BaseException) -> str:
    if isinstance(error, av.ArgumentError):  # what decoders say of a picture over max_pixels
        return f"damaged, or more than {MAX_PIXELS // 10**6} million pixels a frame"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0]


def probe(path: str | Path) -> VideoInfo:
    """Size, frame rate and length without decoding the whole file (the first frame is decoded, for its rotation).

    Raises UnreadableVideo if there is no decodable frame.
    """
    path = Path(path)
    if path.is_dir():
        pictures = _pictures(path)
        height, width = _read_picture(pictures[0]).shape[:2]
        return VideoInfo(width, height, PICTURE_RATE, len(pictures), len(pictures) / PICTURE_RATE)
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


def _pictures(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of the numbers in their names."""
    found = [p for p in folder.iterdir() if p.suffix.lower() in PICTURES and p.is_file()]
    if not found:
        raise UnreadableVideo(f"{folder}: a folder without pictures ({', '.join(PICTURES)})")
    return sorted(found, key=lambda p: [(int(t), t) if t.isdigit() else (-1, t) for t in re.split(r"(\d+)", p.name)])


def _read_picture(path: Path) -> np.ndarray:
    """RGB uint8 `[H, W, 3]` in display orientation."""
    try:
        with Image.open(path) as image:
            _check_size(path, *image.size)
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableVideo(f"{path}: not a readable picture ({_reason(error)})") from error


def _iter_pictures(
    folder: Path, stride: int, limit: int | None, longest_side: int
) -> Iterator[tuple[np.ndarray, float]]:
    size: tuple[int, ...] | None = None
    for index, path in itertools.islice(enumerate(_pictures(folder)), 0, limit and limit * stride, stride):
        image = _read_picture(path)
        size = size or image.shape
        if image.shape != size:
            raise UnreadableVideo(
                f"{path}: {image.shape[1]}x{image.shape[0]} pixels, but the first picture has {size[1]}x{size[0]}"
            )
        if 0 < longest_side < max(image.shape[:2]):
            scale = longest_side / max(image.shape[:2])
            to = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
            image = np.asarray(Image.fromarray(image).resize(to, Image.Resampling.BOX))
        yield image, index / PICTURE_RATE


def _quarter_turns(frame: Any) -> int:
    """Counter-clockwise quarter turns that bring a decoded frame to display orientation."""
    return round(frame.rotation / 90) % 4


def iter_frames(
    path: str | Path,
    stride: int = 1,
    limit: int | None = None,
    longest_side: int = 0,
    start: float = 0.0,
    end: float | None = None,
) -> Iterator[tuple[np.ndarray, float]]:
    """Every `stride`-th frame, at most `limit`: RGB uint8 `[H, W, 3]` in display orientation, and its time in seconds.

    Decoding is sequential and memory does not grow with the length of the video. `longest_side > 0` shrinks larger
    frames to it in the colour conversion, keeping the aspect. Times count from the first frame shown, from the
    presentation stamps (so variable frame rates are right). `start` and `end` (seconds) choose the frames in between;
    of a file, what lies before is skipped by a seek to the keyframe before `start`. Raises UnreadableVideo if no frame,
    or a damaged stream part-way, is met: a video whose end cannot be decoded is not used in part.
    """
    if stride < 1:
        raise ValueError(f"the stride is at least 1, got {stride}")
    path = Path(path)
    within = math.inf if end is None else end
    if path.is_dir():
        pictures = _iter_pictures(path, stride, None, longest_side)
        yield from itertools.islice(((f, t) for f, t in pictures if start <= t < within), limit)
        return
    container, stream = _open(path)
    with container:
        index = yielded = 0
        try:
            for frame, time in _decode(container, stream, start):
                if time < start - 1e-6:
                    continue
                if time >= within:
                    break
                if index % stride == 0:
                    yield _rgb(frame, longest_side), time
                    yielded += 1
                    if limit is not None and yielded >= limit:
                        break
                index += 1
        except (av.FFmpegError, ValueError) as error:
            raise UnreadableVideo(f"{path}: damaged after {yielded} frames ({_reason(error)})") from error
        if not yielded and limit != 0:
            where = f" between {start:g} s and {within:g} s" if start or end is not None else ""
            raise UnreadableVideo(f"{path}: the video stream has no frame{where}")


def _decode(container: Any, stream: Any, start: float) -> Iterator[tuple[Any, float]]:
    """Frames from the keyframe before `start` on, with their seconds after the first frame of the file."""
    rate = float(stream.average_rate or stream.guessed_rate or 0) or 1.0
    origin: float | None = None
    for number, frame in enumerate(container.decode(stream)):
        stamp = frame.time if frame.time is not None else number / rate
        origin = stamp if origin is None else origin
        if number == 0 and start > 0 and frame.time is not None:
            break
        yield frame, max(0.0, stamp - origin)
    else:
        return
    container.seek(int((origin + start) / stream.time_base), stream=stream)
    for frame in container.decode(stream):
        if frame.time is not None:
            yield frame, max(0.0, frame.time - origin)


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


def write_video(path: str | Path, frames: Iterable[np.ndarray], fps: float, crf: int = 20) -> None:
    """Write RGB uint8 frames `[H, W, 3]` as H.264 mp4, or as gif if the name ends so; the file is whole or not there.

    Frames are taken one by one. Encoding has one thread, so the same frames give the same bytes. An odd width or height
    loses its last row or column in an mp4 (4:2:0 chroma needs even sizes).
    """
    source = iter(frames)
    first = next(source, None)
    if first is None:
        raise ValueError("a video needs at least one frame")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        if path.suffix.lower() == ".gif":
            _write_gif(part, itertools.chain([first], source), fps)
        else:
            _write_mp4(part, first.shape[:2], itertools.chain([first], source), fps, crf)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _write_mp4(path: Path, size: tuple[int, ...], frames: Iterable[np.ndarray], fps: float, crf: int) -> None:
    height, width = (side - side % 2 for side in size)
    if not height or not width:
        raise ValueError(f"a video needs frames of at least 2x2 pixels, got {size}")
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


def _write_gif(path: Path, frames: Iterable[np.ndarray], fps: float) -> None:
    def picture(frame: np.ndarray) -> Image.Image:
        image = Image.fromarray(frame)
        image.thumbnail((GIF_SIDE, GIF_SIDE))
        return image.quantize(128)

    pictures = map(picture, frames)
    # Browsers play a gif no faster than 50 frames a second.
    duration = max(20, round(1000 / fps))
    next(pictures).save(path, "GIF", save_all=True, append_images=pictures, duration=duration, loop=0)
