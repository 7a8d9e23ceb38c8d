"""One scene of the rendered world: textured, named, moving things over a textured ground, with exact boxes.

A scene is a pure function of a random generator. Lengths are fractions of the frame's side; time is in frames.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from elysium.boxes import Box

COLOURS: dict[str, tuple[int, int, int]] = {  # RGB
    "red": (215, 45, 40),
    "green": (45, 160, 60),
    "blue": (45, 85, 220),
    "yellow": (240, 210, 45),
    "purple": (140, 55, 175),
    "orange": (245, 135, 35),
    "pink": (245, 130, 185),
    "cyan": (55, 200, 210),
    "white": (242, 242, 242),
    "black": (22, 22, 22),
}
TEXTURES = ("plain", "striped", "dotted", "checkered")
GROUNDS: dict[str, tuple[int, int, int]] = {
    "grassy field": (112, 128, 96),
    "sandy floor": (158, 142, 118),
    "brick wall": (136, 108, 98),
    "wooden table": (128, 106, 84),
    "cloudy sky": (142, 156, 172),
    "stone floor": (126, 126, 130),
    "grey carpet": (98, 98, 104),
    "snowy ground": (182, 186, 194),
}
SMALL, LARGE = (0.15, 0.21), (0.27, 0.36)  # side of a thing, as a fraction of the frame's
MIN_INSIDE = 0.25  # a thing with less of its box inside the frame is absent
_SPRITE = 72  # side of the drawn sprite in pixels
_Pose = tuple[float, float, float, float]  # centre x, centre y, side, angle
_DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


def _outline(name: str) -> np.ndarray:
    """Outline of a shape, `[n, 2]`, centred, within the unit disc's box [-1, 1]^2."""
    if name in ("ball", "ring"):
        angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        return np.stack([np.cos(angle), np.sin(angle)], 1)
    if name == "star":
        angle = np.arange(10) * np.pi / 5 - np.pi / 2
        radius = np.where(np.arange(10) % 2 == 0, 1.0, 0.42)
        return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    if name == "heart":
        t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
        return np.stack([np.sin(t) ** 3, -y / 17.0], 1)
    polygons = {
        "box": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
        "triangle": [(0, -0.95), (0.95, 0.8), (-0.95, 0.8)],
        "diamond": [(0, -1), (0.68, 0), (0, 1), (-0.68, 0)],
        "cross": [
            *[(-0.33, -1), (0.33, -1), (0.33, -0.33), (1, -0.33), (1, 0.33), (0.33, 0.33)],
            *[(0.33, 1), (-0.33, 1), (-0.33, 0.33), (-1, 0.33), (-1, -0.33), (-0.33, -0.33)],
        ],
    }
    return np.array(polygons[name], dtype=np.float64)


SHAPES: dict[str, np.ndarray] = {
    name: _outline(name) for name in ("ball", "box", "triangle", "star", "heart", "diamond", "cross", "ring")
}


@dataclass(frozen=True)
class Thing:
    """What a thing looks like and how it moves; `twin` tells how the words set it apart from a look-alike."""

    shape: str
    colour: str
    texture: str
    side: float
    start: tuple[float, float]
    velocity: tuple[float, float]
    sway: tuple[float, float, float, float]  # amplitude x, amplitude y, frequency, phase
    spin: tuple[float, float]  # angle, radians per frame
    zoom: tuple[float, float]  # amplitude, frequency
    leaves: bool  # it may leave the frame instead of bouncing
    twin: str = ""  # "size" or "motion"

    @property
    def size_word(self) -> str:
        return "small" if self.side < (SMALL[1] + LARGE[0]) / 2 else "large"

    @property
    def direction(self) -> str:
        return max(_DIRECTIONS, key=lambda d: float(np.dot(_DIRECTIONS[d], self.velocity)))

    @property
    def keeps_direction(self) -> bool:
        """Whether motion words fit: fast enough, and along one axis."""
        low, high = sorted(map(abs, self.velocity))
        return high > 0.015 and low < 0.6 * high and self.sway[:2] == (0.0, 0.0)

    def words(self, size: bool = False, colour: bool = True, texture: bool = True, motion: bool = False) -> str:
        """A description by the chosen attributes, without article: "small red striped ball moving left"."""
        parts = [self.size_word] if size else []
        parts += [self.colour] if colour else []
        parts += [self.texture] if texture and self.texture != "plain" else []
        text = " ".join([*parts, self.shape])
        return f"{text} moving {self.direction}" if motion else text

    @property
    def name(self) -> str:
        """The description that tells this thing from all others of its scene."""
        return self.words(size=self.twin == "size", motion=self.twin == "motion")


