"""The recipe of `data/real/`: short clips of freely licensed videos, cut within one shot, captioned by hand.

    python -m elysium.data.sources.real_clips vtest.avi bikes.mp4 bigbuckbunny.mp4 --out data/real

`docs/data.md` says where the three source files come from and under what licence. Each caption was written after
looking at the clip's frames. Some captions hold plural and abstract words on purpose: the filters must have work.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from elysium.data.video import probe, read_frames, write_video
from elysium.errors import UserError


@dataclass(frozen=True)
class Clip:
    """Frames `[start, end)` of a source file, cropped to (x, y, width, height) in pixels, every `stride`-th kept."""

    name: str
    source: str
    start: int
    end: int
    crop: tuple[int, int, int, int]
    captions: tuple[str, ...]
    stride: int = 1


CLIPS = (
    Clip(
        "lawn-woman", "vtest.avi", 625, 681, (32, 288, 384, 288),
        ("A woman in a black coat walks across a green lawn.", "A blonde woman strolls over the grass for some time."),
    ),
    Clip(
        "red-jacket-left", "vtest.avi", 485, 515, (224, 96, 224, 224),
        ("A woman in a red jacket walks past two traffic cones.", "A girl with dark hair carries papers."),
    ),
    Clip(
        "waiting-man", "vtest.avi", 398, 442, (224, 160, 256, 256),
        ("A man in a black jacket stands on a grey path beside a green sign.", "Man waiting for friends."),
    ),
    Clip(
        "far-walker", "vtest.avi", 105, 155, (0, 0, 288, 224),
        ("A pedestrian crosses the lawn in front of a brick building.", "A lonely walk on the campus."),
    ),
    Clip(
        "taped-path", "vtest.avi", 568, 616, (96, 0, 320, 256),
        ("A man wearing a cap walks along red and white tape.", "People at work: a man passes orange cones."),
    ),
    Clip(
        "jeans-walker", "vtest.avi", 229, 255, (128, 64, 224, 224),
        ("A man in blue jeans walks by a large rock.",),
    ),
    Clip(
        "red-jacket-road", "vtest.avi", 427, 453, (544, 192, 224, 224),
        ("A young woman in a red hoodie crosses the asphalt.", "Student with papers, happiness of a sunny day."),
    ),
    Clip(
        "road-man", "vtest.avi", 60, 98, (544, 128, 224, 224),
        ("A bald man in a dark jacket walks up the road.", "Back view of a man, freedom concept."),
    ),
    Clip(
        "busy-square", "vtest.avi", 540, 586, (0, 0, 768, 576),
        ("A group of people walk across a square next to a tripod.", "Several pedestrians and a white truck."),
    ),
    Clip(
        "cyclist", "bikes.mp4", 108, 137, (320, 0, 300, 272),
        ("A cyclist with a helmet waits at the kerb.", "A man on a bicycle, city traffic."),
    ),
    Clip(
        "parked-bicycle", "bikes.mp4", 212, 242, (0, 0, 640, 272),
        ("An old bicycle leans against a stone wall.", "The passage of time."),
    ),
    Clip(
        "city-cars", "bikes.mp4", 138, 186, (0, 0, 640, 272),
        ("Cars drive by behind a fence.", "Two bicycles are locked to the fence, rush hour."),
    ),
    Clip(
        "rabbit", "bigbuckbunny.mp4", 44, 132, (0, 0, 1280, 720),
        ("A big grey rabbit stretches in front of a burrow.", "The joy of a spring morning."), 2,
    ),
)  # fmt: skip
LONGEST_SIDE = 512  # pixels


def make_clips(sources: list[Path], out: Path) -> list[Path]:
    """Write `NAME.mp4` for every clip and `captions.jsonl` into `out`; the same sources give the same bytes.

    Raises UserError if a source file is missing from the list or shorter than a clip needs.
    """
    by_name = {path.name: path for path in sources}
    missing = sorted({clip.source for clip in CLIPS} - set(by_name))
    if missing:
        raise UserError(f"the clips need the source file {missing[0]}; give its path (docs/data.md says where it is)")
    rows, paths = [], []
    for name, path in by_name.items():
        fps = probe(path).fps
        clips = [clip for clip in CLIPS if clip.source == name]
        frames, _ = read_frames(path, limit=max((clip.end for clip in clips), default=1))
        for clip in clips:
            if clip.end > len(frames):
                raise UserError(f"{path}: {len(frames)} frames, clip {clip.name} needs {clip.end}; another version?")
            x, y, width, height = clip.crop
            cut = [f[y : y + height, x : x + width] for f in frames[clip.start : clip.end : clip.stride]]
            write_video(out / f"{clip.name}.mp4", [_shrink(f) for f in cut], fps / clip.stride, crf=21)
            paths.append(out / f"{clip.name}.mp4")
            rows.append({"video": f"{clip.name}.mp4", "source": clip.source, "captions": clip.captions})
    rows.sort(key=lambda row: str(row["video"]))
    (out / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return sorted(paths)


def _shrink(frame: np.ndarray) -> np.ndarray:
    scale = LONGEST_SIDE / max(frame.shape[:2])
    if scale >= 1:
        return frame
    size = (round(frame.shape[1] * scale), round(frame.shape[0] * scale))
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA))


def main() -> None:
    """Command line: the source files and the output folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("data/real"))
    args = parser.parse_args()
    try:
        paths = make_clips(args.sources, args.out)
    except UserError as error:
        raise SystemExit(f"error: {error}") from error
    print(f"{len(paths)} clips in {args.out}, {sum(p.stat().st_size for p in paths) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
