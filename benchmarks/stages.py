"""What each training stage brings, over seeds: its last loss, and REC, SOT and RSOT on the held-out world.

    make demo && python benchmarks/stages.py --seeds 0 1 2     # 12 minutes a seed on two cores

The data of `artifacts/{world,curate}` is shared; weights that begin at random and the order of samples differ by seed.
A stage that is done is kept, so a run that was cut off goes on. Writes `artifacts/seeds/stages.{csv,md}`.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from elysium.config import STAGES, TRAINING_STAGES, Params, load_params
from elysium.evaluation import run as evaluation
from elysium.evaluation.report import write_csv
from elysium.training import stage as training

TASKS = ["rec", "sot", "rsot"]
FIGURES = {
    "loss": "loss",
    "REC acc@0.5": "world/rec/acc50",
    "SOT AUC": "world/sot/auc",
    "RSOT AUC": "world/rsot/auc",
    "REC on each frame AUC": "world/rsot/per_frame/auc",
}


def run_seed(params: Params, seed: int) -> list[dict[str, Any]]:
    """Train all stages with a seed and measure after each: one row per stage."""
    root = Path(params.artifacts) / "seeds" / str(seed)
    root.mkdir(parents=True, exist_ok=True)
    for data in ("world", "curate"):
        if not (root / data).exists():
            (root / data).symlink_to(params.stage_dir(data).resolve())
    rows = []
    for name in (name for name in STAGES if name in TRAINING_STAGES):
        # The sources of the mixture name the shared data by its path, so only the stages' own folders move.
        own = replace(params, seed=seed, artifacts=str(root), eval=replace(params.eval, model=name, csrt=False))
        own = replace(own, eval=replace(own.eval, tasks=TASKS, render=0))
        if not (own.stage_dir(name) / "model" / "config.json").is_file():
            training.run(own, name)
        out = root / f"evaluate-{name}"
        if not (out / "metrics.json").is_file():
            evaluation.run(own, out)
        figures = json.loads((out / "metrics.json").read_text())
        figures["loss"] = json.loads((own.stage_dir(name) / "metrics.json").read_text())["loss"]
        rows.append({"seed": seed, "stage": name, **{label: figures[key] for label, key in FIGURES.items()}})
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: per stage the mean over the seeds, and in brackets the least and the greatest."""
    lines = ["| stage | " + " | ".join(FIGURES) + " |", "| --- |" + " --: |" * len(FIGURES)]
    for name in dict.fromkeys(row["stage"] for row in rows):
        cells = []
        for label in FIGURES:
            values = np.array([row[label] for row in rows if row["stage"] == name])
            digits = 3 if label == "loss" else 1
            cells.append(f"{values.mean():.{digits}f} ({values.min():.{digits}f} to {values.max():.{digits}f})")
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    params = load_params(Path("params.yaml"))
    rows: list[dict[str, Any]] = []
    for seed in parser.parse_args().seeds:
        rows += run_seed(params, seed)
        out = Path(params.artifacts) / "seeds"
        write_csv(rows, out / "stages.csv")
        (out / "stages.md").write_text(table(rows))
    print(table(rows))


if __name__ == "__main__":
    main()
