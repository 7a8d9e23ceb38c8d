"""The curation on a Ray cluster of two nodes, on this machine: the same files as the local runner's.

Apart from `tests/`, because it needs Ray (the extra `cluster`) and a machine with some cores free: Ray gives its agent
15 seconds to start, whatever else runs. `make test-cluster`.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from elysium.config import CurationInput, CurationParams, WorldParams
from elysium.curation.pipeline import run
from elysium.data.world import build

MEMORY = 80_000_000  # bytes of Ray's object store per node: nothing but file names goes through it


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    nodes = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "object_store_memory": MEMORY, "include_dashboard": False},
    )
    nodes.add_node(num_cpus=1, object_store_memory=MEMORY)
    yield nodes
    nodes.shutdown()


def test_two_nodes_give_the_files_of_the_local_runner(cluster: Cluster, tmp_path: Path) -> None:
    build(
        WorldParams(seed=3, images=0, train_videos=0, eval_videos=0, raw_videos=6, raw_frames=16, raw_size=160),
        tmp_path,
    )
    raw = tmp_path / "raw"
    shutil.copy(raw / "captions.jsonl", raw / "cut.mp4")
    with open(raw / "captions.jsonl", "a") as file:
        file.write(json.dumps({"video": "cut.mp4", "captions": ["A red ball."]}) + "\n")
    source = CurationInput(str(raw), str(raw / "captions.jsonl"), "shapes")
    params = CurationParams(inputs={"world": source}, workers=1, videos_per_shard=2, frame_size=96)
    local = run(params, tmp_path / "local", progress=False)
    assert local["trajectories"] and local["videos_unreadable"] == 1

    there = replace(params, runner="ray", ray_address=cluster.address)
    assert run(there, tmp_path / "ray", progress=False) == local
    local_files, ray_files = (
        {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}
        for out in (tmp_path / "local", tmp_path / "ray")
    )
    assert ray_files == local_files
    assert not ray.is_initialized()
