"""The flow `elysium`: the whole pipeline, from captioned videos to a measured and registered model.

As a plain script, with a temporary Prefect server of its own:

    python flows/full.py --preset tiny train.warmup.lr=1e-3

On a Prefect server, as the deployment `full`: see README.md.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]  # a worker loads this file by its path

from elysium import offline  # noqa: E402

offline.apply()  # before Prefect reads its settings

from prefect import State, flow  # noqa: E402
from prefect.artifacts import create_markdown_artifact  # noqa: E402
from prefect.states import Failed  # noqa: E402

from elysium.config import STAGES, Params, load_params  # noqa: E402
from elysium.errors import UserError  # noqa: E402
from elysium.mlops import mlflow  # noqa: E402
from flows.tasks import begin, register, run_stage  # noqa: E402


@flow(name="elysium")
def elysium(
    preset: str = "tiny", overrides: list[str] | None = None, from_stage: str = "", force: bool = False
) -> list[dict[str, object]] | State:
    """Run the stages in order; a stage that is up to date is skipped, so a killed run goes on where it was.

    Args:
        preset: a file of conf/preset
        overrides: Hydra overrides, such as `train.warmup.lr=1e-3`
        from_stage: leave out the stages before this one (their outputs are taken as they are)
        force: run the stages even if nothing has changed
    """
    if from_stage and from_stage not in STAGES:
        return Failed(message=f"from_stage={from_stage!r} is no stage; choose one of {', '.join(STAGES)}")
    try:
        params, parent_run = begin(preset, overrides)
    except UserError as error:
        return Failed(message=str(error))
    manifests, failure = [], "interrupted"
    try:
        for stage in STAGES[STAGES.index(from_stage) if from_stage else 0 :]:
            state: State = run_stage(stage, force, parent_run, return_state=True)
            if not state.is_completed():
                failure = state.message or f"{stage} failed"
                return Failed(message=failure)
            manifests.append(state.result())
        registered: State = register(parent_run, return_state=True)
        failure = "" if registered.is_completed() else registered.message or "register failed"
    finally:
        mlflow.end_pipeline(params, parent_run, "FAILED" if failure else "FINISHED")
    if failure:
        return Failed(message=failure)
    create_markdown_artifact(results(params), key="results", description=f"preset {preset}")
    return manifests


def results(params: Params) -> str:
    """The result table of the evaluation, as Markdown."""
    return (params.stage_dir("evaluate") / "results.md").read_text()


def main() -> int:
    """Parse the command line, run the flow, print the result table and where to look. Exit code 2 on bad input."""
    parser = argparse.ArgumentParser(description="Run the whole pipeline (flow `elysium`).")
    parser.add_argument("--preset", default="tiny", help="a file of conf/preset (default: tiny)")
    parser.add_argument("--from-stage", default="", metavar="STAGE", help="leave out the stages before this one")
    parser.add_argument("--force", action="store_true", help="run the stages even if nothing has changed")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, such as train.warmup.lr=1e-3")
    arguments = parser.parse_args()
    state: State = elysium(
        arguments.preset, arguments.overrides, arguments.from_stage, arguments.force, return_state=True
    )
    if not state.is_completed():
        print(f"error: {' '.join(str(state.message).split())}", file=sys.stderr)
        return 2
    manifests = state.result()
    params = load_params(ROOT / "params.yaml")
    ran = [str(m["stage"]) for m in manifests if m["ran"]]
    print()
    print(results(params).rstrip())
    print()
    print(f"Ran: {', '.join(ran) or 'nothing, all stages were up to date'}.")
    out = params.stage_dir("evaluate")
    print(f"Tables and plots:   {out}/results.md, {out}/plots/")
    print(f"Videos with boxes:  {out}/videos/")
    print(f"Curation's report:  {params.stage_dir('curate')}/report/")
    print("Runs and models:    make mlflow, then http://127.0.0.1:5000")
    return 0


if __name__ == "__main__":
    sys.exit(main())
