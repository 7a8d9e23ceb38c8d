"""`elysium shard`: a public data set's official files become webdataset shards, checked, with a report beside them.

The entries of the annotation files, in their order, are cut into shards of `per_shard`; a shard is opened picture by
picture and appears by rename, its journal last. The journal holds a hash of the shard's entries: a run that was killed
goes on with the first shard that is missing, and annotations that changed rebuild what they touch. Shards in which a
picture was missing that has come since are built anew, too. `report.json` counts what came in and, by reason, what was
left out; `dropped.jsonl` names all of it with file and entry.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from elysium.data.shards import write_shard
from elysium.data.sources import SOURCES
from elysium.data.sources.checks import record
from elysium.data.sources.media import is_there
from elysium.data.sources.reading import Drop, Item
from elysium.errors import UserError
from elysium.files import write_atomic
from elysium.samples import VideoRecord

EXAMPLES = 3  # of each reason, in the report


@dataclass(frozen=True)
class Settings:
    """What a shard's bytes depend on besides its entries."""

    source: str
    per_shard: int = 1000
    longest_side: int = 0  # pixels; larger pictures are shrunk to it, 0 keeps all as they are
    max_frames: int = 64  # taken of a video file


@dataclass(frozen=True)
class Chunk:
    """The entries of one shard, and those among them that could not be read."""

    number: int
    items: tuple[Item, ...]
    dropped: tuple[Drop, ...]

    def __len__(self) -> int:
        return len(self.items) + len(self.dropped)

    def fingerprint(self, settings: Settings) -> str:
        return hashlib.sha256(repr((settings, self.items, self.dropped)).encode()).hexdigest()


def shard(
    settings: Settings, root: Path, out: Path, limit: int = 0, workers: int = 1, progress: bool = True
) -> dict[str, Any]:
    """Make the shards `SOURCE-000000.tar`, ... in `out` and return the report.

    Raises UserError for an unknown source, a missing official file, or a folder of shards made with other settings.
    """
    if settings.source not in SOURCES:
        raise UserError(f"unknown source {settings.source!r}; choose one of {', '.join(SOURCES)}")
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; --in takes the folder of the official files")
    if settings.per_shard < 1 or settings.max_frames < 1 or settings.longest_side < 0 or limit < 0 or workers < 1:
        raise UserError("--per-shard, --max-frames and --workers are at least 1, --limit and --longest-side at least 0")
    reading = SOURCES[settings.source].read(root)
    out.mkdir(parents=True, exist_ok=True)
    _check_settings(settings, out)
    for part in out.glob("*.part"):  # what a killed run left
        part.unlink()
    total = min(limit, reading.total) if limit and reading.total is not None else (limit or reading.total)
    numbers = []
    with _bar(settings.source, total, progress) as (bar, task), _Pool(workers, settings, out) as pool:
        for chunk in _chunks(reading.entries, settings.per_shard, limit):
            numbers.append(chunk.number)
            if _is_done(chunk, settings, out):
                bar.advance(task, len(chunk))
            else:
                for finished in pool.put(chunk):
                    bar.advance(task, finished)
        for finished in pool.drain():
            bar.advance(task, finished)
    if not limit:
        _remove_stale(settings, out, len(numbers))
    return _report(settings, out, numbers, limit)


def _chunks(entries: Iterator[Item | Drop], per_shard: int, limit: int) -> Iterator[Chunk]:
    """Cut into shards; what is dropped while reading belongs to the shard in which it stands."""
    items: list[Item] = []
    dropped: list[Drop] = []
    number = seen = 0
    for entry in entries:
        if isinstance(entry, Drop):
            dropped.append(entry)
            continue
        if len(items) == per_shard:
            yield Chunk(number, tuple(items), tuple(dropped))
            number, items, dropped = number + 1, [], []
        items.append(entry)
        seen += 1
        if seen == limit:
            break
    if items or dropped:
        yield Chunk(number, tuple(items), tuple(dropped))


def _tar(settings: Settings, out: Path, number: int) -> Path:
    return out / f"{settings.source}-{number:06d}.tar"


def _journal(settings: Settings, out: Path, number: int) -> Path:
    return out / "journal" / f"{settings.source}-{number:06d}.json"


def _check_settings(settings: Settings, out: Path) -> None:
    for path in sorted((out / "journal").glob("*.json"))[:1]:
        before = json.loads(path.read_text())["settings"]
        if before != asdict(settings):
            changed = next(name for name, value in asdict(settings).items() if before.get(name) != value)
            raise UserError(
                f"{out}: holds shards made with {changed}={before.get(changed)}; give another --out, or remove them"
            )


def _is_done(chunk: Chunk, settings: Settings, out: Path) -> bool:
    """Whether the shard was made of the same entries, and no picture that was missing then is there now."""
    path = _journal(settings, out, chunk.number)
    if not path.is_file():
        return False
    journal = json.loads(path.read_text())
    if journal["fingerprint"] != chunk.fingerprint(settings):
        return False
    if journal["counts"].get("records") and not _tar(settings, out, chunk.number).is_file():
        return False
    return not any(is_there(chunk.items[i].media) for i in journal["missing"])


def _remove_stale(settings: Settings, out: Path, count: int) -> None:
    """Remove shards beyond the last: the data set has become shorter since."""
    for path in [*out.glob(f"{settings.source}-*.tar"), *(out / "journal").glob(f"{settings.source}-*.json")]:
        number = path.stem.rsplit("-", 1)[1]
        if number.isdigit() and int(number) >= count:
            path.unlink()


