"""What the tracking benchmarks have in common: numbered pictures in a folder and one text line per box.

Every malformed file ends in a UserError of one line that names the file and the line.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from elysium.boxes import Box, from_xywh_px
from elysium.errors import UserError
from elysium.evaluation.items import Item, LazyFrames

PICTURES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class TrackingSequence:
    """One video with one target: `boxes_xywh_px` is `[frames, 4]` as annotated, NaN where the target is absent.

    With `scored=False` (test sets whose truth is withheld) only the first box is known. `references` are phrases that
    describe the target; the first is the expression to track by, none means that the benchmark has no language.
    """

    name: str
    images: tuple[Path, ...] = field(repr=False)
    boxes_xywh_px: np.ndarray = field(repr=False)
    frame_size: tuple[int, int]
    references: tuple[str, ...] = ()
    video: str = ""
    scored: bool = True

    def __post_init__(self) -> None:
        assert self.boxes_xywh_px.shape == (len(self.images), 4)

    def item(self) -> Item:
        """The sequence as the evaluation knows it, with normalised boxes."""
        boxes = from_xywh_px(self.boxes_xywh_px, *self.frame_size)
        n = len(self.images)
        return Item(
            id=self.name,
            video=self.video or self.name,
            expression=self.references[0] if self.references else "",
            references=self.references,
            frame_size=self.frame_size,
            frames=tuple(range(n)),
            boxes=tuple(_box(b) for b in boxes),
            times=tuple(f / 30 for f in range(n)),
            pixels=LazyFrames(self.images, read_picture),
        )


def _box(row: np.ndarray) -> Box | None:
    x1, y1, x2, y2 = row.tolist()
    return None if np.isnan(row).any() else (x1, y1, x2, y2)


def read_picture(path: Path) -> np.ndarray:
    """RGB uint8 `[H, W, 3]`. Raises UserError on a file that is no picture."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise UserError(f"{path}: not a readable picture")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def picture_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels."""
    height, width = read_picture(path).shape[:2]
    return (width, height)


def list_pictures(folder: Path, numbered: bool = True) -> tuple[Path, ...]:
    """The pictures of a folder by number, or by name if one has no number.

    Raises UserError if there is none or, with `numbered`, if a number is missing in between.
    """
    paths = [p for p in folder.iterdir() if p.suffix.lower() in PICTURES] if folder.is_dir() else []
    if not paths:
        raise UserError(f"{folder}: no picture there; is the archive unpacked?")
    if not all(p.stem.isdigit() for p in paths):
        return tuple(sorted(paths))
    paths.sort(key=lambda p: int(p.stem))
    first = int(paths[0].stem)
    for i, path in enumerate(paths):
        if numbered and int(path.stem) != first + i:
            missing = str(first + i).zfill(len(path.stem)) + path.suffix
            raise UserError(f"{folder}: {missing} is missing between {paths[i - 1].name} and {path.name}")
    return tuple(paths)


def find_folders(root: Path, what: str) -> Path:
    """`root`, checked. Raises UserError if it is no folder."""
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give the folder that holds {what}")
    return root