@dataclass(frozen=True)
class Scene:
    """Rendered frames `[T, S, S, 3]` (RGB, uint8) with what they show."""

    frames: np.ndarray
    things: tuple[Thing, ...]
    boxes: tuple[tuple[Box | None, ...], ...]  # per thing, per frame
    visible: tuple[tuple[float, ...], ...]  # share of the thing's pixels that nothing hides, per thing, per frame
    ground: str

    def references(self, thing: Thing, moving: bool) -> list[str]:
        """The descriptions that fit this thing alone. Motion words only where `moving` (they need several frames)."""

        def options(t: Thing) -> list[str]:
            texts = [t.words(s, c, x) for s in (False, True) for c in (False, True) for x in (False, True)]
            if moving and t.keeps_direction:
                texts += [t.words(colour=c, texture=False, motion=True) for c in (False, True)]
            return texts

        # A colour and a shape fit a thing whatever its texture, so others count with every description of theirs.
        others = {text for other in self.things if other is not thing for text in options(other)}
        unique = [text for text in dict.fromkeys(options(thing)) if text not in others]
        return [thing.name, *[text for text in unique if text != thing.name]]


def draw_scene(
    rng: np.random.Generator, n_frames: int, size: int, max_objects: int, moving: bool = True, album: bool = False
) -> Scene:
    """Draw things, let them move for `n_frames`, render them at `size` x `size` pixels.

    In an album they do not move: each frame is a picture of its own, where the same things lie anywhere.
    """
    things = _draw_things(rng, max_objects, moving, n_frames)
    camera = rng.uniform(-0.008, 0.008, 2) if moving and rng.random() < 0.5 else np.zeros(2)
    ground = str(rng.choice(list(GROUNDS)))
    side = math.ceil(size * (1 + 2 * float(np.abs(camera).max()) * n_frames)) + 2
    floor = _ground(rng, ground, side)
    pillar = _pillar(rng, size) if moving and rng.random() < 0.3 else None
    sprites = [_sprite(rng, t) for t in things]
    light = rng.uniform(0.85, 1.12)
    dim = rng.uniform(-0.006, 0.006) if moving else 0.0
    noise = rng.uniform(0, 5)
    frames = np.empty((n_frames, size, size, 3), dtype=np.uint8)
    boxes: list[list[Box | None]] = [[] for _ in things]
    visible: list[list[float]] = [[] for _ in things]
    paths = _scatter(rng, things, n_frames) if album else [list(_path(t, n_frames, camera)) for t in things]
    for f in range(n_frames):
        shift = ((camera * f + np.abs(camera) * n_frames) * size).astype(int)
        canvas = floor[shift[1] : shift[1] + size, shift[0] : shift[0] + size].astype(np.float32)
        layers: list[tuple[int, int, np.ndarray]] = []
        for i, (sprite, path) in enumerate(zip(sprites, paths, strict=True)):
            box, corner, alpha = _paint(canvas, sprite, things[i], path[f], size)
            boxes[i].append(box)
            layers.append((corner[0], corner[1], alpha))
        cover = np.zeros((size, size), dtype=np.float32)
        if pillar is not None:
            x, width, texture = pillar
            canvas[:, x : x + width] = texture
            cover[:, x : x + width] = 1
        for i in range(len(things) - 1, -1, -1):  # front to back
            x, y, alpha = layers[i]
            h, w = alpha.shape
            under = cover[y : y + h, x : x + w]
            total = float(alpha.sum())
            visible[i].append(round(float((alpha * (1 - under)).sum()) / total, 3) if total > 1 else 0.0)
            np.maximum(under, alpha, out=under)
        canvas *= light + dim * f
        if noise > 0.5:
            canvas += rng.normal(0, noise, (size, size, 1)).astype(np.float32)
        frames[f] = np.clip(canvas, 0, 255).astype(np.uint8)
    return Scene(frames, tuple(things), tuple(map(tuple, boxes)), tuple(map(tuple, visible)), ground)


