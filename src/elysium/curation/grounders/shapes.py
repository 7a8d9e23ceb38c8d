"""The grounder of the rendered world: classical vision on pixels alone; it never sees the truth.

Segmentation by colour name (hue bands that bear a change of light), outlines compared with the named shapes over
rotations, texture by the share of the second shade, size words by comparing look-alikes. A phrase that fits several
things is not grounded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from elysium.boxes import Box, iou
from elysium.curation.grounding import Grounding
from elysium.data.scenes import COLOURS, SHAPES, TEXTURES

# Hue band in degrees and the least saturation: the grounds are duller at the same hue.
_BANDS = {
    "red": (345, 14, 0.50),
    "orange": (14, 40, 0.52),
    "yellow": (40, 70, 0.42),
    "green": (95, 160, 0.40),
    "cyan": (165, 200, 0.36),
    "blue": (205, 250, 0.28),
    "purple": (255, 308, 0.20),
    "pink": (308, 345, 0.24),
}
_GRID = 40  # side of the normalised masks that outlines are compared on
_FILL = 0.40  # a shape of area A is drawn so that A covers this share of the grid
_ANGLES = 36
# The second shade of white and black patterns is a grey like the ground's: gaps in them are bridged, as wide as a cell.
_CLOSINGS = {"white": (3, 9, 15, 21), "black": (3, 9, 15, 21)}
_MIN_AREA = 0.002  # of the frame; smaller blobs are noise
_WORKING_SIDE = 256  # frames are brought to this side
_SIZE_RATIO = 1.25  # look-alikes of sides closer than this are neither small nor large


@dataclass(frozen=True)
class Blob:
    """A segmented thing: what its pixels look like, its box, and how well the outline fits (IoU of masks)."""

    colour: str
    shape: str
    fit: float
    runner_up: float
    fits: dict[str, float]
    box: Box
    side: float
    second_shade: float  # share of the pixels in the pattern's other shade


def _normalised(mask: np.ndarray) -> np.ndarray:
    """A mask moved to its centroid and scaled to a fixed area, `[_GRID * _GRID]` of {0, 1}."""
    m = cv2.moments(mask, binaryImage=True)
    scale = np.sqrt(_FILL * _GRID * _GRID / m["m00"])
    cx, cy = m["m10"] / m["m00"], m["m01"] / m["m00"]
    half = (_GRID - 1) / 2
    matrix = np.array([[scale, 0, half - scale * cx], [0, scale, half - scale * cy]])
    warped = cv2.warpAffine(mask.astype(np.float32), matrix, (_GRID, _GRID), flags=cv2.INTER_LINEAR)
    return (warped > 0.5).astype(np.float32).reshape(-1)


@lru_cache(maxsize=1)
def _templates() -> tuple[list[str], np.ndarray]:
    """Names `[n]` and normalised masks `[n, _GRID * _GRID]` of all shapes at all angles."""
    names, masks = [], []
    for name, outline in SHAPES.items():
        for step in range(_ANGLES):
            angle = 2 * np.pi * step / _ANGLES
            turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
            canvas = np.zeros((160, 160), dtype=np.uint8)
            cv2.fillPoly(canvas, [(outline @ turn * 50 + 80).round().astype(np.int32)], 1)
            if name == "ring":
                cv2.circle(canvas, (80, 80), 25, 0, -1)
            names.append(name)
            masks.append(_normalised(canvas))
    return names, np.stack(masks)


def _colour_masks(rgb: np.ndarray) -> dict[str, np.ndarray]:
    """Mask `[H, W]` of uint8 per colour name, for an RGB uint8 frame."""
    smooth = cv2.medianBlur(rgb, 3)
    hsv = cv2.cvtColor(smooth.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hue, saturation, value = cv2.split(hsv)
    masks = {}
    for name, (low, high, least) in _BANDS.items():
        inside = (hue >= low) & (hue < high) if low < high else (hue >= low) | (hue < high)
        masks[name] = inside & (saturation > least) & (value > 0.16)
    ground = float(np.median(value))
    masks["white"] = (saturation < 0.12) & (value > max(0.74, min(1.18 * ground, 0.93)))
    masks["black"] = (value < min(0.26, 0.62 * ground)) & (saturation < 0.5)
    return {name: mask.astype(np.uint8) for name, mask in masks.items()}


def find_blobs(frame: np.ndarray) -> list[Blob]:
    """Every named thing that the frame's pixels show. RGB uint8 `[H, W, 3]`."""
    height, width = frame.shape[:2]
    scale = _WORKING_SIDE / max(height, width)
    rgb = cv2.resize(frame, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_CUBIC)
    blobs = []
    for colour, mask in _colour_masks(rgb).items():
        blobs += _best_closing([_blobs_of(rgb, colour, _close(mask, width)) for width in _CLOSINGS.get(colour, (3,))])
    return blobs


def _best_closing(attempts: list[list[Blob]]) -> list[Blob]:
    """The blobs of several closings of one colour: of those that overlap, the one whose outline fits best."""
    kept: list[Blob] = []
    for blob in sorted((b for found in attempts for b in found), key=lambda b: -b.fit):
        if all(iou(np.array(blob.box), np.array(other.box)) < 0.1 for other in kept):
            kept.append(blob)
    return kept


