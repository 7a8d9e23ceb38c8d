"""What a training stage leaves for people: `log.jsonl`, `metrics.json`, a picture of kept tokens, MLflow metrics."""

import json
import os
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from elysium.config import TrainParams
from elysium.data.mixture import Mixture
from elysium.files import write_atomic
from elysium.model import ElysiumForConditionalGeneration, ElysiumProcessor
from elysium.model.adapters import TSelector
from elysium.model.picture import kept_tokens_picture
from elysium.training.batches import StepBatch

MAX_WAIT = 0.1  # share of the time that may go into waiting for data before a warning


class TrainingLog:
    """Rank 0's record of a stage: a line every `log_every` steps, in the file and in MLflow where a run is open.

    `order` in a line is a running checksum of the keys of all samples that rank 0 has trained on, in their order: two
    runs that agree in it have seen the same samples. `state` is what `state()` gave for the checkpoint of
    `first_step`; lines after that step are dropped from the file, so no step is in it twice or missing.
    """

    def __init__(
        self,
        out: Path,
        stage: str,
        params: TrainParams,
        mixture: Mixture,
        world: int,
        first_step: int = 0,
        state: dict[str, Any] | None = None,
    ) -> None:
        self.out, self.stage, self.params, self.mixture, self.world = out, stage, params, mixture, world
        self.passes = mixture.passes(first_step * params.global_batch)
        self.lines, self.warned = 0, False
        self.losses: list[float] = []
        self.seconds = self.waited = self.utilisation = 0.0
        self.tokens = self.samples = self.order = 0
        self.supervised: Counter[str] = Counter()
        self.last: dict[str, float] = {}
        self.before = 0.0  # seconds of the runs that this one goes on from
        for name, value in (state or {}).items():
            setattr(self, name, Counter(value) if name == "supervised" else value)
        self.started = time.time()
        self.run_id = os.environ.get("MLFLOW_RUN_ID")
        path = out / "log.jsonl"
        write_atomic(path, _lines_until(path, first_step))
        self.file = path.open("a")

    def state(self) -> dict[str, Any]:
        """What the next line and the summary need of the steps so far, as plain values."""
        names = ("losses", "seconds", "waited", "utilisation", "tokens", "samples", "order", "last")
        gathered = {name: getattr(self, name) for name in names}
        before = self.before + time.time() - self.started
        return {**gathered, "supervised": dict(self.supervised), "before": before}

    def step(
        self, step: int, loss: float, lr: float, batch: StepBatch, seconds: float, waited: float, utilisation: float
    ) -> str:
        """Note one step; returns the text for the progress bar when a line was written, else an empty string."""
        self.losses.append(loss)
        self.seconds += seconds
        self.waited += waited
        self.utilisation += utilisation
        self.tokens += sum(sum(m.lengths) for m in batch.micro)
        self.samples += sum(m.samples for m in batch.micro)
        self.supervised.update(batch.per_source)
        for key in batch.keys:
            self.order = zlib.crc32(key.encode() + b"\n", self.order)
        if (step + 1) % self.params.log_every and step + 1 != self.params.steps:
            return ""
        n = len(self.losses)
        # Rank 0 counts its own share; with equal shares the whole run is world-size times as fast.
        self.last = {
            "loss": sum(self.losses) / n,
            "lr": lr,
            "tokens_per_s": self.world * self.tokens / self.seconds,
            "samples_per_s": self.world * self.samples / self.seconds,
            "mfu": self.utilisation / n,
            "data_wait_share": self.waited / self.seconds,
        }
        self.file.write(json.dumps({"step": step + 1, **self.last, "order": f"{self.order:08x}"}) + "\n")
        self.file.flush()
        self._note_passes(step + 1)
        self._warn_of_waiting()
        per_source = {f"supervised_tokens/{k}": float(v) for k, v in self.supervised.items()}
        per_source |= {f"passes/{k}": v for k, v in self.passes.items()}
        self._to_mlflow(self.last | per_source, step + 1)
        self.losses, self.seconds, self.waited, self.utilisation, self.tokens, self.samples = [], 0.0, 0.0, 0.0, 0, 0
        shown = self.last
        return (
            f"loss {shown['loss']:.3f} lr {lr:.1e} {shown['samples_per_s']:.0f} samples/s "
            f"{shown['tokens_per_s']:.0f} tok/s mfu {shown['mfu']:.0%} wait {shown['data_wait_share']:.0%}"
        )

    def _note_passes(self, step: int) -> None:
        """Say which sources were gone through since the last line: at passes 2, 4, 8, ..., for one may be tiny."""
        before, self.passes = self.passes, self.mixture.passes(step * self.params.global_batch)
        for source in self.mixture.sources:
            count = int(self.passes[source.name]) + 1
            if count.bit_length() > (int(before[source.name]) + 1).bit_length():
                tqdm.write(f"{source.name}: all {len(source)} records shown; pass {count} in a new order")

    def _warn_of_waiting(self) -> None:
        """Once, and not for the first line, in which the first batch had to be waited for."""
        self.lines += 1
        share = self.last["data_wait_share"]
        if share > MAX_WAIT and self.lines > 1 and not self.warned:
            self.warned = True
            tqdm.write(
                f"warning: {share:.0%} of the time goes into waiting for data; raise launcher.loader_threads, or bring "
                "the shards to a faster disk"
            )

    def picture(self, path: Path) -> None:
        """Attach a picture to the MLflow run that is open."""
        if self.run_id:
            import mlflow

            mlflow.log_artifact(str(path), run_id=self.run_id)

    def close(self, model: ElysiumForConditionalGeneration, processor: ElysiumProcessor) -> None:
        """Write the summary and the picture of the tokens that the T-Selector keeps."""
        mixture = self.mixture
        summary: dict[str, Any] = {
            **{k: v for k, v in self.last.items() if k != "lr"},
            "seconds": self.before + time.time() - self.started,
            "parameters": sum(p.numel() for p in model.parameters()),
            **{f"supervised_tokens/{k}": v for k, v in sorted(self.supervised.items())},
            "refused": sum(mixture.refused.values()),
        }
        (self.out / "metrics.json").write_text(json.dumps(summary, indent=1) + "\n")
        for reason, count in sorted(mixture.refused.items()):
            print(f"  passed over {count} x {reason}", flush=True)
        if mixture.too_long:
            (self.out / "too_long.txt").write_text("\n".join(sorted(mixture.too_long)) + "\n")
            print(f"  their keys: {self.out / 'too_long.txt'}", flush=True)
        if isinstance(model.adapter, TSelector):
            images: list[np.ndarray] = []
            position = 0
            while len(images) < 8:
                images += mixture[position].images
                position += 1
            kept_tokens_picture(model, processor, images[:8], self.out / "kept_tokens.png")
        self.file.close()

    def _to_mlflow(self, values: dict[str, float], step: int) -> None:
        if self.run_id:
            import mlflow

            mlflow.log_metrics({f"{self.stage}/{k}": v for k, v in values.items()}, step=step, run_id=self.run_id)


def _lines_until(path: Path, step: int) -> str:
    """The whole lines of a log up to a step."""
    kept = []
    for line in path.read_text().splitlines() if step and path.is_file() else []:
        try:
            row = json.loads(line)
        except ValueError:  # cut off while it was written
            break
        if row["step"] > step:
            break
        kept.append(line + "\n")
    return "".join(kept)
