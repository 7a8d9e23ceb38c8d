"""`elysium evaluate NAME --in DIR --out DIR`: a model on a public benchmark, or stored predictions scored again.

Everything stands in `OUT/NAME/`: `results/` in the official raw formats, `predictions/` as JSON lines, the tables, the
plots and the hardest sequences drawn. What has been predicted is not predicted again, so a killed run goes on and a
finished one is scored anew without a model; several processes share the work by `--shard`.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from elysium.boxes import Box
from elysium.config import EvalParams
from elysium.errors import UserError
from elysium.evaluation import benchmarks, predict, report
from elysium.evaluation.benchmarks import TrackingBenchmark, got10k, results
from elysium.evaluation.benchmarks.sequences import TrackingSequence, read_picture
from elysium.evaluation.items import boxes_px
from elysium.evaluation.reg import REGScorer
from elysium.evaluation.run import plot
from elysium.evaluation.score import Rows, Scores, score_set
from elysium.evaluation.videoqa import Judge, score_answers, uniform_frames
from elysium.inference.clips import Frames
from elysium.inference.render import contact_sheet

TRACKERS = {"sot": "elysium_sot", "rsot": "elysium_rsot", "frames": "elysium_per_frame", "csrt": "csrt"}
BY_WORDS = ("rsot", "frames", "reg", "reg_one_frame")  # jobs that need an expression
SHEET = 8  # frames of a drawn sequence


class Model(predict.Model, Protocol):
    """What is asked of a model; `elysium.inference.engine.Engine` is one."""

    def ask(self, videos: Sequence[Frames], questions: Sequence[str]) -> list[str]:
        """A free answer about each clip."""
        ...


# Loads the model, at the first call; called when a prediction is missing.
OpenModel = Callable[[], Model]


@dataclass(frozen=True)
class Options:
    """How a benchmark is run. `shard` (k, n) predicts every n-th sequence from the k-th on; `limit` 0 means all.

    `jobs` replaces the benchmark's own (sot, rsot, frames, csrt, reg, reg_one_frame); `predictions` scores what lies
    there, by whatever tracker: a folder of raw results, or for REC and VideoQA a file of JSON lines.
    """

    limit: int = 0
    shard: tuple[int, int] = (0, 1)
    jobs: tuple[str, ...] = ()
    predictions: Path | None = None
    batch_size: int = 8
    draw: int = 8
    judge: Judge | None = None


def evaluate(
    name: str, root: Path, out: Path, open_model: OpenModel, model: Mapping[str, str], options: Options
) -> Rows:
    """Predict what is missing and score everything; returns the rows of the tables.

    `model` says which model `open_model` opens (its folder and hash). Raises UserError on an unknown name, a malformed
    data set, or results in `out` that another model made.
    """
    if name not in benchmarks.NAMES:
        raise UserError(f"{name}: no such benchmark; choose from {', '.join(benchmarks.NAMES)}")
    k, n = options.shard
    if not 0 <= k < n:
        raise UserError(f"shard {k + 1}/{n}: write K/N with K from 1 to N")
    if options.predictions is None:
        results.claim(out / name / "made_from.json", {"benchmark": name, "model_hash": model.get("model_hash", "")})
    if name in benchmarks.TRACKING:
        return _track(name, root, out / name, open_model, model, options)
    if name in benchmarks.REFERRING:
        return _refer(name, root, out / name, open_model, model, options)
    return _answer(name, root, out / name, open_model, model, options)


def _track(name: str, root: Path, out: Path, open_model: OpenModel, model: Mapping[str, str], options: Options) -> Rows:
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
        with _progress() as progress:
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
    return _write(scores.rows, scores.groups, benchmark.title, size, model, notes, out, scores, pictures)


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


def _refer(name: str, root: Path, out: Path, open_model: OpenModel, model: Mapping[str, str], options: Options) -> Rows:
    """REC on every expression; `limit` is per split."""
    seen: dict[str, int] = {}
    references = []
    for reference in benchmarks.REFERRING[name](root):
        seen[reference.set] = seen.get(reference.set, 0) + 1
        if not options.limit or seen[reference.set] <= options.limit:
            references.append(reference)
    if not references:
        raise UserError(f"{root / name}: holds no expression of an evaluation split")

    def locate(batch: Sequence[Any]) -> list[dict[str, Any]]:
        boxes = open_model().locate([read_picture(r.image) for r in batch], [r.expression for r in batch])
        return [
            {"id": r.id, "expression": r.expression, "truth": r.box, "box": b}
            for r, b in zip(batch, boxes, strict=True)
        ]

    written = _written(name, references, locate, out, options)
    rows: Rows = []
    notes = []
    for title in seen:
        lines: Rows = []
        for r in references:
            if r.set == title and r.id in written:
                box = _given_box(written[r.id], options.predictions or out)
                lines.append({"video": r.image.name, "truth": [r.box], "boxes": [box]})
        if lines:
            rows += score_set(title, {"frames": lines}, ["rec"], None).rows
        if len(lines) != seen[title]:
            notes.append(f"{title}: {len(lines)} of {seen[title]} expressions: not comparable with published figures")
    if not rows:
        raise UserError(f"{options.predictions or out}: holds no prediction for {name}")
    if options.predictions is not None:
        rows = [{**row, "method": "given"} for row in rows]
    size = {"videos": len({r.image for r in references}), "items": len(references)}
    return _write(rows, [], name, size, model, notes, _given(out, options), None, [])


def _given_box(line: Mapping[str, Any], path: Path) -> Box | None:
    """The normalised xyxy box of a stored prediction; null or nothing is a miss. Raises UserError if it is no box."""
    box = line.get("box")
    if box is None:
        return None
    try:
        x1, y1, x2, y2 = (float(v) for v in box)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: prediction {line['id']}: {box!r} is not x1,y1,x2,y2") from error
    return (x1, y1, x2, y2)


def _answer(
    name: str, root: Path, out: Path, open_model: OpenModel, model: Mapping[str, str], options: Options
) -> Rows:
    """VideoQA on 16 evenly spaced frames of each video; a video that is missing or unreadable is counted and named."""
    title, read = benchmarks.VIDEO_QA[name]
    every = list(read(root))
    questions = every[: options.limit or None]
    if not questions:
        raise UserError(f"{root}: holds no question of {title}")
    unreadable: dict[Path, str] = {}
    last: dict[Path, list[np.ndarray]] = {}  # questions about one video mostly follow each other

    def frames_of(video: Path) -> list[np.ndarray] | None:
        if video not in last and video not in unreadable:
            try:
                frames = uniform_frames(video)
            except UserError as error:
                unreadable[video] = str(error)
            else:
                if len(last) >= options.batch_size:
                    last.pop(next(iter(last)))
                last[video] = frames
        return last.get(video)

    def ask(batch: Sequence[Any]) -> list[dict[str, Any]]:
        asked = [(q, frames) for q in batch if (frames := frames_of(q.video)) is not None]
        answers = open_model().ask([frames for _, frames in asked], [q.question for q, _ in asked]) if asked else []
        return [{"id": q.id, "prediction": a} for (q, _), a in zip(asked, answers, strict=True)]

    written = _written(name, questions, ask, out, options)
    lines = [
        {
            "question": q.question,
            "answer": q.answer,
            "video": q.video.name,
            "prediction": written[q.id].get("prediction") or "",
        }
        for q in questions
        if q.id in written
    ]
    if not lines:
        reason = next(iter(unreadable.values()), f"{options.predictions or out}: holds no answer for {title}")
        raise UserError(reason)
    notes = []
    if unreadable:
        first = next(iter(unreadable.values()))
        notes.append(f"{title}: {len(unreadable)} videos cannot be read and their questions are left out: {first}")
    if len(lines) != len(every):
        notes.append(f"{title}: {len(lines)} of {len(every)} questions: not comparable with published figures")
    with _progress() as progress:
        bar = progress.add_task("judge", total=len(lines) if options.judge else 0)
        row, told = score_answers(title, lines, options.judge, lambda: progress.advance(bar))
    if options.predictions is not None:
        row["method"] = "given"
    size = {"videos": len({q.video for q in questions}), "items": len(questions)}
    return _write([row], [], title, size, model, [*notes, *told], _given(out, options), None, [])


def _written(
    name: str,
    samples: Sequence[Any],
    run: Callable[[Sequence[Any]], list[dict[str, Any]]],
    out: Path,
    options: Options,
) -> dict[str, dict[str, Any]]:
    """id -> line of all predictions, after those of this shard that were missing have been made."""
    if options.predictions is not None:
        return results.read_lines_by_id(options.predictions)
    answers = results.Lines(out / "predictions", name, options.shard)
    known = answers.read()
    todo = [s for s in samples[options.shard[0] :: options.shard[1]] if s.id not in known]
    if todo:
        with _progress() as progress:
            bar = progress.add_task(name, total=len(todo))
            for batch in _chunks(todo, options.batch_size):
                answers.append(run(batch))
                progress.advance(bar, len(batch))
    return answers.read()


def _chunks(samples: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(samples)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _given(out: Path, options: Options) -> Path:
    return out if options.predictions is None else out / "given"


def _write(
    rows: Rows,
    groups: Rows,
    title: str,
    size: Mapping[str, int],
    model: Mapping[str, str],
    notes: Sequence[str],
    out: Path,
    scores: Scores | None,
    pictures: Sequence[Path],
) -> Rows:
    """Tables, plots and pages; the tables go to the terminal, too."""
    out.mkdir(parents=True, exist_ok=True)
    about = {"model": model.get("model", ""), "sets": {title: size}}
    plots = plot({title: scores}, out / "plots") if scores is not None else []
    report.write_all(rows, groups, about, notes, [*plots, *pictures], out)
    report.print_results(rows, notes)
    print(f"{out}: results.md, results.csv, report.html")
    return rows


@contextmanager
def _progress() -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        yield progress
