"""Public benchmarks."""

import argparse
from pathlib import Path

from elysium.cli.arguments import model_argument
from elysium.errors import UserError


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`evaluate`."""
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
    model_argument(add)


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