def build(chunk: Chunk, settings: Settings, out: Path) -> int:
    """Make one shard and its journal; returns the number of its entries."""
    counts: Counter[str] = Counter(entries=len(chunk))
    dropped = list(chunk.dropped)
    missing: list[int] = []

    def records() -> Iterator[VideoRecord]:
        keys: Counter[str] = Counter()
        for i, item in enumerate(chunk.items):
            key = f"{settings.source.replace('+', 'plus')}-{re.sub(r'[^A-Za-z0-9_-]', '-', item.name)}"[:90]
            made, left_out = record(item, key, settings.source, settings.longest_side, settings.max_frames)
            dropped.extend(left_out)
            if made is None:
                if not is_there(item.media):
                    missing.append(i)
                continue
            keys[key] += 1
            if keys[key] > 1:  # a shard tells samples apart by their keys
                made = VideoRecord(**{**made.__dict__, "key": f"{key}-{keys[key]}"})
            counts.update(_counts(made))
            yield made

    tar = _tar(settings, out, chunk.number)
    if not write_shard(tar, records()):
        tar.unlink()
    body = {
        "settings": asdict(settings),
        "fingerprint": chunk.fingerprint(settings),
        "counts": dict(sorted(counts.items())),
        "missing": missing,
        "dropped": [asdict(d) for d in dropped],
    }
    write_atomic(_journal(settings, out, chunk.number), json.dumps(body))
    return len(chunk)


def _counts(made: VideoRecord) -> dict[str, int]:
    return {
        "records": 1,
        "frames": len(made.frame_times),
        "objects": len(made.objects),
        "boxes": sum(box is not None for track in made.objects for box in track.boxes),
        "captions": len(made.captions),
        "questions": sum(map(len, made.dialogues)),
    }


class _Pool:
    """`build` in this process or in several, a few shards ahead of the reader."""

    def __init__(self, workers: int, settings: Settings, out: Path) -> None:
        self.workers, self.settings, self.out = workers, settings, out
        self.pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn")) if workers > 1 else None
        self.pending: set[Future[int]] = set()

    def __enter__(self) -> "_Pool":
        return self

    def __exit__(self, *error: object) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)

    def put(self, chunk: Chunk) -> Iterator[int]:
        """Take a shard on; yields the sizes of those that were finished meanwhile."""
        if self.pool is None:
            yield build(chunk, self.settings, self.out)
            return
        self.pending.add(self.pool.submit(build, chunk, self.settings, self.out))
        if len(self.pending) >= 2 * self.workers:
            yield from self._finished()

    def drain(self) -> Iterator[int]:
        while self.pending:
            yield from self._finished()

    def _finished(self) -> Iterator[int]:
        done, self.pending = wait(self.pending, return_when=FIRST_COMPLETED)
        try:
            yield from (future.result() for future in done)
        except BrokenProcessPool as error:
            raise UserError(
                "a worker was killed (out of memory?); run again with fewer --workers: finished shards are kept"
            ) from error


class _bar:
    """A progress bar over entries, with the time left where their number is known."""

    def __init__(self, name: str, total: int | None, shown: bool) -> None:
        columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self.progress, self.total = Progress(*columns, disable=not shown), total

    def __enter__(self) -> tuple[Progress, Any]:
        self.progress.start()
        return self.progress, self.progress.add_task("", total=self.total)

    def __exit__(self, *error: object) -> None:
        self.progress.stop()


def _report(settings: Settings, out: Path, numbers: list[int], limit: int) -> dict[str, Any]:
    """Join the journals; writes `report.json` and `dropped.jsonl`."""
    source = SOURCES[settings.source]
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    examples: dict[str, list[str]] = {}
    part = out / "dropped.jsonl.part"
    with open(part, "w", encoding="utf-8") as file:
        for number in numbers:
            journal = json.loads(_journal(settings, out, number).read_text())
            counts.update(journal["counts"])
            for drop in journal["dropped"]:
                reasons[drop["reason"]] += 1
                if len(examples.setdefault(drop["reason"], [])) < EXAMPLES:
                    examples[drop["reason"]].append(drop["where"])
                file.write(json.dumps(drop, ensure_ascii=False) + "\n")
    part.replace(out / "dropped.jsonl")
    report = {
        "source": settings.source,
        "title": source.title,
        "licence": source.licence,
        "settings": asdict(settings),
        "limit": limit,
        "shards": sum(_tar(settings, out, n).is_file() for n in numbers),
        "counts": dict(sorted(counts.items())),
        "expected": source.expected,
        "complete": None if limit or source.expected is None else counts["entries"] == source.expected,
        "dropped": dict(reasons.most_common()),
        "examples": examples,
    }
    write_atomic(out / "report.json", json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    return report


def summary(report: dict[str, Any], out: Path) -> list[str]:
    """The report in lines for a terminal."""
    counts = report["counts"]
    kinds = ("frames", "objects", "captions", "questions")
    held = ", ".join(f"{counts[k]:,} {k}" for k in kinds if counts.get(k))
    lines = [
        f"{counts.get('records', 0):,} of {counts.get('entries', 0):,} entries in {report['shards']} shards: {held}"
    ]
    if report["complete"] is False:
        lines.append(f"the complete {report['title']} has {report['expected']:,}, {counts['entries']:,} were found")
    for reason, n in report["dropped"].items():
        lines.append(f"left out, {reason}: {n:,}, such as {report['examples'][reason][0]}")
    lines.append(f"{out}: report.json, dropped.jsonl")
    return lines
