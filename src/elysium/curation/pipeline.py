"""The curation: captioned videos in, ElysiumTrack-like shards, annotations and a report out (section 3.2).

Output folder: `{train,eval}-<input>-<shard>.tar` (records with the kept trajectories), `annotations.jsonl`,
`discarded.jsonl` (one line per dropped item, with the filter and why), `quarantine.jsonl` (unreadable videos) and
`report/`. A shard's output appears by rename; running again skips what is done with the same input and parameters, so a
killed run continues and ends with the bytes of an undisturbed one.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from elysium.config import CurationInput, CurationParams
from elysium.curation import report
from elysium.curation.annotations import annotation_lines
from elysium.curation.grounding import grounder_factory
from elysium.curation.runners import check_runner, run_shards
from elysium.curation.shard import is_done, journal_path, tar_paths
from elysium.curation.trackers import tracker_factory
from elysium.curation.videos import Plan, ShardSpec, plan
from elysium.data.shards import Shard
from elysium.errors import UserError
from elysium.files import write_atomic
from elysium.samples import VideoRecord


def run(params: CurationParams, out: Path, progress: bool = True) -> Counter[str]:
    """Curate every input of `params` into `out`; returns the counts of the funnel.

    Raises UserError for a missing folder or caption file, a malformed line, an unknown grounder, tracker or runner.
    Unreadable videos are quarantined with the reason, counted and reported; the others go on.
    """
    planned = plan(params)
    shards = planned.shards
    check_runner(params)
    for source in params.inputs.values():
        grounder_factory(source.grounding)  # before any worker starts: a wrong name is one line
        tracker_factory(source.tracker)
    out.mkdir(parents=True, exist_ok=True)
    _remove_stale(out, shards)
    _run_shards([spec for spec in shards if not is_done(spec, out)], out, params, progress)
    return _finish(out, planned)


def curate_folder(
    videos: Path, captions: Path, out: Path, params: CurationParams | None = None, grounding: str = "coco"
) -> Counter[str]:
    """`run` on one folder of videos and its captions."""
    return run(folder_params(videos, captions, params or CurationParams(), grounding), out)


def folder_params(videos: Path, captions: Path, params: CurationParams, grounding: str) -> CurationParams:
    """The parameters with one folder of videos as the only input."""
    source = CurationInput(str(videos), str(captions), grounding)
    return replace(params, inputs={Path(videos).name or "videos": source})


def discarded(
    out: Path, at: str | None = None, video: str | None = None, phrase: str | None = None
) -> list[dict[str, Any]]:
    """The rows of a curated folder's log: dropped items and quarantined videos (filter `quarantine`).

    `at` is the filter's name, `video` and `phrase` are parts of text. Raises UserError if there is no log.
    """
    paths = [out / "discarded.jsonl", out / "quarantine.jsonl"]
    if not all(path.is_file() for path in paths):
        raise UserError(f"{out}: no discarded.jsonl there; give the output folder of a finished curation")
    rows = [json.loads(line) for line in paths[0].read_text().splitlines()]
    for row in map(json.loads, paths[1].read_text().splitlines()):
        rows.append(
            {"input": row["input"], "video": row["video"], "phrase": "", "filter": "quarantine", "why": row["reason"]}
        )
    return [
        row
        for row in rows
        if (at is None or row["filter"] == at)
        and (video is None or video in row["video"])
        and (phrase is None or phrase.lower() in row["phrase"].lower())
    ]


def _remove_stale(out: Path, shards: list[ShardSpec]) -> None:
    """Remove what an earlier run with other input left, and the parts that a killed run left."""
    names = {spec.name for spec in shards}
    wanted = {path for name in names for path in tar_paths(out, name).values()}
    for path in [*out.glob("train-*.tar"), *out.glob("eval-*.tar")]:
        if path not in wanted:
            path.unlink()
    for path in (out / "journal").glob("*.json"):
        if path.stem not in names:
            path.unlink()
    for path in [*out.glob("*.part"), *(out / "journal").glob("*.part")]:
        path.unlink()


def _run_shards(todo: list[ShardSpec], out: Path, params: CurationParams, progress: bool) -> None:
    start = time.perf_counter()
    with _bar(len(todo), progress) as advance:
        for _ in run_shards(todo, out, params):
            advance()
    if todo and progress:
        journals = [json.loads(journal_path(out, spec.name).read_text()) for spec in todo]
        videos = sum(journal["counts"].get("videos", 0) for journal in journals)
        frames = sum(journal["counts"].get("frames", 0) for journal in journals)
        seconds, cores = time.perf_counter() - start, max(1, min(params.workers, len(todo)))
        print(
            f"curated {videos} videos, {frames} frames in {seconds:.1f} s: {videos / seconds:.2f} videos/s, "
            f"{frames / seconds / cores:.1f} frames/s per worker ({cores} at work)"
        )


@contextmanager
def _bar(total: int, shown: bool):  # type: ignore[no-untyped-def]
    """A progress bar over shards with the time left."""
    columns = (TextColumn("curating"), BarColumn(), MofNCompleteColumn(), TextColumn("shards"), TimeRemainingColumn())
    with Progress(*columns, disable=not shown) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)


def _finish(out: Path, planned: Plan) -> Counter[str]:
    """Join the journals of all shards into the files of the whole data set, and write the report."""
    counts: Counter[str] = Counter()
    by_input: dict[str, Counter[str]] = {}
    discarded = [json.dumps(row) for row in planned.repeated]
    for row in planned.repeated:
        counts[row["filter"]] += 1
        by_input.setdefault(row["input"], Counter())[row["filter"]] += 1
    quarantined: list[str] = []
    lines: list[str] = []
    for spec in planned.shards:
        journal = json.loads(journal_path(out, spec.name).read_text())
        counts.update(journal["counts"])
        by_input.setdefault(spec.input_name, Counter()).update(journal["counts"])
        discarded += map(json.dumps, journal["discarded"])
        quarantined += map(json.dumps, journal["quarantined"])
        for record in _records(out, spec.name):
            lines += annotation_lines(record)
    for name, rows in (("annotations", lines), ("discarded", discarded), ("quarantine", quarantined)):
        write_atomic(out / f"{name}.jsonl", "".join(row + "\n" for row in rows))
    records = [record for spec in planned.shards for record in _records(out, spec.name)]
    unreadable = [json.loads(row) for row in quarantined]
    by_csrt = any(spec.source.tracker == "csrt" for spec in planned.shards)
    report.write(out / "report", counts, by_input, records, unreadable, by_csrt)
    return counts


def _records(out: Path, shard: str) -> Iterator[VideoRecord]:
    """The records of one shard, both splits, without pixels."""
    for path in tar_paths(out, shard).values():
        if path.is_file():
            tar = Shard(path)
            for i in range(len(tar)):
                yield tar.header(i)
