"""What a training stage leaves for people: `log.jsonl`, `metrics.json`, a picture of kept tokens, MLflow metrics."""

import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from elysium.config import TrainParams
from elysium.data.mixture import Mixture
from elysium.model import ElysiumForConditionalGeneration, ElysiumProcessor
from elysium.model.adapters import TSelector
from elysium.model.picture import kept_tokens_picture
from elysium.training.batches import StepBatch


class TrainingLog:
    """Rank 0's record of a stage: a line every `log_every` steps, in the file and in MLflow where a run is open."""

    def __init__(self, out: Path, stage: str, params: TrainParams, first_step: int) -> None:
        self.out, self.stage, self.params = out, stage, params
        self.file = (out / "log.jsonl").open("a" if first_step else "w")
        self.losses: list[float] = []
        self.seconds = self.waited = self.utilisation = 0.0
        self.tokens = self.samples = 0
        self.supervised: Counter[str] = Counter()
        self.last: dict[str, float] = {}
        self.started = time.time()
        self.run_id = os.environ.get("MLFLOW_RUN_ID")

    def step(
        self, step: int, loss: float, lr: float, batch: StepBatch, seconds: float, waited: float, utilisation: float
    ) -> str:
        """Note one step; returns the text for the progress bar when a line was written, else an empty string."""
        self.losses.append(loss)
        self.seconds += seconds
        self.waited += waited
        self.utilisation += utilisation
        self.tokens += sum(m.tokens for m in batch.micro)
        self.samples += sum(m.samples for m in batch.micro)
        self.supervised.update(batch.per_source)
        if (step + 1) % self.params.log_every and step + 1 != self.params.steps:
            return ""
        n = len(self.losses)
        # Rank 0 counts its own share; with equal shares the whole run is world-size times as fast.
        world = torch.distributed.get_world_size()
        self.last = {
            "loss": sum(self.losses) / n,
            "lr": lr,
            "tokens_per_s": world * self.tokens / self.seconds,
            "samples_per_s": world * self.samples / self.seconds,
            "mfu": self.utilisation / n,
            "data_wait_share": self.waited / self.seconds,
        }
        self.file.write(json.dumps({"step": step + 1, **self.last}) + "\n")
        self.file.flush()
        self._to_mlflow(self.last, step + 1)
        self.losses, self.seconds, self.waited, self.utilisation, self.tokens, self.samples = [], 0.0, 0.0, 0.0, 0, 0
        shown = self.last
        return (
            f"loss {shown['loss']:.3f} lr {lr:.1e} {shown['samples_per_s']:.0f} samples/s "
            f"{shown['tokens_per_s']:.0f} tok/s mfu {shown['mfu']:.0%} wait {shown['data_wait_share']:.0%}"
        )

    def close(self, model: ElysiumForConditionalGeneration, processor: ElysiumProcessor, mixture: Mixture) -> None:
        """Write the summary and the picture of the tokens that the T-Selector keeps."""
        summary: dict[str, Any] = {
            **{k: v for k, v in self.last.items() if k != "lr"},
            "seconds": time.time() - self.started,
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
