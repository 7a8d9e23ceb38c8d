"""The command `elysium`. Heavy modules are imported by the subcommand that needs them, so `--help` is instant."""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from elysium import offline
from elysium.cli import curation, evaluation, inference, model, pipeline, sources
from elysium.errors import UserError


class _Parser(argparse.ArgumentParser):
    """One line on bad usage instead of the whole usage text."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see `{self.prog} --help`\n")


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run a subcommand; exit 0, or 2 with one line `error: ...` on bad input."""
    offline.apply()
    arguments = build_parser().parse_args(argv)
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except UserError as error:
        message = " ".join(str(error).split())
        print(f"error: {message}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands."""
    parser = _Parser(prog="elysium", description="Track and describe objects in videos by language.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    for part in (pipeline, curation, sources, inference, evaluation, model):
        part.add(commands)
    return parser
