"""Commands of the pipeline: parameters, a stage, a variant of Table 7, the registry."""

import argparse
from pathlib import Path


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`compose`, `stage`, `ablate` and `register`."""
    add = commands.add_parser("compose", help="write params.yaml from conf/ and Hydra overrides")
    add.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="such as preset=tiny train.warmup.lr=1e-3")
    add.add_argument("--out", type=Path, default=Path("params.yaml"), help="default: params.yaml")
    add.set_defaults(run=_compose)

    add = commands.add_parser("stage", help="run one stage with params.yaml and record it in MLflow")
    add.add_argument("name", metavar="NAME", help="world, curate, backbones, warmup, pretrain, finetune_short, ...")
    add.add_argument("--params", type=Path, default=Path("params.yaml"))
    add.set_defaults(run=_stage)

    add = commands.add_parser("ablate", help="train and measure one variant of Table 7; without a name: the table")
    add.add_argument("variant", nargs="?", metavar="VARIANT", help="such as tselector-3_16, random-3_16, none")
    add.add_argument("--seed", type=int, default=0)
    add.add_argument("--params", type=Path, default=Path("params.yaml"))
    add.set_defaults(run=_ablate)

    add = commands.add_parser("register", help="put the trained model in MLflow's registry as the champion")
    add.add_argument("--params", type=Path, default=Path("params.yaml"))
    add.set_defaults(run=_register)


def _compose(arguments: argparse.Namespace) -> None:
    from elysium.compose import write_params

    params = write_params(arguments.overrides, arguments.out)
    print(f"{arguments.out}: preset {params.preset}")


def _stage(arguments: argparse.Namespace) -> None:
    from elysium import processes, stages
    from elysium.config import load_params

    processes.die_with_parent()
    processes.take_children_along()
    stages.run(load_params(arguments.params), arguments.name)


def _ablate(arguments: argparse.Namespace) -> None:
    from elysium import ablations, processes, table7
    from elysium.config import load_params

    params = load_params(arguments.params)
    if arguments.variant is None:
        folder = table7.summarise(params)
        print((folder / "table7.md").read_text())
        print(f"{folder}: table7.csv, table7.md, table7.png")
        return
    processes.die_with_parent()
    processes.take_children_along()
    result = ablations.run_variant(params, arguments.variant, arguments.seed)
    told = ", ".join(f"{name} {result[figure]:.1f}" for figure, name in table7.FIGURES.items() if figure in result)
    print(f"{arguments.variant}, seed {arguments.seed}: {told}")


def _register(arguments: argparse.Namespace) -> None:
    import os

    from elysium.config import load_params
    from elysium.mlops import mlflow, registry

    params = load_params(arguments.params)
    version, new = registry.register(params, os.environ.get(mlflow.PARENT_ENV) or None)
    print(f"{params.mlflow.registered_model} version {version} {'is now' if new else 'is already'} the champion")
