"""What a reader of a public data set yields: its entries as they stand in the official files, no picture opened yet.

A reader checks at once that the required files are there (UserError if not) and then yields an `Item` per picture or
video and a `Drop` for what cannot be read. Boxes are still in the data set's own units; `checks` turns items into
records.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from elysium.errors import UserError
from elysium.samples import Turn

RawBox = tuple[float, float, float, float]  # x1, y1, x2, y2 in the units of Item.scale
MALFORMED = (KeyError, TypeError, ValueError, IndexError, AttributeError)  # what an entry of another form raises


@dataclass(frozen=True)
class Drop:
    """Something of the official files that does not come into the shards: why, and where it stands."""

    reason: str
    where: str


@dataclass(frozen=True)
class RawObject:
    """An object with all phrases that name it, the first its description, and one box per frame."""

    phrases: tuple[str, ...]
    boxes: tuple[RawBox | None, ...]
    object_class: str = ""


@dataclass(frozen=True)
class Member:
    """A file inside a tar."""

    tar: Path
    offset: int
    size: int


@dataclass(frozen=True)
class Film:
    """A video file, of which frames are to be drawn."""

    path: Path


Media = Path | Member | Film | tuple[Path, ...]  # a picture, one inside a tar, a video, a video's frames


@dataclass(frozen=True)
class Item:
    """One picture or video. `scale` is what boxes are divided by to be normalised: the annotated (width, height),
    (1, 1) where they are normalised already, None for the pixels of the picture itself.

    The boxes of `dialogues` are in the same units. `frame_times` are seconds; empty: counted from 0 by frames.
    """

    name: str
    where: str
    media: Media
    objects: tuple[RawObject, ...] = ()
    captions: tuple[str, ...] = ()
    dialogues: tuple[tuple[Turn, ...], ...] = ()
    scale: tuple[float, float] | None = None
    frame_times: tuple[float, ...] = ()
    dropped: tuple[Drop, ...] = ()


@dataclass(frozen=True)
class Reading:
    """The entries of a data set; `total` is how many there are, if that is known before reading."""

    entries: Iterator[Item | Drop]
    total: int | None = None


@dataclass(frozen=True)
class Source:
    """A public data set: how it is read, which official files that needs, where they come from, under what licence.

    `expected` is the number of pictures or videos that the complete training split has, where that is published.
    """

    title: str
    read: Callable[[Path], Reading]
    files: str
    url: str
    licence: str
    expected: int | None = None


def each(rows: Iterable[tuple[str, Any]], read: Callable[[str, Any], Item | Drop | None]) -> Iterator[Item | Drop]:
    """`read(where, row)` of every row; a row of another form becomes a Drop that names it, None is passed over."""
    for where, row in rows:
        try:
            entry = read(where, row)
        except MALFORMED as error:
            yield Drop("malformed entry", f"{where}: {error!r}")
        else:
            if entry is not None:
                yield entry


def numbered(path: Path, rows: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Rows with where they stand: the file and the number of the entry, from 0."""
    return ((f"{path}: entry {i}", row) for i, row in enumerate(rows))


def load_json(path: Path, kind: type = list) -> Any:
    """A whole JSON file. Raises UserError if it is missing, is no JSON or has another outermost type."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; see `elysium shard --help` for the files of each source") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); download it again") from error
    if not isinstance(value, kind):
        raise UserError(f"{path}: holds a {type(value).__name__}, not a {kind.__name__}; is it the official file?")
    return value


def field(path: Path, value: dict[str, Any], name: str, kind: type = list) -> Any:
    """An outer field of a JSON file. Raises UserError if it is missing or of another type."""
    if not isinstance(value.get(name), kind):
        raise UserError(f"{path}: has no {kind.__name__} {name!r}; is it the official file?")
    return value[name]


def folder(root: Path, *names: str) -> Path:
    """The first of these folders that exists below `root`. Raises UserError if none does."""
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise UserError(f"{root}: needs the folder {' or '.join(names)}; see `elysium shard --help`")


def inside(base: Path, name: object) -> Path:
    """A file that an annotation names, below `base`. Raises ValueError on a name that leads elsewhere."""
    path = PurePosixPath(str(name))
    if not isinstance(name, str) or not name or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{name!r} is no file name below {base}")
    return base / path