def _draw_things(rng: np.random.Generator, max_objects: int, moving: bool, n_frames: int) -> list[Thing]:
    n = int(rng.integers(1, max_objects + 1))
    things: list[Thing] = []
    while len(things) < n:
        thing = _draw_thing(rng, moving)
        if things and rng.random() < 0.5:  # a look-alike of the first thing
            first, kind = things[0], rng.random()
            if kind < 0.35:
                thing = replace(thing, shape=first.shape)
            elif kind < 0.7:
                thing = replace(thing, colour=first.colour)
            elif kind < 0.85 and not any(t.twin for t in things):
                sides = sorted((rng.uniform(*SMALL), rng.uniform(*LARGE)), reverse=first.size_word == "large")
                same: dict[str, Any] = {"shape": first.shape, "colour": first.colour, "texture": first.texture}
                things[0] = replace(first, side=sides[0], twin="size")
                thing = replace(thing, **same, side=sides[1], twin="size")
            elif moving and not any(t.twin for t in things):
                speed = rng.uniform(0.02, 0.05, 2)
                ways = rng.permutation(list(_DIRECTIONS))[:2]
                same = {"shape": first.shape, "colour": first.colour, "texture": first.texture, "side": first.side}
                v = [tuple(float(c) * s for c in _DIRECTIONS[w]) for w, s in zip(ways, speed, strict=True)]
                steady: dict[str, Any] = {"sway": (0.0, 0.0, 0.0, 0.0), "twin": "motion", "leaves": False}
                starts = [_start_for(rng, velocity, n_frames) for velocity in v]
                things[0] = replace(first, velocity=v[0], start=starts[0], **steady)
                thing = replace(thing, **same, velocity=v[1], start=starts[1], **steady)
        if any(t.name == thing.name or (t.words() == thing.words() and not (t.twin and thing.twin)) for t in things):
            continue
        near = min((math.dist(t.start, thing.start) for t in things), default=1.0)
        if near < 0.22:
            continue
        things.append(thing)
    return things


def _start_for(rng: np.random.Generator, velocity: tuple[float, ...], n_frames: int) -> tuple[float, float]:
    """A start from which a steady thing keeps its direction as long as the frame allows."""
    x, y = (0.5 - math.copysign(0.33, v) if v else float(rng.uniform(0.2, 0.8)) for v in velocity)
    return (x, y)


def _draw_thing(rng: np.random.Generator, moving: bool) -> Thing:
    low, high = SMALL if rng.random() < 0.45 else LARGE
    speed = rng.uniform(0.0, 0.055) if moving and rng.random() < 0.9 else 0.0
    angle = rng.uniform(0, 2 * np.pi)
    sway = rng.uniform(0, 0.12, 2) * (rng.random() < 0.4) if moving else np.zeros(2)
    return Thing(
        shape=str(rng.choice(list(SHAPES))),
        colour=str(rng.choice(list(COLOURS))),
        texture=str(rng.choice(TEXTURES, p=[0.4, 0.2, 0.2, 0.2])),
        side=float(rng.uniform(low, high)),
        start=(float(rng.uniform(0.12, 0.88)), float(rng.uniform(0.12, 0.88))),
        velocity=(float(speed * np.cos(angle)), float(speed * np.sin(angle))),
        sway=(float(sway[0]), float(sway[1]), float(rng.uniform(0.15, 0.4)), float(rng.uniform(0, 6.28))),
        spin=(float(rng.uniform(-0.5, 0.5)), float(rng.uniform(-0.08, 0.08)) if moving else 0.0),
        zoom=(float(rng.uniform(0, 0.15)) if moving else 0.0, float(rng.uniform(0.05, 0.25))),
        leaves=bool(rng.random() < 0.12),
    )


