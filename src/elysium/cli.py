"""The command `elysium`. Heavy modules are imported by the subcommand that needs them, so `--help` is instant."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from elysium import offline
from elysium.boxes import Box
from elysium.errors import UserError

if TYPE_CHECKING:
    from elysium.inference.engine import Engine


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

    _add_curation(commands)
    _add_shard(commands)
    _add_inference(commands)
    _add_evaluate(commands)
    _add_model(commands)
    return parser


def _add_shard(commands: "argparse._SubParsersAction[_Parser]") -> None:
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


def _add_curation(commands: "argparse._SubParsersAction[_Parser]") -> None:
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


def _add_evaluate(commands: "argparse._SubParsersAction[_Parser]") -> None:
    add = commands.add_parser("evaluate", help="run a model on a public benchmark, or score stored predictions")
    add.add_argument("name", metavar="NAME", help="lasot, uav123, otb100, got10k-val, refcoco, msvd-qa, ...")
    add.add_argument("--in", dest="root", type=Path, required=True, metavar="DIR", help="the benchmark as published")
    add.add_argument("--out", type=Path, default=Path("artifacts/benchmarks"), help="folder; default: %(default)s")
    add.add_argument("--limit", type=int, default=0, metavar="N", help="only the first N sequences or questions")
    add.add_argument("--shard", type=_shard, default=(0, 1), metavar="K/N", help="predict part K of N, one per GPU")
    add.add_argument(
        "--jobs", default="", help="instead of the benchmark's: sot,csrt,rsot,frames,csrt_words,reg,reg_one_frame"
    )
    add.add_argument("--predictions", type=Path, metavar="PATH", help="score this folder or file; no model is needed")
    add.add_argument("--batch-size", type=int, default=8, metavar="N", help="sequences at once (default 8)")
    add.add_argument("--draw", type=int, default=8, metavar="N", help="draw the N hardest sequences (default 8)")
    add.add_argument("--judge", metavar="URL", help="OpenAI-compatible endpoint, such as https://host/v1 (VideoQA)")
    add.add_argument("--judge-model", default="gpt-3.5-turbo", metavar="NAME", help="default: %(default)s")
    add.add_argument("--judge-price", type=_price, default=(0.0, 0.0), metavar="IN,OUT", help="dollars per million")
    add.set_defaults(run=_evaluate)
    _model_argument(add)


def _add_model(commands: "argparse._SubParsersAction[_Parser]") -> None:
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


def _add_inference(commands: "argparse._SubParsersAction[_Parser]") -> None:
    video = "mp4, avi, webm, gif, ... or a folder of pictures"

    add = commands.add_parser("track", help="find and follow objects through a video")
    add.add_argument("video", metavar="VIDEO", help=f"{video}; - reads paths from stdin, one a line")
    add.add_argument(
        "--find", metavar="TEXT", action="append", default=[], help='an expression, such as "red ball"; may be repeated'
    )
    add.add_argument(
        "--box", type=_box, action="append", default=[],
        help="x1,y1,x2,y2 in the first frame, each in [0, 1]; may be repeated",
    )  # fmt: skip
    add.add_argument("--json", type=Path, metavar="OUT", help="write the boxes here (several videos: one line each)")
    add.add_argument(
        "--render", type=Path, metavar="OUT.mp4", help="write the video with its boxes here, mp4 or gif; a folder for -"
    )
    add.set_defaults(run=_track)
    _model_argument(add)

    add = commands.add_parser("describe", help="name the object in a box")
    add.add_argument("video", type=Path, metavar="VIDEO", help=video)
    add.add_argument("--box", type=_box, required=True, help="x1,y1,x2,y2, each in [0, 1]")
    add.add_argument("--frame", type=int, default=0, help="the frame the box belongs to, from 0 (default 0)")
    add.set_defaults(run=_describe)
    _model_argument(add)

    add = commands.add_parser("ask", help="ask a question about a video")
    add.add_argument("video", type=Path, metavar="VIDEO", help=video)
    add.add_argument("question")
    add.set_defaults(run=_ask)
    _model_argument(add)

    add = commands.add_parser("app", help="open the web page")
    add.add_argument("--host", default="127.0.0.1", help="default 127.0.0.1: this machine only")
    add.add_argument("--port", type=int, default=7860, help="default 7860")
    add.set_defaults(run=_app)
    _model_argument(add)


def _model_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", metavar="MODEL",
        help="a folder, models:/NAME@ALIAS or OWNER/NAME; default: models/elysium-tiny, or the newest in artifacts/",
    )  # fmt: skip
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ...; default: a GPU where there is one")


def _box(text: str) -> Box:
    try:
        x1, y1, x2, y2 = (float(value) for value in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not x1,y1,x2,y2") from error
    if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
        raise argparse.ArgumentTypeError(f"{text!r}: needs 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1")
    return (x1, y1, x2, y2)


def _shard(text: str) -> tuple[int, int]:
    try:
        k, n = (int(value) for value in text.split("/"))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not K/N, such as 1/4") from error
    if not 1 <= k <= n:
        raise argparse.ArgumentTypeError(f"{text!r}: K goes from 1 to N")
    return (k - 1, n)


def _price(text: str) -> tuple[float, float]:
    try:
        read, written = (float(value) for value in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not IN,OUT, such as 0.5,1.5") from error
    return (read, written)


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
    from elysium import ablations, processes
    from elysium.config import load_params

    params = load_params(arguments.params)
    if arguments.variant is None:
        folder = ablations.summarise(params)
        print((folder / "table7.md").read_text())
        print(f"{folder}: table7.csv, table7.md, table7.png")
        return
    processes.die_with_parent()
    processes.take_children_along()
    result = ablations.run_variant(params, arguments.variant, arguments.seed)
    told = ", ".join(f"{name} {result[figure]:.1f}" for figure, name in ablations.FIGURES.items() if figure in result)
    print(f"{arguments.variant}, seed {arguments.seed}: {told}")


def _register(arguments: argparse.Namespace) -> None:
    import os

    from elysium.config import load_params
    from elysium.mlops import mlflow, registry

    params = load_params(arguments.params)
    version, new = registry.register(params, os.environ.get(mlflow.PARENT_ENV) or None)
    print(f"{params.mlflow.registered_model} version {version} {'is now' if new else 'is already'} the champion")


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


def _shard_source(arguments: argparse.Namespace) -> None:
    from elysium.data.sources import sharding

    settings = sharding.Settings(arguments.source, arguments.per_shard, arguments.longest_side, arguments.max_frames)
    report = sharding.shard(settings, arguments.root, arguments.out, arguments.limit, arguments.workers)
    print("\n".join(sharding.summary(report, arguments.out)))
    if not report["shards"]:
        raise UserError(f"{arguments.out}: no entry could be used; the lines above say why")


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


def _evaluate(arguments: argparse.Namespace) -> None:
    import os

    from elysium.evaluation.benchmarks import run
    from elysium.evaluation.items import fingerprint
    from elysium.evaluation.videoqa import KEY_VARIABLE, Judge
    from elysium.model.loading import find_model

    if arguments.limit < 0 or arguments.batch_size < 1 or arguments.draw < 0:
        raise UserError("--limit and --draw are at least 0, --batch-size at least 1")
    folder: Path | None = None
    made_from = {"model": "the given predictions"}
    if arguments.predictions is None:
        folder = find_model(arguments.model)
        if not folder.is_dir():
            raise UserError(f"{folder}: no such model; give --model DIR, or --predictions to score stored ones")
        hashed = fingerprint(sorted(p for p in folder.iterdir() if p.is_file()))
        made_from = {"model": str(folder), "model_hash": hashed}
    judge = None
    if arguments.judge:
        cache = arguments.out / arguments.name / "judge_cache.jsonl"
        key = os.environ.get(KEY_VARIABLE, "")
        judge = Judge(arguments.judge, arguments.judge_model, cache, key, arguments.judge_price)
    opened: list[run.Model] = []

    def open_model() -> run.Model:
        from elysium.inference.engine import Engine

        assert folder is not None  # stored predictions answer every question
        if not opened:
            opened.append(Engine.from_pretrained(folder, arguments.device))
        return opened[0]

    jobs = tuple(job for job in arguments.jobs.split(",") if job)
    options = run.Options(
        arguments.limit, arguments.shard, jobs, arguments.predictions, arguments.batch_size, arguments.draw, judge
    )
    run.evaluate(arguments.name, arguments.root, arguments.out, open_model, made_from, options)


def _engine(arguments: argparse.Namespace) -> "Engine":
    from elysium.inference.engine import Engine
    from elysium.model.loading import find_model

    folder = find_model(arguments.model)
    if arguments.model is None:
        print(f"model: {folder}", file=sys.stderr)
    return Engine.from_pretrained(folder, arguments.device)


def _track(arguments: argparse.Namespace) -> None:
    if not arguments.find and not arguments.box:
        raise UserError("one of the arguments --find --box is required; see `elysium track --help`")
    from elysium.data.video import probe
    from elysium.inference import commands

    queries = [commands.make_query(text, None) for text in arguments.find]
    queries += [commands.make_query(None, box) for box in arguments.box]
    several = arguments.video == "-"
    commands.check_render(arguments.render, several)
    videos: Iterator[Path]
    if several:
        videos = (Path(line.strip()) for line in sys.stdin if line.strip())
    else:
        probe(arguments.video)  # before the model is loaded
        videos = iter([Path(arguments.video)])
    commands.track_command(_engine(arguments), videos, queries, arguments.json, arguments.render, several)


def _describe(arguments: argparse.Namespace) -> None:
    from elysium.data.video import probe
    from elysium.inference import commands

    probe(arguments.video)
    print(commands.describe(_engine(arguments), arguments.video, arguments.box, arguments.frame))


def _ask(arguments: argparse.Namespace) -> None:
    from elysium.data.video import probe
    from elysium.inference import commands

    commands.check_text(arguments.question, "question")
    probe(arguments.video)
    print(commands.ask(_engine(arguments), arguments.video, arguments.question))


def _app(arguments: argparse.Namespace) -> None:
    from elysium.app import page

    page.serve(_engine(arguments), arguments.host, arguments.port)


if __name__ == "__main__":
    main()
