"""What runs the shards: a pool of processes on this machine, or Ray (`curation.runner=local|ray`).

Both call `curate_shard` for every shard and nothing else, so they leave the same files. Ray's nodes must see the
videos and the output folder under the same path (a shared file system).
"""

import logging
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from elysium.config import CurationParams
from elysium.curation.shard import curate_shard
from elysium.curation.videos import ShardSpec
from elysium.errors import UserError

RUNNERS = ("local", "ray")
_RETRIES = 3  # of a shard whose worker or node died
_CONNECT_SECONDS = 20


def check_runner(params: CurationParams) -> None:
    """Raise UserError if the runner is unknown, or is Ray and Ray is not installed."""
    if params.runner not in RUNNERS:
        raise UserError(f"curation.runner={params.runner} is not known; choose one of {', '.join(RUNNERS)}")
    if params.runner == "ray":
        _import_ray()


def run_shards(todo: Sequence[ShardSpec], out: Path, params: CurationParams) -> Iterator[ShardSpec]:
    """Curate the shards into `out`; yields each when it is done, in any order.

    Raises UserError if workers die again and again (out of memory), or Ray cannot be reached.
    """
    if params.runner == "ray":
        yield from _on_ray(todo, out, params)
    elif params.workers <= 1 or len(todo) <= 1:
        for spec in todo:
            curate_shard(spec, out)
            yield spec
    else:
        yield from _in_processes(todo, out, params.workers)


def _in_processes(todo: Sequence[ShardSpec], out: Path, workers: int) -> Iterator[ShardSpec]:
    with ProcessPoolExecutor(min(workers, len(todo)), mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(curate_shard, spec, out): spec for spec in todo}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BrokenProcessPool as error:
            raise UserError(
                "a curation worker was killed (out of memory?); run again with fewer curation.workers: "
                "finished shards are kept"
            ) from error
        except BaseException:
            for future in futures:
                future.cancel()
            raise


def _on_ray(todo: Sequence[ShardSpec], out: Path, params: CurationParams) -> Iterator[ShardSpec]:
    ray = _import_ray()
    out = out.absolute()
    with _connected(ray, params.ray_address):
        # A worker process of Ray is kept between tasks, so its models are loaded once (max_calls=0: on GPUs, too).
        task = ray.remote(
            num_cpus=1,
            num_gpus=params.gpus_per_worker,
            max_retries=_RETRIES,
            max_calls=0,
            scheduling_strategy="SPREAD",
        )(curate_shard)
        slots = max(1, params.workers, int(ray.cluster_resources().get("CPU", 1)))
        waiting = [_absolute(spec) for spec in reversed(todo)]
        running: dict[Any, ShardSpec] = {}
        while waiting or running:
            while waiting and len(running) < 2 * slots:  # millions of shards are not submitted at once
                spec = waiting.pop()
                running[task.remote(spec, out)] = spec
            done, _ = ray.wait(list(running), num_returns=1)
            for reference in done:
                try:
                    ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from error  # what the shard raised, as the local runner shows it
                except ray.exceptions.RayError as error:
                    raise UserError(
                        f"shard {running[reference].name}: its Ray worker died {1 + _RETRIES} times (out of memory?); "
                        "run again on larger nodes: finished shards are kept"
                    ) from error
                yield running.pop(reference)


def _absolute(spec: ShardSpec) -> ShardSpec:
    """The shard with paths that hold in any working directory."""
    return replace(spec, videos=tuple(replace(v, path=str(Path(v.path).absolute())) for v in spec.videos))


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise UserError("curation.runner=ray needs Ray; install it with `pip install 'elysium[cluster]'`") from error
    return ray


@contextmanager
def _connected(ray: Any, address: str) -> Iterator[None]:
    """A connection to Ray: the caller's if there is one, else one to `address`, or to a Ray started here."""
    if ray.is_initialized():
        yield
        return
    try:
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if host:  # Ray itself knocks for minutes where nobody is
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
        ray.init(address or "local", log_to_driver=False, logging_level=logging.WARNING)
    except (OSError, ValueError, RuntimeError, ImportError) as error:  # ray:// needs grpcio
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"curation.ray_address={address!r}: cannot connect to Ray ({reason})") from error
    try:
        yield
    finally:
        ray.shutdown()