def _path(thing: Thing, n_frames: int, camera: np.ndarray) -> Iterator[_Pose]:
    """Centre x, centre y, side, angle in each frame."""
    ax, ay, frequency, phase = thing.sway
    low, high = thing.side * 0.45, 1 - thing.side * 0.45
    for f in range(n_frames):
        wave = math.sin(frequency * f + phase) - math.sin(phase)
        x = thing.start[0] + thing.velocity[0] * f + ax * wave
        y = thing.start[1] + thing.velocity[1] * f + ay * wave
        if not thing.leaves:
            x, y = _reflect(x, low, high), _reflect(y, low, high)
        else:
            x, y = x - camera[0] * f, y - camera[1] * f
        side = thing.side * (1 + thing.zoom[0] * math.sin(thing.zoom[1] * f))
        yield x, y, side, thing.spin[0] + thing.spin[1] * f


def _scatter(rng: np.random.Generator, things: list[Thing], n_frames: int) -> list[list[_Pose]]:
    """Places anew in each frame, apart from each other as far as 30 draws find them."""
    paths: list[list[_Pose]] = [[] for _ in things]
    for _ in range(n_frames):
        taken: list[tuple[float, float]] = []
        for path, thing in zip(paths, things, strict=True):
            for _ in range(30):
                place = (float(rng.uniform(0.12, 0.88)), float(rng.uniform(0.12, 0.88)))
                if all(math.dist(place, other) >= 0.22 for other in taken):
                    break
            taken.append(place)
            path.append((*place, thing.side * float(rng.uniform(0.85, 1.15)), float(rng.uniform(-0.5, 0.5))))
    return paths


def _reflect(value: float, low: float, high: float) -> float:
    span = high - low
    offset = (value - low) % (2 * span)
    return low + (offset if offset <= span else 2 * span - offset)


