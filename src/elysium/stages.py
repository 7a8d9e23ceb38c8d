"""The stages of the pipeline: name -> function of the resolved parameters. Each writes `params.stage_dir(name)`."""

from collections.abc import Callable
from functools import partial

from elysium.config import STAGES, TRAINING_STAGES, Params
from elysium.errors import UserError
from elysium.mlops import mlflow


def _world(params: Params) -> None:
    from elysium.data.world import build

    build(params.world, params.stage_dir("world"))


def _curate(params: Params) -> None:
    from elysium.curation.pipeline import run as curate

    curate(params.curation, params.stage_dir("curate"))


def _train(params: Params, stage: str) -> None:
    from elysium.training.stage import run as train

    train(params, stage)


def _backbones(params: Params) -> None:
    from elysium.training import backbones

    backbones.run(params)


def _evaluate(params: Params) -> None:
    from elysium.evaluation.run import run as evaluate

    evaluate(params, params.stage_dir("evaluate"))
    # DVC wants its plots, though an evaluation without tracking draws none.
    (params.stage_dir("evaluate") / "plots").mkdir(exist_ok=True)


RUNNERS: dict[str, Callable[[Params], None]] = {
    "world": _world,
    "curate": _curate,
    **{name: partial(_train, stage=name) for name in TRAINING_STAGES if name in STAGES},
    "backbones": _backbones,
    "evaluate": _evaluate,
}


def run(params: Params, stage: str) -> None:
    """Run one stage and record it in MLflow. The tracking store is checked before any work.

    Raises UserError on an unknown stage, a store that does not answer, or whatever the stage finds wrong.
    """
    if stage not in RUNNERS:
        raise UserError(f"unknown stage {stage!r}; the stages are {', '.join(STAGES)} and backbones")
    with mlflow.stage_run(params, stage):
        params.stage_dir(stage).mkdir(parents=True, exist_ok=True)
        RUNNERS[stage](params)
