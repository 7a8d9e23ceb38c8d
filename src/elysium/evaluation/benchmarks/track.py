"""A tracking benchmark: sequences that have no result yet are tracked, all results scored, the hardest drawn."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from elysium.config import EvalParams
from elysium.errors import UserError
from elysium.evaluation import benchmarks, predict
from elysium.evaluation.benchmarks import TrackingBenchmark, got10k, results
from elysium.evaluation.benchmarks.common import OpenModel, Options, progress_bars, write_tables
from elysium.evaluation.benchmarks.sequences import TrackingSequence, read_picture
from elysium.evaluation.items import boxes_px
from elysium.evaluation.reg import REGScorer
from elysium.evaluation.score import Rows, Scores, score_set
from elysium.inference.render import contact_sheet

TRACKERS = {
    "sot": "elysium_sot",
    "rsot": "elysium_rsot",
    "frames": "elysium_per_frame",
    "csrt": "csrt",
    "csrt_words": "csrt_words",
}
BY_WORDS = ("rsot", "frames", "csrt_words", "reg", "reg_one_frame")  # jobs that need an expression
SHEET = 8  # frames of a drawn sequence


def track(name: str, root: Path, out: Path, open_model: OpenModel, model: Mapping[str, str], options: Options) -> Rows:
    """SOT, RSOT and Video-REG on the sequences of `root`, as `options.jobs` says; the rows of the tables.

    Where the truth is withheld there are none, but a zip for the benchmark's server. Raises UserError on a folder
    without sequences or results, or with a malformed file.
    """
    benchmark = benchmarks.TRACKING[name]
    found = benchmark.names(root)
    if not found:
        raise UserError(f"{root}: holds no sequence of {benchmark.title}")
    names = found[: options.limit or None]
    outside = next((n for n in names if Path(n).is_absolute() or ".." in Path(n).parts), None)
    if outside is not None:
        raise UserError(f"{root}: the sequence name {outside!r} leads out of the folder of results")
    jobs = options.jobs or benchmark.jobs
    unknown = [job for job in jobs if job not in predict.JOBS]
    if unknown:
        raise UserError(f"{unknown[0]}: no such job; choose from {', '.join(predict.JOBS)}")
    folder = out / "results" / benchmark.folder
    if options.predictions is None:
        with progress_bars() as progress:
            for job in jobs:
                _predict_sequences(benchmark, job, names, root, out, folder, open_model, options, progress)
    else:
        if not options.predictions.is_dir():
            raise UserError(f"{options.predictions}: no such folder of raw results")
        out, jobs = out / "given", ("sot",)
    notes = []
    if benchmark.sequences and len(names) != benchmark.sequences:
        notes.append(f"{len(names)} of {benchmark.sequences} sequences: not comparable with published figures")

    lines: dict[str, Rows] = {}
    sequences: dict[str, TrackingSequence] = {}
    for job in jobs:
        if job in TRACKERS:
            boxes = options.predictions or folder / TRACKERS[job]
            lines[job] = list(_tracking_lines(benchmark, names, root, boxes, sequences))
            if options.predictions is None and len(lines[job]) == len(names):
                packed = results.write_zip(boxes, names, benchmark.folder).relative_to(out)
                notes.append(f"{packed}: the raw results, as the official toolkits and servers take them")
        else:
            written = results.Lines(out / "predictions", job).read()
            lines[job] = [written[n] for n in names if n in written]
        if len(lines[job]) < len(names):
            missing = "have an expression and are predicted" if job in BY_WORDS else "are predicted"
            notes.append(f"{job}: {len(lines[job])} of {len(names)} sequences {missing} so far")
    if not any(lines.values()):
        raise UserError(f"{options.predictions or folder}: holds no result of {benchmark.title}")
    if not all(sequence.scored for sequence in sequences.values()):
        for note in (*notes, "the truth of this split is withheld: upload the zip to the benchmark's server"):
            print(note)
        return []
    with_words = {job for job, rows in lines.items() if rows}
    tasks = [task for task, needed in predict.JOBS_OF_TASK.items() if needed[0] in with_words]
    if "reg" in tasks:
        with REGScorer() as scorer:
            scores = score_set(benchmark.title, lines, tasks, scorer, benchmark.absent)
    else:
        scores = score_set(benchmark.title, lines, tasks, None, benchmark.absent)
    if benchmark.folder == "GOT-10k":
        _add_got10k(scores, sequences)
    pictures = _draw_hardest(scores, sequences, options.draw, out / "hardest")
    if options.predictions is not None:
        _rename(scores)
    videos = len({s.video or s.name for s in sequences.values()}) or len(names)
    size = {"videos": videos, "items": len(names)}
    notes += scores.notes
    return write_tables(scores.rows, scores.groups, benchmark.title, size, model, notes, out, scores, pictures)


def _predict_sequences(
    benchmark: TrackingBenchmark,
    job: str,
    names: Sequence[str],
    root: Path,
    out: Path,
    folder: Path,
    open_model: OpenModel,
    options: Options,
    progress: Progress,
) -> None:
    """Run one job on the sequences of this shard that have no result yet, some at a time."""
    k, n = options.shard
    answers = results.Lines(out / "predictions", job, options.shard)
    if job in TRACKERS:
        boxes = folder / TRACKERS[job]
        todo = [s for s in names[k::n] if not results.boxes_path(boxes, benchmark.folder, s).is_file()]
    else:
        known = answers.read()
        todo = [s for s in names[k::n] if s not in known]
    if not todo:
        return
    params = EvalParams(batch_size=options.batch_size)
    bar = progress.add_task(f"{benchmark.title} {job}", total=len(todo))
    for start in range(0, len(todo), options.batch_size):
        sequences = [benchmark.load(root, s) for s in todo[start : start + options.batch_size]]
        if job in BY_WORDS:
            for sequence in sequences:
                if not sequence.references:
                    progress.console.print(f"{job}: {sequence.name} has no expression and is left out")
            sequences = [s for s in sequences if s.references]
        model = open_model() if sequences else None
        if model is None:
            continue
        began = time.perf_counter()
        rows = predict.run_job(model, job, [s.item() for s in sequences], params)
        if job not in TRACKERS:
            answers.append(rows)
        else:
            seconds = (time.perf_counter() - began) / sum(len(s.images) for s in sequences)
            for sequence, row in zip(sequences, rows, strict=True):
                found = boxes_px(row["boxes"], sequence.frame_size)
                if job in ("sot", "csrt"):
                    found[0] = sequence.boxes_xywh_px[0]  # given, so written as it was given
                results.write_boxes(boxes, benchmark.folder, sequence.name, found, seconds)
        progress.advance(bar, len(sequences))


def _tracking_lines(
    benchmark: TrackingBenchmark,
    names: Sequence[str],
    root: Path,
    folder: Path,
    sequences: dict[str, TrackingSequence],
) -> Iterator[dict[str, Any]]:
    """What `score` reads, from the raw results of one tracker; sequences without a result are passed over."""
    for name in names:
        pred = results.load_boxes(folder, benchmark.folder, name)
        if pred is None:
            continue
        if name not in sequences:
            sequences[name] = benchmark.load(root, name)
        sequence = sequences[name]
        n = len(sequence.images)
        fitted = np.full((n, 4), np.nan)
        fitted[: len(pred)] = pred[:n]
        item = sequence.item()
        width, height = sequence.frame_size
        corners = np.concatenate([fitted[:, :2], fitted[:, :2] + fitted[:, 2:]], 1) / [width, height, width, height]
        yield {
            "id": name,
            "video": item.video,
            "expression": item.expression,
            "frame_size": item.frame_size,
            "frames": item.frames,
            "truth": item.boxes,
            "truth_px": sequence.boxes_xywh_px,
            "boxes": [None if np.isnan(box[0]) else tuple(box.tolist()) for box in corners],
            "boxes_px": fitted,
        }


def _rename(scores: Scores) -> None:
    """Predictions that were given are not called ours."""
    for row in (*scores.rows, *scores.groups):
        row["method"] = "given" if row["method"] == "elysium" else row["method"]
    for task in ("sot", "rsot"):
        if (task, "elysium") in scores.sequences:
            scores.sequences[task, "given"] = scores.sequences.pop((task, "elysium"))


def _add_got10k(scores: Scores, sequences: Mapping[str, TrackingSequence]) -> None:
    """The toolkit's own figures to the rows of SOT."""
    for row in scores.rows:
        lines = scores.items.get((row["task"], row["method"]), []) if row["task"] == "sot" else []
        if any(len(line["frames"]) > 1 for line in lines):
            truth = [line["truth_px"] for line in lines]
            sizes = [sequences[line["id"]].frame_size for line in lines]
            found = got10k.scores([line["boxes_px"] for line in lines], truth, sizes)
            row |= {metric: round(100 * value, 2) for metric, value in found.items()}


