"""Reading the index of a shard: our header walk against tarfile, both sides in one run, interleaved.

python benchmarks/shard_index.py
"""

import tarfile
import tempfile
import time
from pathlib import Path

from elysium.data.shards import tar_members, write_shard
from elysium.samples import ObjectTrack, VideoRecord

SAMPLES, ROUNDS = 1000, 7


def main() -> None:
    """Print the median seconds of both and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tar"
        track = ObjectTrack("red ball", ((0.1, 0.1, 0.2, 0.2),))
        records = (
            VideoRecord(f"k{i:05d}", "b", (64, 64), (0.0,), (track,), frames=(b"x" * 1800,)) for i in range(SAMPLES)
        )
        write_shard(path, records)
        times: dict[str, list[float]] = {"headers": [], "tarfile": []}
        for _ in range(ROUNDS):
            start = time.perf_counter()
            ours = list(tar_members(path))
            times["headers"].append(time.perf_counter() - start)
            start = time.perf_counter()
            with tarfile.open(path, "r:") as tar:
                theirs = [(m.name, m.offset_data, m.size) for m in tar]
            times["tarfile"].append(time.perf_counter() - start)
            assert ours == theirs
    ours_s, theirs_s = (sorted(v)[ROUNDS // 2] for v in times.values())
    ratio = theirs_s / ours_s
    print(f"{SAMPLES} samples: headers {ours_s * 1e3:.1f} ms, tarfile {theirs_s * 1e3:.1f} ms, {ratio:.1f} times")


if __name__ == "__main__":
    main()
