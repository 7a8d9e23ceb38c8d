"""The ablation of Table 7: one visual token compressor per variant, all else equal (section 5.2).

A variant starts from the configured backbones, is warmed up and then trained end to end on pictures by the stages
`warmup` and `pretrain`, and is measured by REC accuracy at 0.5 on the held-out world. Those that track are finetuned on
the world's clips, too, and measured by the AUC of SOT and RSOT. `run_variant` leaves
`artifacts/ablations/VARIANT-SEED/result.json`; `table7` makes the tables and the plot of all that are there.
"""

import json
import shutil
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from elysium.config import AdapterParams, Params, TrainParams
from elysium.errors import UserError
from elysium.files import write_atomic

STAGES = ("warmup", "pretrain")
TRACKING_STAGES = (*STAGES, "finetune_short")
KEPT = (Fraction(1, 576), *(Fraction(n, 16) for n in (1, 2, 3, 4)), Fraction(4, 9), Fraction(1, 2))
REFERENCE = Fraction(3, 16)  # 108 of 576
RIVALS = ("concat", "cross_attention", "strided", "random", "average_pool")


@dataclass(frozen=True)
class Variant:
    """A row of the table: the adapter by name, how many of the tokens go on, and what else is not as configured.

    A gate that does not learn stays as it was drawn: the official code's top-k gives it no gradient.
    """

    adapter: str
    share: Fraction
    gate: str = "mlp"
    gate_learns: bool = True
    bins: int = 0  # of the coordinates; 0: as configured
    tracks: bool = False  # finetuned on clips
    timestamps: bool = True  # "Frame 1: " before each frame's tokens

    @property
    def name(self) -> str:
        """As on the command line: `tselector-3_16`, `none`, `tselector-3_16-token_mixing`."""
        if self.adapter == "none":
            return "none"
        parts = [self.adapter, f"{self.share.numerator}_{self.share.denominator}"]
        parts += [self.gate] if self.gate != "mlp" else []
        parts += [] if self.gate_learns else ["fixed_gate"]
        parts += [f"{self.bins}_bins"] if self.bins else []
        parts += ["tracking"] if self.tracks else []
        parts += [] if self.timestamps else ["no_timestamps"]
        return "-".join(parts)

    def kept(self, num_tokens: int) -> int:
        """Tokens kept of `num_tokens`, at least one."""
        return max(1, round(self.share * num_tokens))

    @property
    def stages(self) -> tuple[str, ...]:
        """What it is trained by."""
        return TRACKING_STAGES if self.tracks else STAGES


def variants() -> dict[str, Variant]:
    """The variants by name: Table 7's, controls that it lacks, and what it did not vary: gate, bins, time stamps."""
    found = [Variant("none", Fraction(1))]
    found += [Variant(rival, REFERENCE) for rival in RIVALS]
    found += [Variant("tselector", share) for share in KEPT]
    found += [Variant("tselector", REFERENCE, "token_mixing")]
    found += [Variant("tselector", REFERENCE, gate_learns=False)]
    found += [Variant("tselector", REFERENCE, bins=1000)]
    found += [Variant("tselector", REFERENCE, tracks=True, timestamps=stamped) for stamped in (True, False)]
    return {v.name: v for v in found}


