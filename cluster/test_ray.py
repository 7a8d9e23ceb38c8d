"""The curation on a Ray cluster of two nodes, on this machine: the same files as the local runner's.

Apart from `tests/`, because it needs Ray (the extra `cluster`) and a machine with some cores free: Ray gives its agent
15 seconds to start, whatever else runs. `make test-cluster`.
"""

import json
import os
import shutil
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from elysium.config import CurationInput, CurationParams, WorldParams
from elysium.curation import runners
from elysium.curation.pipeline import run
from elysium.curation.shard import curate_shard
from elysium.curation.videos import ShardSpec
from elysium.data.world import build
from elysium.errors import UserError

MEMORY = 80_000_000  # bytes of Ray's object store per node: nothing but file names goes through it


@pytest.fixture(scope="module")
def addresses() -> Iterator[dict[str, str]]:
    """Two nodes; the head's own address, and that of its server for clients."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    head = {"num_cpus": 1, "object_store_memory": MEMORY, "include_dashboard": False, "ray_client_server_port": port}
    nodes = Cluster(initialize_head=True, head_node_args=head)
    nodes.add_node(num_cpus=1, object_store_memory=MEMORY)
    yield {"head": nodes.address, "client": f"ray://127.0.0.1:{port}"}
    nodes.shutdown()


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> CurationParams:
    """Seven videos in four shards, one of them unreadable."""
    folder = tmp_path_factory.mktemp("world")
    build(
        WorldParams(seed=3, images=0, train_videos=0, eval_videos=0, raw_videos=6, raw_frames=16, raw_size=160),
        folder,
    )
    raw = folder / "raw"
    shutil.copy(raw / "captions.jsonl", raw / "cut.mp4")
    with open(raw / "captions.jsonl", "a") as file:
        file.write(json.dumps({"video": "cut.mp4", "captions": ["A red ball."]}) + "\n")
    source = CurationInput(str(raw), str(raw / "captions.jsonl"), "shapes")
    return CurationParams(inputs={"world": source}, workers=1, videos_per_shard=2, frame_size=96)


@pytest.fixture(scope="module")
def local(params: CurationParams, tmp_path_factory: pytest.TempPathFactory) -> tuple[Counter[str], dict[str, bytes]]:
    """Counts and files of the local runner."""
    out = tmp_path_factory.mktemp("local")
    counts = run(params, out, progress=False)
    assert counts["trajectories"] and counts["videos_unreadable"] == 1
    return counts, _files(out)


def _files(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("way", ["head", "client"])
def test_two_nodes_give_the_files_of_the_local_runner(way, addresses, params, local, tmp_path, monkeypatch) -> None:
    at_work = tmp_path / "nodes"
    at_work.mkdir()

    def noting(spec: ShardSpec, out: Path) -> None:
        (at_work / ray.get_runtime_context().get_node_id()).touch()
        curate_shard(spec, out)

    monkeypatch.setattr(runners, "curate_shard", noting)
    there = replace(params, runner="ray", ray_address=addresses[way])
    assert run(there, tmp_path / "ray", progress=False) == local[0]
    assert _files(tmp_path / "ray") == local[1]
    assert len(list(at_work.iterdir())) == 2
    assert not ray.is_initialized()


def test_a_killed_worker_is_replaced_and_changes_nothing(addresses, params, local, tmp_path, monkeypatch) -> None:
    killed = tmp_path / "killed"
    killed.mkdir()

    def dies_once(spec: ShardSpec, out: Path) -> None:
        if not (killed / spec.name).exists():
            (killed / spec.name).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        curate_shard(spec, out)

    monkeypatch.setattr(runners, "curate_shard", dies_once)
    there = replace(params, runner="ray", ray_address=addresses["head"])
    assert run(there, tmp_path / "ray", progress=False) == local[0]
    assert _files(tmp_path / "ray") == local[1]
    assert len(list(killed.iterdir())) == 4


def test_what_stops_a_run_is_one_clear_error(addresses, params, tmp_path, monkeypatch) -> None:
    there = replace(params, runner="ray", ray_address=addresses["head"])

    def fails(spec: ShardSpec, out: Path) -> None:
        raise UserError("no such checkpoint")

    def dies(spec: ShardSpec, out: Path) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    for shard, message in ((fails, "^no such checkpoint$"), (dies, "worker died 4 times")):
        monkeypatch.setattr(runners, "curate_shard", shard)
        with pytest.raises(UserError, match=message):
            run(there, tmp_path, progress=False)
    with pytest.raises(UserError, match=r"curation\.ray_address='127\.0\.0\.1:1': cannot connect"):
        run(replace(there, ray_address="127.0.0.1:1"), tmp_path, progress=False)
    assert not ray.is_initialized()
