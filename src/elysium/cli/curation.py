"""Commands of a curated data set: build it, ask what it left out, review it, exchange it."""

import argparse
import sys
from pathlib import Path

from elysium.errors import UserError


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`curate`, `discarded`, `review`, `export-elysiumtrack` and `import-elysiumtrack`."""
    add = commands.add_parser("curate", help="build an ElysiumTrack-like data set from captioned videos")
    add.add_argument("videos", type=Path, help="folder of videos")
    add.add_argument(
        "--captions", type=Path, required=True,
        help="JSON lines, CSV (video,caption; WebVid's; Panda-70M's), or a folder of .txt beside the videos",
    )  # fmt: skip
    what = add.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, help="folder for shards, annotations and the report")
    what.add_argument("--estimate", type=int, metavar="N", help="time a sample and say what N videos would take")
    add.add_argument(
        "--gpus", type=int, default=1, metavar="G", help="with --estimate: workers, one per GPU (default 1)"
    )
    add.add_argument("--sample", type=int, default=16, metavar="K", help="with --estimate: videos to time (default 16)")
    add.add_argument("--grounding", default="coco", help="coco (default), shapes or grounding_dino")
    add.add_argument("--params", type=Path, default=Path("params.yaml"), help="thresholds; defaults if missing")
    add.set_defaults(run=_curate)

    add = commands.add_parser("discarded", help="ask the log of what a curation left out, and why")
    add.add_argument("folder", type=Path, metavar="DIR", help="a curated folder")
    add.add_argument("--filter", metavar="NAME", help="such as drift, caption_plural, quarantine")
    add.add_argument("--video", metavar="TEXT", help="videos whose name holds TEXT")
    add.add_argument("--phrase", metavar="TEXT", help="phrases that hold TEXT")
    add.add_argument("--count", action="store_true", help="how many at each filter instead of the lines")
    add.set_defaults(run=_discarded)

    add = commands.add_parser("review", help="accept or reject the evaluation split's cases in a local page")
    add.add_argument("folder", type=Path, metavar="DIR", help="a curated folder")
    add.add_argument("--port", type=int, default=7861, help="default 7861, on this machine only")
    add.add_argument("--apply", type=Path, metavar="OUT", help="write the split without what was rejected, and end")
    add.set_defaults(run=_review)

    add = commands.add_parser("export-elysiumtrack", help="write a curated folder as the released ElysiumTrack is")
    add.add_argument("folder", type=Path, metavar="DIR", help="a curated folder")
    add.add_argument("--out", type=Path, required=True, metavar="DIR", help="for annotations.jsonl and frames/")
    add.set_defaults(run=_export_elysiumtrack)

    add = commands.add_parser("import-elysiumtrack", help="read ElysiumTrack's annotations and frames into shards")
    add.add_argument("annotations", type=Path, metavar="FILE", help="its JSON lines")
    add.add_argument(
        "--frames", type=Path, metavar="DIR", help="what its `frames` are relative to; default: beside FILE"
    )
    add.add_argument("--out", type=Path, required=True, metavar="DIR")
    add.set_defaults(run=_import_elysiumtrack)


def _curate(arguments: argparse.Namespace) -> None:
    from elysium.config import CurationParams, load_params
    from elysium.curation.estimate import estimate
    from elysium.curation.pipeline import curate_folder, folder_params

    params = load_params(arguments.params).curation if arguments.params.is_file() else CurationParams()
    if arguments.estimate is not None:
        if min(arguments.estimate, arguments.gpus, arguments.sample) < 1:
            raise UserError("--estimate, --gpus and --sample are at least 1")
        params = folder_params(arguments.videos, arguments.captions, params, arguments.grounding)
        print("\n".join(estimate(params, arguments.sample).lines(arguments.estimate, arguments.gpus)))
        return
    counts = curate_folder(arguments.videos, arguments.captions, arguments.out, params, arguments.grounding)
    print(", ".join(f"{name}: {count}" for name, count in counts.items()))
    print(f"shards, annotations.jsonl and report/ are in {arguments.out}")


def _discarded(arguments: argparse.Namespace) -> None:
    import json
    from collections import Counter

    from elysium.curation.pipeline import discarded

    rows = discarded(arguments.folder, arguments.filter, arguments.video, arguments.phrase)
    if arguments.count:
        for name, count in Counter(row["filter"] for row in rows).most_common():
            print(f"{count:8d}  {name}")
        return
    for row in rows:
        print(json.dumps(row))


def _review(arguments: argparse.Namespace) -> None:
    import threading

    from elysium.curation import review

    if arguments.apply is not None:
        counts = review.apply_review(arguments.folder, arguments.apply)
        print(", ".join(f"{name}: {count}" for name, count in counts.items()))
        print(f"{arguments.apply}: eval-*.tar and annotations.jsonl without what was rejected")
        return
    with review.running(arguments.folder, arguments.port) as url:
        print(f"{url} (Ctrl-C ends it; verdicts are in {arguments.folder / 'review.jsonl'})", flush=True)
        threading.Event().wait()


def _export_elysiumtrack(arguments: argparse.Namespace) -> None:
    from elysium.curation.release import export_elysiumtrack

    count = export_elysiumtrack(arguments.folder, arguments.out)
    print(f"{arguments.out}: {count} trajectories in annotations.jsonl, their pictures in frames/")


def _import_elysiumtrack(arguments: argparse.Namespace) -> None:
    from elysium.curation.release import import_elysiumtrack

    frames = arguments.frames or arguments.annotations.parent
    count, left_out = import_elysiumtrack(arguments.annotations, frames, arguments.out)
    for line in left_out:
        print(f"left out: {line}", file=sys.stderr)
    print(f"{arguments.out}: {count} videos; {len(left_out)} left out")
