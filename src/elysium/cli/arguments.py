"""Arguments that several commands have."""

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from elysium.inference.engine import Engine


def model_argument(parser: argparse.ArgumentParser) -> None:
    """`--model` and `--device`."""
    parser.add_argument(
        "--model", metavar="MODEL",
        help="a folder, models:/NAME@ALIAS or OWNER/NAME; default: models/elysium-tiny, or the newest in artifacts/",
    )  # fmt: skip
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ...; default: a GPU where there is one")


def open_engine(arguments: argparse.Namespace) -> "Engine":
    """The engine that they name. Raises UserError where there is no such model or device."""
    from elysium.inference.engine import Engine
    from elysium.model.loading import find_model

    folder = find_model(arguments.model)
    if arguments.model is None:
        print(f"model: {folder}", file=sys.stderr)
    return Engine.from_pretrained(folder, arguments.device)
