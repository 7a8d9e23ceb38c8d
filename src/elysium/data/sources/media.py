"""Pictures and videos of the data sets as JPEGs: whole, decodable, of a size that training can read."""

import io
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from elysium.data.sources.reading import Film, Media, Member
from elysium.data.video import MAX_PIXELS, UnreadableVideo, probe, read_frames

QUALITY = 92


class MediaError(Exception):
    """A picture or video that is missing or cannot be read; the text is the reason, `where` the file."""

    def __init__(self, reason: str, where: str) -> None:
        super().__init__(f"{reason}: {where}")
        self.reason, self.where = reason, where


MISSING = "missing picture or video"


def is_there(media: Media) -> bool:
    """Whether the files of an item exist."""
    if isinstance(media, tuple):
        return all(path.is_file() for path in media)
    return (media.path if isinstance(media, Film) else media.tar if isinstance(media, Member) else media).is_file()


def load(media: Media, longest_side: int, max_frames: int) -> tuple[list[bytes], tuple[int, int], list[float]]:
    """The JPEG of every frame, (width, height) of the original, and the frames' times in seconds.

    A JPEG that needs no change is copied byte by byte after it has been decoded once; others (PNG, CMYK, turned by
    EXIF, longer than `longest_side` > 0) are encoded anew. Of a video at most `max_frames` are taken, evenly spaced;
    frames that come as pictures are all kept, counted from 0. Raises MediaError.
    """
    if isinstance(media, Film):
        return _film(media.path, longest_side, max_frames)
    paths = media if isinstance(media, tuple) else (media,)
    jpegs, size = [], (0, 0)
    for i, path in enumerate(paths):
        jpeg, found = _picture(_bytes(path), str(path), longest_side)
        if i and found != size:
            raise MediaError("frames of different sizes", f"{path}: {found[0]}x{found[1]}, not {size[0]}x{size[1]}")
        jpegs.append(jpeg)
        size = found
    return jpegs, size, [float(i) for i in range(len(jpegs))]


def _bytes(source: Path | Member) -> bytes:
    try:
        if isinstance(source, Member):
            with open(source.tar, "rb") as file:
                file.seek(source.offset)
                return file.read(source.size)
        return source.read_bytes()
    except FileNotFoundError as error:
        raise MediaError(MISSING, str(error.filename)) from error
    except OSError as error:
        raise MediaError("unreadable picture", f"{source}: {error.strerror}") from error


def _picture(data: bytes, where: str, longest_side: int) -> tuple[bytes, tuple[int, int]]:
    """JPEG bytes, and (width, height) before shrinking, in display orientation."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise MediaError("picture too large", f"{where}: {width}x{height} pixels")
            turned = image.getexif().get(0x0112, 1) != 1
            keeps = not 0 < longest_side < max(width, height)
            if image.format == "JPEG" and image.mode in ("RGB", "L") and keeps and not turned:
                image.draft(image.mode, (width // 8 or 1, height // 8 or 1))  # a damaged file fails here just as well
                image.load()
                return data, (width, height)
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except UnidentifiedImageError as error:
        raise MediaError("unreadable picture", f"{where}: no picture in a known format") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise MediaError("unreadable picture", f"{where}: {' '.join(str(error).split())}") from error
    size = upright.size
    if not keeps:
        upright.thumbnail((longest_side, longest_side))
    return _jpeg(upright), size


def _film(path: Path, longest_side: int, max_frames: int) -> tuple[list[bytes], tuple[int, int], list[float]]:
    if not path.is_file():
        raise MediaError(MISSING, str(path))
    try:
        info = probe(path)
        stride = math.ceil(info.n_frames / max_frames)
        frames, times = read_frames(path, stride, max_frames, longest_side)
    except UnreadableVideo as error:
        raise MediaError("unreadable video", str(error)) from error
    size = (info.width, info.height)
    return [_jpeg(Image.fromarray(np.ascontiguousarray(f))) for f in frames], size, [round(t, 4) for t in times]


def _jpeg(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()
