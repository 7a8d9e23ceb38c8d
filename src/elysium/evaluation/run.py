"""The stage `evaluate`: a trained model on held-out videos, beside the baselines, in one table (sections 3.3 and 4.3).

Run it with `elysium stage evaluate`. Predictions are kept (`predictions/*.jsonl`); `score(out)` makes every figure,
table and plot from them alone.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from elysium.config import Params
from elysium.errors import UserError
from elysium.evaluation import ope, plots, report
from elysium.evaluation.items import Item, fingerprint, load_items
from elysium.evaluation.predict import JOBS_OF_TASK, Model, jobs_of, predict, read_predictions
from elysium.evaluation.reg import REGScorer
from elysium.evaluation.score import NAMES, Rows, Scores, score_set
from elysium.inference.render import contact_sheet, render_tracks


@dataclass(frozen=True)
class EvalSet:
    """Shards `PREFIX*.tar` of a stage. `whole`: every frame counts, and only tracking by a given box is asked."""

    stage: str
    prefix: str = "eval-"
    whole: bool = False


SETS = {
    "world": EvalSet("world"),
    "world_long": EvalSet("world", "long-", whole=True),
    "curated": EvalSet("curate"),
}
WHOLE_JOBS = ("sot", "csrt")


def run(params: Params, out: Path) -> None:
    """Evaluate `artifacts/<params.eval.model>/model`; write figures, tables, plots, drawings and predictions to `out`.

    What was predicted before with the same model, data and settings is not computed again, CSRT's boxes not for another
    model either. Raises UserError if there is no model, an unknown task, or no set with a video.
    """
    folder = params.stage_dir(params.eval.model) / "model"
    if not folder.is_dir():
        raise UserError(f"{folder}: no such model; run its stage first (`dvc repro {params.eval.model}`)")
    from elysium.inference.engine import Engine

    model_hash = fingerprint(sorted(p for p in folder.iterdir() if p.is_file()))
    evaluate_model(Engine.from_pretrained(folder), model_hash, params, out)


def evaluate_model(
    model: Model, model_hash: str, params: Params, out: Path, reg: REGScorer | None = None
) -> dict[str, Scores]:
    """`run` for any object that tracks, locates and describes; `model_hash` tells one model from another.

    `reg` is a scorer that is running already; else one is started if it is needed.
    """
    if reg is None and "reg" in params.eval.tasks:
        # METEOR loads for many seconds: its process is started beside the model's work.
        with REGScorer() as started:
            return evaluate_model(model, model_hash, params, out, started)
    unknown = [task for task in params.eval.tasks if task not in JOBS_OF_TASK]
    if unknown:
        raise UserError(f"eval.tasks: {unknown[0]!r} is not a task; choose from {', '.join(JOBS_OF_TASK)}")
    out.mkdir(parents=True, exist_ok=True)
    sets, notes = _load_sets(params)
    if not any(items for items, _ in sets.values()):
        raise UserError(f"{params.artifacts}: no held-out video; run the stages world and curate first")
    _predict_all(model, model_hash, params, sets, out)
    about = {
        "model": params.eval.model,
        "preset": params.preset,
        "tasks": list(params.eval.tasks),
        "sets": {
            name: {"videos": len({i.video for i in items}), "items": len(items), "jobs": _jobs(name, params)}
            for name, (items, _) in sets.items()
        },
        "notes": notes,
    }
    (out / "predictions" / "about.json").write_text(json.dumps(about, indent=2))
    scores = _score_sets(about, out, reg)
    _render(sets, scores, params.eval.render, out)
    _write(about, scores, out)
    report.print_results([row for s in scores.values() for row in s.rows], _all_notes(about, scores))
    return scores


def score(out: Path, reg: REGScorer | None = None) -> dict[str, Scores]:
    """Every figure, table and plot from the predictions kept in `out`; needs neither model nor pixels.

    Raises UserError if `out` holds no predictions.
    """
    about_path = out / "predictions" / "about.json"
    if not about_path.is_file():
        raise UserError(f"{about_path}: no predictions to score; run the stage evaluate")
    about = json.loads(about_path.read_text())
    if reg is None and "reg" in about["tasks"]:
        with REGScorer() as started:
            return score(out, started)
    scores = _score_sets(about, out, reg)
    _write(about, scores, out)
    return scores


def _score_sets(about: Mapping[str, Any], out: Path, reg: REGScorer | None) -> dict[str, Scores]:
    scores: dict[str, Scores] = {}
    for name, size in about["sets"].items():
        if size["items"]:
            jobs = {job: read_predictions(_path(out, name, job)) for job in size["jobs"]}
            scores[name] = score_set(name, jobs, about["tasks"], reg)
    return scores


def _write(about: dict[str, Any], scores: dict[str, Scores], out: Path) -> None:
    """Tables, plots and the report, with the sheets of what was drawn, the worst tracked first."""
    rows: Rows = [row for s in scores.values() for row in s.rows]
    groups: Rows = [row for s in scores.values() for row in s.groups]
    notes = _all_notes(about, scores)
    pictures = [*plot(scores, out / "plots"), *sorted((out / "videos").glob("*.png"))]
    report.write_all(rows, groups, about, notes, pictures, out)


def _load_sets(params: Params) -> tuple[dict[str, tuple[list[Item], str]], list[str]]:
    """`set -> (items, hash of its shards)`, and what there is to say about sets that are empty."""
    sets: dict[str, tuple[list[Item], str]] = {}
    notes = []
    for name, of in SETS.items():
        folder = params.stage_dir(of.stage)
        shards = sorted(folder.glob(f"{of.prefix}*.tar"))
        if not shards and of.whole:
            continue  # only some worlds have long videos
        frames = 0 if of.whole else params.eval.frames
        items = load_items(folder, of.prefix, frames=frames, limit=params.eval.limit) if shards else []
        sets[name] = (items, fingerprint(shards))
        if not shards:
            notes.append(f"{name}: not evaluated, because {folder} holds no {of.prefix}*.tar")
        elif not items:
            notes.append(f"{name}: not evaluated, because {folder}/{of.prefix}*.tar hold no object seen in two frames")
        elif name == "curated":
            notes.append(f"{name}: the truth is what the curation pipeline found, not what people drew")
    return sets, notes


def _jobs(name: str, params: Params) -> list[str]:
    return [job for job in jobs_of(params.eval) if job in WHOLE_JOBS or not SETS[name].whole]


def _predict_all(
    model: Model, model_hash: str, params: Params, sets: dict[str, tuple[list[Item], str]], out: Path
) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        for name, (items, data_hash) in sets.items():
            for job in _jobs(name, params) if items else []:
                settings = {"frames": params.eval.frames, "limit": params.eval.limit}
                made_from: dict[str, Any] = {"data": data_hash, "settings": settings}
                if job != "csrt":  # which no model has a part in, and which cuts no clips
                    made_from |= {"model": model_hash, "clip": params.eval.clip}
                if not predict(model, job, items, params.eval, _path(out, name, job), made_from, progress):
                    progress.console.print(f"{name}_{job}: already there, not computed again")


def _path(out: Path, name: str, job: str) -> Path:
    return out / "predictions" / f"{name}_{job}.jsonl"


def plot(scores: Mapping[str, Scores], folder: Path) -> list[Path]:
    """Success and precision plots, and AUC by group, of each set and tracking task; returns the pictures."""
    paths = []
    for name, found in scores.items():
        for task in ("sot", "rsot"):
            means = {NAMES[m]: ope.average(r) for (t, m), r in found.sequences.items() if t == task}
            if not means:
                continue
            title, stem = f"OPE of {task.upper()} on {name}", f"{name}_{task}".replace(" ", "_")
            paths += plots.draw_curves(means, title, folder, stem)
            mine = [row for row in found.groups if row["task"] == task]
            grouped = plots.draw_groups(mine, NAMES, title, folder / f"groups_{stem}.png")
            paths += [grouped] if grouped else []
    return paths


def _render(sets: dict[str, tuple[list[Item], str]], scores: dict[str, Scores], count: int, out: Path) -> None:
    """Draw `count` objects of each set, from the worst to the best tracked, each of another video."""
    for name, found in scores.items():
        task = "rsot" if ("rsot", "elysium") in found.sequences else "sot"
        if (task, "elysium") not in found.sequences:
            continue
        pixels = {item.id: item for item in sets[name][0]}
        results, lines = found.sequences[task, "elysium"], found.items[task, "elysium"]
        by_video: dict[str, int] = {}
        for i in sorted(range(len(lines)), key=lambda i: results[i].auc):
            by_video.setdefault(lines[i]["video"], i)
        ranked = sorted(by_video.values(), key=lambda i: results[i].auc)
        for k in _spread(len(ranked), count):
            i = ranked[k]
            line, item = lines[i], pixels[lines[i]["id"]]
            tracks = {task.upper(): [None if b is None else tuple(b) for b in line["boxes"]]}
            caption = f"{item.expression}  (AUC {100 * results[i].auc:.0f})"
            stem = out / "videos" / f"{name}_{k + 1:03d}_{item.id.replace('/', '_')}"
            render_tracks(stem.with_suffix(".mp4"), item.pixels, item.times, tracks, item.boxes, caption)
            contact_sheet(stem.with_suffix(".png"), item.pixels, tracks, item.boxes, caption)


def _spread(n: int, count: int) -> Sequence[int]:
    """`count` evenly spaced positions of `n`, both ends included."""
    count = min(n, count)
    return sorted({round(k * (n - 1) / max(count - 1, 1)) for k in range(count)})


def _all_notes(about: dict[str, Any], scores: dict[str, Scores]) -> list[str]:
    return list(dict.fromkeys([*about["notes"], *(note for s in scores.values() for note in s.notes)]))