def _sprite(rng: np.random.Generator, thing: Thing) -> np.ndarray:
    """RGBA float32 `[_SPRITE, _SPRITE, 4]`; the outline's [-1, 1] spans the sprite less a margin of 2 pixels."""
    base = np.clip(np.array(COLOURS[thing.colour]) + rng.integers(-10, 11, 3), 0, 255).astype(np.float32)
    # The second colour of a pattern is a shade of the first, so a thing has one colour by name.
    second = base * 0.42 if thing.colour not in ("black", "purple", "blue") else base * 0.5 + 120
    if thing.colour == "white":
        second = base * 0.62
    yy, xx = np.mgrid[0:_SPRITE, 0:_SPRITE]
    cell = _SPRITE // 6
    if thing.texture == "striped":
        pattern = (xx // cell) % 2 == 1
    elif thing.texture == "checkered":
        pattern = ((xx // (cell + 4)) + (yy // (cell + 4))) % 2 == 1
    elif thing.texture == "dotted":
        step = _SPRITE // 4
        pattern = ((xx % step - step / 2) ** 2 + (yy % step - step / 2) ** 2) < (step * 0.33) ** 2
    else:
        pattern = np.zeros((_SPRITE, _SPRITE), dtype=bool)
    rgba = np.empty((_SPRITE, _SPRITE, 4), dtype=np.float32)
    rgba[..., :3] = np.where(pattern[..., None], second, base)
    half = _SPRITE / 2
    mask = np.zeros((_SPRITE, _SPRITE), dtype=np.uint8)
    points = ((SHAPES[thing.shape] * (half - 2) + half) * 16).astype(np.int32)
    cv2.fillPoly(mask, [points], 255, lineType=cv2.LINE_AA, shift=4)
    if thing.shape == "ring":
        cv2.circle(mask, (int(half * 16), int(half * 16)), int((half - 2) * 0.5 * 16), 0, -1, cv2.LINE_AA, shift=4)
    rgba[..., 3] = mask / 255.0
    return rgba


def _paint(
    canvas: np.ndarray, sprite: np.ndarray, thing: Thing, pose: _Pose, size: int
) -> tuple[Box | None, tuple[int, int], np.ndarray]:
    """Blend a sprite into the canvas; returns its exact box (None: absent), the painted corner and its alpha there."""
    x, y, side, angle = pose
    cos, sin = math.cos(angle), math.sin(angle)
    turned = SHAPES[thing.shape] @ np.array([[cos, sin], [-sin, cos]]) * (side / 2) + (x, y)
    low, high = turned.min(0), turned.max(0)
    inside_low, inside_high = np.clip(low, 0, 1), np.clip(high, 0, 1)
    share = float((inside_high - inside_low).prod() / (high - low).prod())
    box = (float(inside_low[0]), float(inside_low[1]), float(inside_high[0]), float(inside_high[1]))
    x0, y0 = (max(0, int(v * size) - 2) for v in low)
    x1, y1 = (min(size, math.ceil(v * size) + 2) for v in high)
    if x1 <= x0 or y1 <= y0:
        return None, (0, 0), np.zeros((0, 0), dtype=np.float32)
    scale = side * size / (_SPRITE - 4)
    half = _SPRITE / 2 - 0.5
    matrix = np.array(
        [
            [scale * cos, -scale * sin, x * size - 0.5 - x0 - scale * (cos * half - sin * half)],
            [scale * sin, scale * cos, y * size - 0.5 - y0 - scale * (sin * half + cos * half)],
        ]
    )
    small = cv2.GaussianBlur(sprite, (0, 0), 0.4 / scale) if scale < 0.6 else sprite  # else stripes alias
    painted = cv2.warpAffine(small, matrix, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
    alpha = painted[..., 3]
    region = canvas[y0:y1, x0:x1]
    region += alpha[..., None] * (painted[..., :3] - region)
    return (box if share >= MIN_INSIDE else None), (x0, y0), alpha


def _ground(rng: np.random.Generator, name: str, side: int) -> np.ndarray:
    """A textured ground `[side, side, 3]`, float32: octaves of smooth noise, with the name's own pattern."""
    base = np.array(GROUNDS[name], dtype=np.float32) + rng.integers(-8, 9, 3)
    texture = np.zeros((side, side), dtype=np.float32)
    octaves = [(4, 12.0), (11, 9.0), (30, 7.0)]
    for cells, amplitude in octaves:
        grid = rng.normal(0, amplitude, (cells, cells)).astype(np.float32)
        texture += cv2.resize(grid, (side, side), interpolation=cv2.INTER_LINEAR)
    yy, xx = np.mgrid[0:side, 0:side]
    if name == "brick wall":
        step = max(6, side // 9)
        rows = yy // step
        texture += np.where((yy % step < 1) | ((xx + rows * step) % (2 * step) < 1), 30.0, 0.0)
    elif name == "wooden table":
        texture += 9 * np.sin(yy * (70.0 / side) + texture * 0.08)
    elif name == "stone floor":
        step = max(8, side // 5)
        texture += np.where((yy % step < 1) | (xx % step < 1), -28.0, 0.0)
    return np.clip(base + texture[..., None], 0, 255).astype(np.float32)


def _pillar(rng: np.random.Generator, size: int) -> tuple[int, int, np.ndarray]:
    """A grey pillar in front of everything: left edge, width, texture `[size, width, 3]`."""
    width = int(size * rng.uniform(0.1, 0.18))
    x = int(rng.uniform(0.15, 0.85) * size) - width // 2
    x = max(0, min(size - width, x))
    shade = 90 + 50 * np.sin(np.linspace(0.3, 2.8, width))[None, :, None] + rng.normal(0, 6, (size, 1, 1))
    return x, width, np.repeat(shade.astype(np.float32), 3, axis=2)
