"""The flow `elysium-ablations`: Table 7, one run per variant and seed, compared in one MLflow parent run.

    python flows/ablations.py --variants tselector-3_16 random-3_16 strided-3_16 --seeds 1 2 3

It needs the rendered world of the pipeline (`dvc repro world`, or a finished `make demo`), which it makes if it is not
there. On a Prefect server: the deployment `elysium-ablations/table7`.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from elysium import offline  # noqa: E402

offline.apply()  # before Prefect reads its settings

from prefect import State, flow, task  # noqa: E402
from prefect.artifacts import create_markdown_artifact  # noqa: E402
from prefect.states import Failed  # noqa: E402

from elysium import ablations, table7  # noqa: E402
from elysium.errors import UserError  # noqa: E402
from elysium.mlops import mlflow  # noqa: E402
from flows.tasks import CommandFailed, begin, run_command, run_stage  # noqa: E402


@task(name="variant", task_run_name="{variant}-{seed}")
def run_variant(variant: str, seed: int, parent_run: str) -> State | None:
    """One variant and seed through DVC, which skips it if nothing that it depends on has changed."""
    stage = f"ablations/dvc.yaml:ablation@{variant}-{seed}"
    try:
        run_command("dvc", "repro", "--single-item", stage, parent_run=parent_run)
    except CommandFailed as error:
        return Failed(message=f"{variant}, seed {seed}: {error}")
    return None


@flow(name="elysium-ablations")
def elysium_ablations(
    preset: str = "tiny",
    variants: list[str] | None = None,
    seeds: list[int] | None = None,
    overrides: list[str] | None = None,
) -> str | State:
    """Train and measure the variants of Table 7; returns the comparison as Markdown.

    Args:
        preset: a file of conf/preset
        variants: names such as `tselector-3_16` (default: all of the table)
        seeds: default 1, 2, 3
        overrides: Hydra overrides, such as `train.pretrain.steps=500`
    """
    known = ablations.variants()
    names = variants or list(known)
    unknown = [name for name in names if name not in known]
    if unknown:
        return Failed(message=f"{unknown[0]!r} is no variant; choose from {', '.join(known)}")
    try:
        params, parent_run = begin(preset, overrides, "table7")
    except UserError as error:
        return Failed(message=str(error))
    failure = "interrupted"
    try:
        state: State = run_stage("world", False, parent_run, return_state=True)
        for seed in [1, 2, 3] if seeds is None else seeds:
            for name in names:
                if state.is_completed():
                    state = run_variant(name, seed, parent_run, return_state=True)
        failure = "" if state.is_completed() else state.message or "a variant failed"
        if not failure:
            table7.summarise(params)
    finally:
        mlflow.end_ablations(params, parent_run, "FAILED" if failure else "FINISHED")
    if failure:
        return Failed(message=failure)
    table = (params.stage_dir("ablations") / "table7.md").read_text()
    create_markdown_artifact(table, key="table7", description=f"preset {preset}")
    return table


def main() -> int:
    """Parse the command line, run the flow, print the comparison. Exit code 2 on bad input."""
    parser = argparse.ArgumentParser(description="Compare visual token compressors (flow `elysium-ablations`).")
    parser.add_argument("--preset", default="tiny", help="a file of conf/preset (default: tiny)")
    parser.add_argument("--variants", nargs="*", metavar="NAME", help="default: all of Table 7")
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3], metavar="N", help="default: 1 2 3")
    parser.add_argument("--overrides", nargs="*", default=[], help="Hydra overrides, such as train.pretrain.steps=500")
    arguments = parser.parse_args()
    state: State = elysium_ablations(
        arguments.preset, arguments.variants, arguments.seeds, arguments.overrides, return_state=True
    )
    if not state.is_completed():
        print(f"error: {' '.join(str(state.message).split())}", file=sys.stderr)
        return 2
    print(f"\n{state.result().rstrip()}\n")
    print("Table and plot:     artifacts/ablations/table7.md, table7.png")
    print("Compare the runs:   make mlflow, then http://127.0.0.1:5000")
    return 0


if __name__ == "__main__":
    sys.exit(main())
