"""What tracking, REC and VideoQA have in common: the options, predictions that can be taken up again, the report."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from elysium.evaluation import predict, report
from elysium.evaluation.benchmarks import results
from elysium.evaluation.run import plot
from elysium.evaluation.score import Rows, Scores
from elysium.evaluation.videoqa import Judge
from elysium.inference.clips import Frames


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

    `jobs` replaces the benchmark's own (sot, csrt, rsot, frames, csrt_words, reg, reg_one_frame); `predictions` scores
    what lies there, by whatever tracker: a folder of raw results, or for REC and VideoQA a file of JSON lines.
    """

    limit: int = 0
    shard: tuple[int, int] = (0, 1)
    jobs: tuple[str, ...] = ()
    predictions: Path | None = None
    batch_size: int = 8
    draw: int = 8
    judge: Judge | None = None


def written(
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
        with progress_bars() as progress:
            bar = progress.add_task(name, total=len(todo))
            for start in range(0, len(todo), options.batch_size):
                batch = todo[start : start + options.batch_size]
                answers.append(run(batch))
                progress.advance(bar, len(batch))
    return answers.read()


def folder_of(out: Path, options: Options) -> Path:
    """Where the tables stand: those of predictions that were given, apart from ours."""
    return out if options.predictions is None else out / "given"


def write_tables(
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
def progress_bars() -> Iterator[Progress]:
    """Bars on the terminal for as long as the context lasts."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        yield progress