def read_boxes(
    path: Path,
    frames: int | None,
    frame_size: tuple[int, int] | None,
    *,
    nan_is_absent: bool = False,
    result: bool = False,
) -> np.ndarray:
    """One `x, y, width, height` in pixels a line -> `[frames, 4]`; NaN rows where the target is absent.

    A side of 0 or less means absent, as in the toolkits (LaSOT's lion-5 and tiger-6 have a box with a negative side).
    Numbers are separated by commas, or by tabs and spaces (OTB's BlurCar1 has both), throughout a file. NaN rows are
    refused unless the benchmark marks absence so. `frames=None` takes the file's length. With `frame_size` (width,
    height), a file most of whose boxes leave the frame is refused: they are corners. With `result`, a tracker's, the
    first box may be missing. Raises UserError naming file and line.
    """
    lines = read_lines(path)
    boxes = _parse(lines)
    if boxes is None:
        boxes = _parse_slowly(path, lines)
    if frames is not None and len(boxes) < frames:
        raise UserError(f"{path}:{len(boxes) + 1}: no box for frame {len(boxes) + 1}; the folder has {frames} pictures")
    if frames is not None and len(boxes) > frames:
        raise UserError(f"{path}:{frames + 1}: a line too many; the folder has {frames} pictures")
    _refuse(path, np.isinf(boxes).any(1), "a number is infinite")
    if not nan_is_absent:
        _refuse(path, np.isnan(boxes).any(1), "NaN is not a box")
    with np.errstate(invalid="ignore"):
        boxes[(boxes[:, 2:] <= 0).any(1) | np.isnan(boxes).any(1)] = np.nan
        if frame_size is not None:
            limit = 1.02 * np.array(frame_size) + 1
            outside = np.asarray((boxes[:, :2] + boxes[:, 2:] > limit).any(1))
            present = int((~np.isnan(boxes[:, 0])).sum())
            if outside.sum() > present / 2:
                width, height = frame_size
                said = f"from this line on {int(outside.sum())} of {present} boxes leave the {width}x{height} frame"
                _refuse(path, outside, f"{said}; are they x1,y1,x2,y2 instead of x,y,width,height?")
    if not result:
        _refuse(path, np.isnan(boxes[:1]).any(1), "the target is absent from the first frame, so no tracker can start")
    return boxes


def read_flags(path: Path, frames: int) -> np.ndarray:
    """Integers, one a line or separated by commas -> `[frames]`. Raises UserError naming the file and the line."""
    lines = read_lines(path)
    try:
        flags = np.array([int(float(v)) for line in lines for v in line.split(",") if v.strip()])
    except ValueError as error:
        number = next(i for i, line in enumerate(lines, 1) if re.search(r"[^\d\s.,+-]", line))
        raise UserError(f"{path}:{number}: expected whole numbers ({error})") from error
    if len(flags) != frames:
        raise UserError(f"{path}:{len(lines)}: {len(flags)} flags for {frames} pictures")
    return flags


def read_lines(path: Path) -> list[str]:
    """The lines of a text file without empty ones at its end. Raises UserError if there is none or it is no text."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file ({error.reason})") from error
    lines = text.rstrip().splitlines()
    if not lines:
        raise UserError(f"{path}:1: the file is empty")
    return lines


def read_phrase(path: Path) -> tuple[str, ...]:
    """The first line of a language annotation; nothing if the file is missing or empty, as a few published ones are."""
    text = path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else ""
    return tuple(text.splitlines()[:1])


def _parse(lines: Sequence[str]) -> np.ndarray | None:
    """All boxes at once, or None if something is wrong or the separators differ."""
    text = "\n".join(lines)
    n = len(lines)
    commas, tabs = text.count(","), text.count("\t")
    if (commas, tabs) not in ((3 * n, 0), (0, 3 * n), (0, 0)):
        return None
    try:
        boxes = np.loadtxt(lines, delimiter="," if commas else None, ndmin=2, comments=None)
    except ValueError:
        return None
    return boxes if boxes.shape == (n, 4) else None


def _parse_slowly(path: Path, lines: Sequence[str]) -> np.ndarray:
    """Line by line, to say which one is wrong."""
    kind = ""
    rows = []
    for number, line in enumerate(lines, 1):
        if "," in line and "\t" in line:
            raise UserError(f"{path}:{number}: commas and tabs mixed in one line")
        mine = "commas" if "," in line else "blanks"
        kind = kind or mine
        if mine != kind:
            raise UserError(f"{path}:{number}: separated by {mine}, the lines before by {kind}")
        values = line.split(",") if mine == "commas" else line.split()
        if len(values) != 4:
            raise UserError(f"{path}:{number}: {len(values)} numbers instead of x, y, width, height")
        try:
            rows.append([float(v) for v in values])
        except ValueError as error:
            raise UserError(f"{path}:{number}: not a number ({error})") from error
    return np.array(rows)


def _refuse(path: Path, wrong: np.ndarray, what: str) -> None:
    if wrong.any():
        raise UserError(f"{path}:{int(wrong.argmax()) + 1}: {what}")
