"""Public benchmarks in their official folder layouts, one a file. What enters: a folder. What leaves: sequences,
references or questions; results in the official raw formats are in `results`, the command behind it all is `run`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from elysium.evaluation.benchmarks import (
    activitynet_qa,
    elysiumtrack,
    got10k,
    lasot,
    msrvtt_qa,
    msvd_qa,
    otb100,
    refcoco,
    tgif_qa,
    tnl2k,
    trackingnet,
    uav123,
)
from elysium.evaluation.benchmarks.questions import Question
from elysium.evaluation.benchmarks.sequences import TrackingSequence
from elysium.evaluation.ope import Absent


@dataclass(frozen=True)
class TrackingBenchmark:
    """`names` and `load` read a folder; `absent` is how frames without the target count (see `ope`).

    `folder` is the name under which toolkits look for results, `sequences` how many the whole benchmark has, `jobs`
    what is run unless something else is asked for.
    """

    title: str
    folder: str
    sequences: int
    names: Callable[[Path], list[str]]
    load: Callable[[Path, str], TrackingSequence]
    absent: Absent = "exclude"
    jobs: tuple[str, ...] = ("sot", "csrt")


def _got10k(split: str) -> TrackingBenchmark:
    read, load = partial(got10k.names, split=split), partial(got10k.load, split=split)
    jobs = ("sot",) if split == "test" else ("sot", "csrt")  # nothing is scored here on the test split
    return TrackingBenchmark(f"GOT-10k {split}", "GOT-10k", 180, read, load, jobs=jobs)


TRACKING = {
    "lasot": TrackingBenchmark("LaSOT", "LaSOT", 280, lasot.names, lasot.load, "miss"),
    "uav123": TrackingBenchmark("UAV123", "UAV123", 123, uav123.names, uav123.load, "uav"),
    "otb100": TrackingBenchmark("OTB-100", "OTB2015", 100, otb100.names, otb100.load),
    "got10k-val": _got10k("val"),
    "got10k-test": _got10k("test"),
    "trackingnet": TrackingBenchmark(
        "TrackingNet", "TrackingNet", 511, trackingnet.names, trackingnet.load, jobs=("sot",)
    ),
    "tnl2k": TrackingBenchmark(
        "TNL2K", "TNL2K", 700, tnl2k.names, tnl2k.load, "miss", ("sot", "csrt", "rsot", "csrt_words")
    ),
    "elysiumtrack": TrackingBenchmark(
        "ElysiumTrack-1M", "ElysiumTrack-1M", 0, elysiumtrack.names, elysiumtrack.load,
        jobs=("sot", "csrt", "rsot", "frames", "csrt_words", "reg", "reg_one_frame"),
    ),
}  # fmt: skip

REFERRING: dict[str, Callable[[Path], Iterator[refcoco.Reference]]] = {
    name: partial(refcoco.read, name=name) for name in refcoco.SPLITS
}

# name -> (title, reader)
VIDEO_QA: dict[str, tuple[str, Callable[[Path], Iterator[Question]]]] = {
    "msvd-qa": ("MSVD-QA", msvd_qa.read),
    "msrvtt-qa": ("MSRVTT-QA", msrvtt_qa.read),
    "tgif-qa": ("TGIF-QA", tgif_qa.read),
    "activitynet-qa": ("ActivityNet-QA", activitynet_qa.read),
}

NAMES = (*TRACKING, *REFERRING, *VIDEO_QA)