def _draw_hardest(scores: Scores, sequences: Mapping[str, TrackingSequence], count: int, folder: Path) -> list[Path]:
    """Contact sheets of the sequences with the lowest AUC, worst first, by the words where there are words."""
    task = "rsot" if ("rsot", "elysium") in scores.sequences else "sot"
    found, lines = scores.sequences.get((task, "elysium"), []), scores.items.get((task, "elysium"), [])
    paths = []
    for rank, i in enumerate(sorted(range(len(found)), key=lambda i: found[i].auc)[:count], 1):
        sequence, line = sequences[lines[i]["id"]], lines[i]
        n = len(sequence.images)
        chosen = np.unique(np.linspace(0, n - 1, min(SHEET, n)).round().astype(int)).tolist()
        if not all(sequence.images[f].is_file() for f in chosen):
            continue
        caption = f"{sequence.name} {line['expression'][:60]} (AUC {100 * found[i].auc:.0f}, frames 1 to {n})"
        path = folder / f"{rank:02d}_{sequence.name.replace('/', '_')}.png"
        contact_sheet(
            path,
            [read_picture(sequence.images[f]) for f in chosen],
            {task.upper(): [line["boxes"][f] for f in chosen]},
            [line["truth"][f] for f in chosen],
            caption,
        )
        paths.append(path)
    return paths
