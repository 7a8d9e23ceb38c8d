"""A model without a video: its cost, and the released checkpoint's names."""

import argparse
from pathlib import Path

from elysium.errors import UserError


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`describe-model`, `import-release` and `export-release`."""
    add = commands.add_parser("describe-model", help="parameters, memory and FLOPs of a configuration")
    what = add.add_mutually_exclusive_group()
    what.add_argument("--preset", help="tiny, elysium_7b, ...")
    what.add_argument("--params", type=Path, default=Path("params.yaml"), help="default: params.yaml")
    add.add_argument("--processes", type=int, default=8, help="training processes that ZeRO shards over (default 8)")
    add.set_defaults(run=_describe_model)

    add = commands.add_parser("import-release", help="read the checkpoint released with the paper")
    add.add_argument("folder", type=Path, metavar="DIR", help="its *.safetensors or pytorch_model*.bin")
    add.add_argument("--out", type=Path, required=True, metavar="DIR", help="model folder to write")
    add.add_argument(
        "--config", type=Path, metavar="DIR", help="folder of an Elysium config.json; default: the paper's"
    )
    add.add_argument("--tokenizer", type=Path, metavar="DIR", help="the LLM's tokenizer; default: beside the weights")
    add.set_defaults(run=_import_release)

    add = commands.add_parser("export-release", help="write a model under the released checkpoint's names")
    add.add_argument("folder", type=Path, metavar="DIR", help="a model folder")
    add.add_argument("--out", type=Path, required=True, metavar="DIR")
    add.set_defaults(run=_export_release)


def _describe_model(arguments: argparse.Namespace) -> None:
    from omegaconf import OmegaConf
    from rich.console import Console

    from elysium.compose import compose_config
    from elysium.config import check_params, load_params
    from elysium.model import describe

    if arguments.processes < 1:
        raise UserError(f"--processes {arguments.processes}: needs at least 1")
    if arguments.preset:
        params = check_params(OmegaConf.to_container(compose_config([f"preset={arguments.preset}"])))
    else:
        params = load_params(arguments.params)
    cost = describe.describe(describe.config_of(params))
    console = Console()
    for table in describe.tables(cost, arguments.processes):
        console.print(table)


def _import_release(arguments: argparse.Namespace) -> None:
    from elysium.model.loading import load_config
    from elysium.model.release import import_release

    config = None if arguments.config is None else load_config(arguments.config)
    keys = import_release(arguments.folder, arguments.out, config, arguments.tokenizer)
    print(f"wrote {arguments.out}: {len(keys.names)} tensors, none missing")
    print(f"unused: {', '.join(keys.unused) or 'none'}")
    if not (arguments.out / "tokenizer.json").is_file():
        print("no tokenizer was found beside the weights: give --tokenizer DIR to use the model in the other commands")


def _export_release(arguments: argparse.Namespace) -> None:
    from elysium.model.release import export_release

    keys = export_release(arguments.folder, arguments.out)
    print(f"wrote {arguments.out}: {len(keys.names)} tensors under their released names")
