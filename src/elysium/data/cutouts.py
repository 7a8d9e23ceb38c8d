"""Videos of moving cut-outs of photographs, with exact boxes: what tracking by a given box learns from.

The rendered world (`data.scenes`) is named, so it teaches words; its flat colours say little of how real things look.
Here the pieces have no name, only a look: a blob cut from one photograph, of any width, height and brightness, moves
over another one that may drift behind it, and others of the same photograph move beside it. Photographs: `data/photos`
(see docs/data.md). Lengths are fractions of the frame's side; time is in frames.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from elysium.boxes import Box
from elysium.errors import UserError

FOLDER = Path("data/photos")
NAME = "thing"  # the expression of a cut-out, which has no other
SIDES = (0.1, 0.45)
MIN_INSIDE = 0.25  # a piece with less of its box inside the frame is absent


@dataclass(frozen=True)
class Cutouts:
    """Frames `[T, S, S, 3]` (RGB, uint8), and per piece and frame its box (None: absent) and visible share."""

    frames: np.ndarray
    boxes: tuple[tuple[Box | None, ...], ...]
    visible: tuple[tuple[float, ...], ...]


@lru_cache(maxsize=1)
def photographs(folder: Path = FOLDER) -> tuple[np.ndarray, ...]:
    """All photographs of a folder by name, RGB uint8. Raises UserError if there is none."""
    paths = sorted(folder.glob("*.jpg"))
    if not paths:
        raise UserError(f"{folder}: no *.jpg there; `make data` fetches the photographs of the embedded default")
    pictures = []
    for path in paths:
        picture = cv2.imread(str(path))
        if picture is None:
            raise UserError(f"{path}: not a picture that OpenCV reads; `make data` fetches it again")
        pictures.append(np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)))
    return tuple(pictures)


def draw_cutouts(rng: np.random.Generator, n_frames: int, size: int, most: int) -> Cutouts:
    """One to `most` pieces moving for `n_frames` over a photograph, at `size` x `size` pixels; later ones in front."""
    photos = photographs()
    source = photos[int(rng.integers(len(photos)))]
    floor = _crop(rng, photos[int(rng.integers(len(photos)))], 2 * size).astype(np.float32)
    drift = rng.uniform(-0.012, 0.012, 2) if rng.random() < 0.6 else np.zeros(2)
    pieces = [Piece.draw(rng, source, size) for _ in range(int(rng.integers(1, most + 1)))]
    light, noise = rng.uniform(0.7, 1.2), rng.uniform(0, 5)
    frames = np.empty((n_frames, size, size, 3), dtype=np.uint8)
    boxes: list[list[Box | None]] = [[] for _ in pieces]
    visible: list[list[float]] = [[] for _ in pieces]
    for f in range(n_frames):
        x, y = (np.clip(0.5 + drift * (f - n_frames / 2), 0, 1) * size).astype(int)
        canvas = floor[y : y + size, x : x + size].copy()
        alphas = [piece.paint(canvas, f) for piece in pieces]
        cover = np.zeros((size, size), dtype=np.float32)
        for i in range(len(pieces) - 1, -1, -1):  # front to back
            total = float(alphas[i].sum())
            shown = float((alphas[i] * (1 - cover)).sum()) / total if total > 1 else 0.0
            visible[i].append(round(shown, 3))
            boxes[i].append(pieces[i].box(f))
            np.maximum(cover, alphas[i], out=cover)
        canvas *= light
        canvas += rng.normal(0, noise, (size, size, 1)).astype(np.float32)
        frames[f] = np.clip(canvas, 0, 255).astype(np.uint8)
    # Boxes come from back to front, as the pieces are painted.
    return Cutouts(frames, tuple(map(tuple, boxes)), tuple(map(tuple, visible)))


def _crop(rng: np.random.Generator, photo: np.ndarray, side: int) -> np.ndarray:
    """A square of a photograph, a third of its shorter side or more, mirrored or not, resized to `side` pixels."""
    short = min(photo.shape[:2])
    edge = int(rng.uniform(short / 3, short))
    y, x = (int(rng.integers(length - edge + 1)) for length in photo.shape[:2])
    part = photo[y : y + edge, x : x + edge]
    part = part[:, ::-1] if rng.random() < 0.5 else part
    return cv2.resize(np.ascontiguousarray(part), (side, side), interpolation=cv2.INTER_AREA)


@dataclass(frozen=True)
class Piece:
    """A cut-out: its pixels, its outline as radii over equal angles, and how it moves."""

    pixels: np.ndarray  # [P, P, 3] float32
    radii: np.ndarray  # [64], in [0, 1]; stretched so that the outline touches all four sides
    width: float
    height: float
    start: tuple[float, float]
    velocity: tuple[float, float]
    sway: tuple[float, float, float]  # amplitude x, amplitude y, frequency
    zoom: float  # growth per frame

    @classmethod
    def draw(cls, rng: np.random.Generator, photo: np.ndarray, size: int) -> "Piece":
        angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        radii = np.ones(64)
        for k in range(2, 5):
            radii += rng.uniform(0, 0.16) * np.sin(k * angle + rng.uniform(0, 2 * np.pi))
        height = float(np.exp(rng.uniform(*np.log(SIDES))))
        width = float(np.clip(height * np.exp(rng.uniform(-1.1, 0.5)), 0.06, 0.45))
        speed, way = rng.uniform(0, 0.05), rng.uniform(0, 2 * np.pi)
        swaying = rng.random() < 0.4
        pixels = _crop(rng, photo, size).astype(np.float32) * rng.uniform(0.6, 1.3) + rng.uniform(-30, 30, 3)
        return cls(
            pixels=np.clip(pixels, 0, 255).astype(np.float32),
            radii=radii,
            width=width,
            height=height,
            start=(float(rng.uniform(0.1, 0.9)), float(rng.uniform(0.1, 0.9))),
            velocity=(float(speed * np.cos(way)), float(speed * np.sin(way))),
            sway=(float(rng.uniform(0, 0.08) * swaying), float(rng.uniform(0, 0.05) * swaying), rng.uniform(0.15, 0.5)),
            zoom=float(rng.uniform(-0.012, 0.012)),
        )

    def outline(self, frame: int) -> np.ndarray:
        """Points `[64, 2]` of the outline in the frame, in fractions of its side; they may lie outside."""
        angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        points = np.stack([self.radii * np.cos(angle), self.radii * np.sin(angle)], 1)
        low, high = points.min(0), points.max(0)
        unit = (points - low) / (high - low) - 0.5
        grown = math.exp(self.zoom * frame)
        wave = math.sin(self.sway[2] * frame)
        centre = np.array(self.start) + np.array(self.velocity) * frame + np.array(self.sway[:2]) * wave
        return unit * (self.width * grown, self.height * grown) + _bounced(centre)

    def box(self, frame: int) -> Box | None:
        points = self.outline(frame)
        low, high = points.min(0), points.max(0)
        inside_low, inside_high = np.clip(low, 0, 1), np.clip(high, 0, 1)
        if (inside_high - inside_low).prod() < MIN_INSIDE * (high - low).prod():
            return None
        return (float(inside_low[0]), float(inside_low[1]), float(inside_high[0]), float(inside_high[1]))

    def paint(self, canvas: np.ndarray, frame: int) -> np.ndarray:
        """Blend the piece into the canvas `[S, S, 3]`; returns its alpha `[S, S]`."""
        size = len(canvas)
        points = self.outline(frame)
        mask = np.zeros((size, size), dtype=np.uint8)
        cv2.fillPoly(mask, [(points * size * 16 - 8).round().astype(np.int32)], 255, lineType=cv2.LINE_AA, shift=4)
        alpha = mask.astype(np.float32) / 255
        low, high = points.min(0) * size, points.max(0) * size
        scale = (high - low) / size
        matrix = np.array([[scale[0], 0, low[0]], [0, scale[1], low[1]]])
        moved = cv2.warpAffine(self.pixels, matrix, (size, size), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT)
        canvas += alpha[..., None] * (moved - canvas)
        return alpha


def _bounced(centre: np.ndarray) -> np.ndarray:
    """A place reflected at 0.05 and 0.95."""
    offset = (centre - 0.05) % 1.8
    return 0.05 + np.minimum(offset, 1.8 - offset)