def variant_params(params: Params, variant: Variant, seed: int) -> Params:
    """The parameters of one run: what the variant names, seed and output folder; all it sees is the rendered world."""
    num_tokens = (params.model.image_size // _patch_size(params)) ** 2
    adapter = AdapterParams(variant.adapter, variant.kept(num_tokens), variant.gate)
    artifacts = Path(params.artifacts) / "ablations" / f"{variant.name}-{seed}"
    model = replace(params.model, bins=variant.bins or params.model.bins, timestamps=variant.timestamps)
    train = {stage: _on_world(params, params.train[stage]) for stage in variant.stages}
    if not variant.gate_learns:
        train = {stage: _without_gate(p) for stage, p in train.items()}
    return replace(params, adapter=adapter, model=model, train=train, seed=seed, artifacts=str(artifacts))


def _on_world(params: Params, p: TrainParams) -> TrainParams:
    world = str(params.stage_dir("world"))
    return replace(p, mixture={name: source for name, source in p.mixture.items() if source.folder == world})


def _without_gate(p: TrainParams) -> TrainParams:
    return replace(p, trainable=["projection" if part == "adapter" else part for part in p.trainable])


def _patch_size(params: Params) -> int:
    if params.model.vision_init is None:
        return int(params.model.vision["patch_size"])
    config = Path(params.model.vision_init, "config.json")
    if not config.is_file():
        raise UserError(f"no backbone in {params.model.vision_init}; fetch it with `dvc pull data.dvc`")
    content = json.loads(config.read_text())
    return int(content.get("vision_config", content)["patch_size"])


def run_variant(params: Params, name: str, seed: int) -> dict[str, Any]:
    """Train and measure one variant; returns what `result.json` holds.

    Raises UserError on an unknown variant or missing pictures. A run that was cut off goes on.
    """
    from elysium.mlops import mlflow
    from elysium.training import stage

    known = variants()
    if name not in known:
        raise UserError(f"{name!r} is no variant; choose one of {', '.join(known)}")
    variant = known[name]
    own = variant_params(params, variant, seed)
    out = Path(own.artifacts)
    resolved = json.dumps(asdict(own), sort_keys=True, indent=1)
    if not (out / "params.json").is_file() or (out / "params.json").read_text() != resolved:
        shutil.rmtree(out, ignore_errors=True)  # half a run of other parameters is no beginning
        out.mkdir(parents=True)
        write_atomic(out / "params.json", resolved)
    with mlflow.ablation_run(own, name, seed, out):
        for train in variant.stages:
            if not (out / train / "model" / "config.json").is_file():
                stage.run(own, train)
        last = out / variant.stages[-1]
        figures = _measure(params, own, last / "model", ("sot", "rsot") if variant.tracks else ("rec",))
        result = {"variant": name, "seed": seed, **asdict(own.adapter), **figures}
        loss = json.loads((last / "metrics.json").read_text())["loss"]
        write_atomic(out / "result.json", json.dumps(result | {"loss": loss}, indent=1) + "\n")
        for train in variant.stages:
            shutil.rmtree(out / train / "model")
    return result


def _measure(params: Params, own: Params, folder: Path, tasks: tuple[str, ...]) -> dict[str, float]:
    """The figures of the model in `folder` on the held-out world, and what the variant costs.

    REC is asked of every frame.
    """
    from rich.progress import Progress

    from elysium.evaluation.items import fingerprint, load_items
    from elysium.evaluation.predict import JOBS_OF_TASK, predict, read_predictions
    from elysium.evaluation.score import score_set
    from elysium.inference.engine import Engine
    from elysium.model.describe import describe

    engine = Engine.from_pretrained(folder)
    items = load_items(params.stage_dir("world"), "eval-", frames=params.eval.frames, limit=params.eval.limit)
    made_from = {"model": fingerprint(sorted(folder.iterdir()))}
    predictions = {}
    with Progress() as progress:
        for job in (JOBS_OF_TASK[task][0] for task in tasks):
            path = Path(own.artifacts) / f"{job}.jsonl"
            predict(engine, job, items, params.eval, path, made_from, progress)
            predictions[job] = read_predictions(path)
    rows = score_set("world", predictions, tasks, None).rows
    found: dict[str, float] = {}
    for row in (row for row in rows if row["method"] == "elysium"):
        figure, key = ("acc50", "acc50") if row["task"] == "rec" else (f"{row['task']}_auc", "auc")
        found |= {figure + end: row[key + end] for end in ("", "_low", "_high")} | {"n": row["n"]}
    cost = describe(engine.model.config, frames=(8,))
    return found | {"tokens": cost.kept_tokens, "gflops_8_frames": round(cost.sample_flops[8] / 1e9, 3)}