def _blobs_of(rgb: np.ndarray, colour: str, mask: np.ndarray) -> list[Blob]:
    """The blobs of a mask `[H, W]` of one colour."""
    blobs = []
    if mask.any():
        count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        for i in range(1, count):
            x, y, w, h, area = (int(v) for v in stats[i])
            if area < _MIN_AREA * mask.size or max(w, h) > 0.6 * max(mask.shape):
                continue
            part = np.pad((labels[y : y + h, x : x + w] == i).astype(np.uint8), 2)
            found = _classify(part)
            pixels = rgb[y : y + h, x : x + w][part[2:-2, 2:-2] > 0]
            box = (x / mask.shape[1], y / mask.shape[0], (x + w) / mask.shape[1], (y + h) / mask.shape[0])
            blobs.append(Blob(colour, *found, box, float(np.sqrt(area)), _second_shade(pixels)))
    return blobs


def _close(mask: np.ndarray, width: int) -> np.ndarray:
    """The mask without specks and without gaps narrower than `width` pixels."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    closed = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel)
    return np.asarray(cv2.morphologyEx(closed, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)))


def _classify(mask: np.ndarray) -> tuple[str, float, float, dict[str, float]]:
    """The best shape of a mask, its IoU with the template, the best other shape's, and all shapes'.

    Holes as small as a pattern's cells are filled; a ring's is kept.
    """
    filled = mask.copy()
    contours, tree = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    area = float(mask.sum())
    for contour, (_, _, _, parent) in zip(contours, tree[0], strict=True):
        if parent >= 0 and cv2.contourArea(contour) < 0.1 * area:
            cv2.drawContours(filled, [contour], -1, 1, -1)
    names, masks = _templates()
    probe = _normalised(filled)
    inter = masks @ probe
    overlaps = inter / (masks.sum(1) + probe.sum() - inter)
    by_shape = overlaps.reshape(len(SHAPES), _ANGLES).max(1)
    order = np.argsort(-by_shape)
    shapes = names[::_ANGLES]
    fits = dict(zip(shapes, by_shape.tolist(), strict=True))
    return shapes[order[0]], float(by_shape[order[0]]), float(by_shape[order[1]]), fits


def _second_shade(pixels: np.ndarray) -> float:
    """The share of the rarer of two shades among RGB pixels `[n, 3]`; 0 where there is but one."""
    light = pixels.astype(np.float32).max(1)
    low, high = np.percentile(light, [4, 96])
    if high - low < 45:
        return 0.0
    share = float((light < (low + high) / 2).mean())
    return min(share, 1 - share)


def _parse(phrase: str) -> tuple[str, set[str], str, str] | None:
    """(shape, colours, texture, size word) of a phrase, or None if it names no shape."""
    words = phrase.lower().split()
    if not words or words[-1] not in SHAPES:
        return None
    texture = next((w for w in words if w in TEXTURES), "")
    size = next((w for w in words if w in ("small", "large", "big", "little", "tiny", "huge")), "")
    return words[-1], {w for w in words if w in COLOURS}, texture, size


class ShapesGrounder:
    """`ground` for phrases of the rendered world ("small red striped ball"); a few milliseconds per frame."""

    def ground(self, frames: Sequence[np.ndarray], phrases: Sequence[str]) -> list[list[Grounding]]:
        """See `Grounder`. The score rises with the fit of the outline."""
        wanted = [_parse(phrase) for phrase in phrases]
        results = []
        for frame in frames:
            blobs = find_blobs(frame) if any(wanted) else []
            results.append([_answer(w, blobs) for w in wanted])
        return results


def _answer(wanted: tuple[str, set[str], str, str] | None, blobs: list[Blob]) -> Grounding:
    if wanted is None:
        return Grounding(note="class not in the detector's vocabulary")
    shape, colours, texture, size = wanted
    # A blob of the colour whose outline is unclear (hidden, cut by the border) may be a second one: it stays a rival.
    of_colour = [b for b in blobs if b.colour in colours or not colours]
    found = [b for b in of_colour if b.shape == shape and b.fit > 0.6]
    rivals = [b for b in of_colour if b not in found and _could_be(b, shape)]
    if len(found) > 1:  # a phrase without a texture means the plain one of two
        found = [b for b in found if (b.second_shade > 0.12) == (texture not in ("", "plain"))] or found
    sized = False
    if size and len(found) == 2:
        small, large = sorted(found, key=lambda b: b.side)
        if large.side / small.side > _SIZE_RATIO:
            found, sized = [small if size in ("small", "little", "tiny") else large], True
        else:
            return Grounding(label=shape, note="look-alikes of one size")
    if not found:
        return Grounding(label=shape, note=f"no {shape} of that colour")
    if size and len(found) == 1 and not sized:
        return Grounding(label=shape, note=f"{size} compared with nothing")
    if len(found) > 1 or (rivals and not size):
        return Grounding(label=shape, note=f"{len(found) + len(rivals)} could be meant")
    best = found[0]
    return Grounding(best.box, _score(best), shape)


def _could_be(blob: Blob, shape: str) -> bool:
    """Whether a blob of unclear outline is large enough to be a thing, and might be of the shape."""
    unclear = blob.fit < 0.75 and blob.fits[shape] > 0.85 * blob.fit
    return unclear and blob.side > 0.05 * _WORKING_SIDE


def _score(blob: Blob) -> float:
    """A fit of 0.7 is a guess (0.5), 0.85 and more is certain; a close runner-up halves the certainty."""
    certainty = float(np.clip((blob.fit - 0.55) / 0.3, 0, 1))
    margin = float(np.clip((blob.fit - blob.runner_up) / 0.08, 0, 1))
    return certainty * (0.5 + 0.5 * margin)
