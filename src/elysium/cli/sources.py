"""Public data sets as training shards."""

import argparse
from pathlib import Path

from elysium.errors import UserError


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`shard`."""
    from elysium.data.sources import SOURCES

    text = "sources, the official files that each needs below --in, where they come from, their licence:\n"
    for name, source in SOURCES.items():
        text += f"\n  {name:<20}{source.title}\n      {source.files}\n      {source.url}\n      {source.licence}\n"
    add = commands.add_parser(
        "shard", help="make training shards of a public data set", epilog=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Read a public data set's official files, check counts and boxes, write webdataset shards and a "
        "report of what was left out. Run again to go on where a run was stopped.",
    )  # fmt: skip
    add.add_argument("source", metavar="SOURCE", help="see below")
    add.add_argument("--in", dest="root", type=Path, required=True, metavar="DIR", help="folder of the official files")
    add.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for shards and report")
    add.add_argument("--limit", type=int, default=0, metavar="N", help="only the first N pictures or videos")
    add.add_argument("--per-shard", type=int, default=1000, metavar="N", help="entries a shard (default 1000)")
    add.add_argument("--longest-side", type=int, default=0, metavar="PX", help="shrink larger pictures; default: keep")
    add.add_argument("--max-frames", type=int, default=64, metavar="N", help="of a video file (default 64)")
    add.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default 1)")
    add.set_defaults(run=_shard_source)


def _shard_source(arguments: argparse.Namespace) -> None:
    from elysium.data.sources import sharding

    settings = sharding.Settings(arguments.source, arguments.per_shard, arguments.longest_side, arguments.max_frames)
    report = sharding.shard(settings, arguments.root, arguments.out, arguments.limit, arguments.workers)
    print("\n".join(sharding.summary(report, arguments.out)))
    if not report["shards"]:
        raise UserError(f"{arguments.out}: no entry could be used; the lines above say why")
