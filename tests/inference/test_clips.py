"""Clip chaining, with a tracker that finds colours in real frames."""

import gc
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elysium.boxes import Box
from elysium.inference.clips import Trajectory, clip_ranges, clip_stream, track_streams, track_videos
from elysium.inference.engine import Frames, Query

lengths = st.integers(1, 400)
clips = st.integers(2, 20)
limits = st.integers(0, 64)


@given(lengths, clips, limits)
def test_clips_cover_the_video_and_share_one_frame(n: int, clip: int, whole: int) -> None:
    ranges = clip_ranges(n, clip, whole)
    assert ranges[0][0] == 0 and ranges[-1][1] == n
    for (_, end), (start, _) in pairwise(ranges):
        assert start == end - 1


@given(st.integers(2, 400), clips, limits)
def test_no_clip_has_one_frame_or_more_than_asked(n: int, clip: int, whole: int) -> None:
    ranges = clip_ranges(n, clip, whole)
    assert min(end - start for start, end in ranges) >= 2
    assert n <= whole or max(end - start for start, end in ranges) <= clip


@given(st.integers(1, 32))
def test_up_to_32_frames_are_one_clip(n: int) -> None:
    assert clip_ranges(n) == [(0, n)]


def test_the_papers_clips() -> None:
    """Section 4.3: more than 32 frames, clips of 8, one frame of overlap."""
    assert clip_ranges(33) == [(0, 8), (7, 15), (14, 22), (21, 29), (28, 33)]
    assert clip_ranges(36) == [(0, 8), (7, 15), (14, 22), (21, 29), (28, 36)]
    assert clip_ranges(8, 8, 0) == [(0, 8)]
    assert clip_ranges(9, 8, 0) == [(0, 8), (7, 9)]


@pytest.mark.parametrize(("n", "clip"), [(0, 8), (-1, 8), (40, 1)])
def test_impossible_clips_are_refused(n: int, clip: int) -> None:
    with pytest.raises(ValueError, match=r"frame"):
        clip_ranges(n, clip)


RED, BLUE = (255, 0, 0), (0, 0, 255)


def video(n: int, colour: tuple[int, int, int] = RED, hidden: Sequence[int] = ()) -> list[np.ndarray]:
    """A 4x4 square of one colour that moves right by a pixel a frame over black, 16 high and n + 8 wide."""
    frames = []
    for i in range(n):
        frame = np.zeros((16, n + 8, 3), np.uint8)
        if i not in hidden:
            frame[6:10, i : i + 4] = colour
        frames.append(frame)
    return frames


def truth(n: int, i: int) -> Box:
    return (i / (n + 8), 6 / 16, (i + 4) / (n + 8), 10 / 16)


class Finder:
    """Finds the red square when told "red", else what lies within two pixels of the box it is given."""

    def __init__(self) -> None:
        self.queries: list[list[Query]] = []

    def __call__(self, videos: Sequence[Frames], queries: Sequence[Query]) -> list[list[Box | None]]:
        self.queries.append(list(queries))
        return [self._one(v, q) for v, q in zip(videos, queries, strict=True)]

    def _one(self, frames: Frames, query: Query) -> list[Box | None]:
        found, last = [], query.box
        for frame in frames:
            height, width = frame.shape[:2]
            lit = frame.any(-1) if query.expression is None else frame[..., 0] > 0
            if last is not None:
                near = np.zeros_like(lit)
                near[:, max(int(last[0] * width) - 2, 0) : int(last[2] * width) + 3] = True
                lit &= near
            ys, xs = np.nonzero(lit)
            box = None
            if len(xs):
                box = (xs.min() / width, ys.min() / height, (xs.max() + 1) / width, (ys.max() + 1) / height)
                last = box
            found.append(box)
        return found


def test_a_long_video_is_followed_through_all_clips() -> None:
    n, finder = 50, Finder()
    boxes = track_videos(finder, [video(n)], [Query(box=truth(n, 0))])[0]
    np.testing.assert_allclose(np.array(boxes, dtype=float), [truth(n, i) for i in range(n)], atol=1e-9)
    assert len(finder.queries) == len(clip_ranges(n))
    starts = [start for start, _ in clip_ranges(n)]
    np.testing.assert_allclose(np.array([q[0].box for q in finder.queries]), [truth(n, s) for s in starts], atol=1e-9)


def test_the_kth_clips_of_all_videos_go_together() -> None:
    finder = Finder()
    sizes = [50, 10, 33]
    videos = [video(n) for n in sizes]
    tracked = track_videos(finder, videos, [Query(box=truth(n, 0)) for n in sizes])
    assert [len(b) for b in tracked] == sizes
    assert [len(q) for q in finder.queries] == [3, 2, 2, 2, 2, 1, 1]


def test_rsot_grounds_first_and_goes_on_with_box_and_expression() -> None:
    n, finder = 40, Finder()
    frames = [np.maximum(a, b[::-1]) for a, b in zip(video(n), video(n, BLUE), strict=True)]
    boxes = track_videos(finder, [frames], [Query(expression="red")])[0]
    np.testing.assert_allclose(np.array(boxes, dtype=float), [truth(n, i) for i in range(n)], atol=1e-9)
    asked = [q[0] for q in finder.queries]
    assert asked[0] == Query(expression="red")
    assert all(q.expression == "red" and q.box is not None for q in asked[1:])


def test_a_missing_last_box_is_replaced_by_the_last_known_of_the_clip() -> None:
    n, finder = 40, Finder()
    boxes = track_videos(finder, [video(n, hidden=[7])], [Query(box=truth(n, 0))])[0]
    assert boxes[7] is None
    seed = finder.queries[1][0].box
    assert seed is not None and seed == pytest.approx(truth(n, 6))
    assert boxes[8] == pytest.approx(truth(n, 8))


def test_after_a_clip_without_a_box_rsot_grounds_again_by_the_words_alone() -> None:
    n, finder = 40, Finder()
    boxes = track_videos(finder, [video(n, hidden=range(8, 22))], [Query(expression="red")])[0]
    asked = [q[0] for q in finder.queries]
    # Of clip 1 (frames 7 to 14) only the shared frame shows it, clip 2 (14 to 21) is empty: both are lost.
    assert asked[1].box is not None and asked[4].box is not None
    assert asked[2] == asked[3] == Query(expression="red")
    assert boxes[8:22] == [None] * 14
    assert boxes[22] == pytest.approx(truth(n, 22))


def test_after_a_clip_without_a_box_sot_keeps_the_last_known() -> None:
    n, finder = 40, Finder()
    track_videos(finder, [video(n, hidden=range(8, 22))], [Query(box=truth(n, 0))])
    asked = [q[0] for q in finder.queries]
    assert asked[2].box == asked[3].box == pytest.approx(truth(n, 7))


def test_the_shared_frame_keeps_the_earlier_clips_box() -> None:
    first, later = (0.0, 0.0, 0.5, 0.5), (0.5, 0.5, 1.0, 1.0)
    calls = iter([first, later])

    def track(videos: Sequence[Frames], queries: Sequence[Query]) -> list[list[Box | None]]:
        box = next(calls)
        return [[box] * len(v) for v in videos]

    boxes = track_videos(track, [video(15)], [Query(box=first)], clip=8, max_frames=8)[0]
    assert boxes == [first] * 8 + [later] * 7


@given(lengths, clips, limits)
def test_a_stream_is_cut_where_a_video_of_known_length_is(n: int, clip: int, whole: int) -> None:
    cut = list(clip_stream(iter(np.arange(n)), clip, whole))
    assert [list(frames) for frames in cut] == [list(range(*r)) for r in clip_ranges(n, clip, whole)]


def test_no_more_than_a_clip_of_a_stream_is_held() -> None:
    held: set[int] = set()
    most = 0

    class Frame(np.ndarray):
        def __del__(self) -> None:
            held.discard(id(self))

    def frames() -> Iterator[np.ndarray]:
        for _ in range(200):
            frame = np.zeros((1, 1, 3), np.uint8).view(Frame)
            held.add(id(frame))
            yield frame

    for _ in clip_stream(frames()):
        gc.collect()
        most = max(most, len(held))
    assert 0 < most <= 33 + 8


def test_a_lost_object_is_sought_by_its_words_and_marked() -> None:
    """Three clips of eight frames: the second is followed with little confidence."""
    asked: list[list[Query]] = []

    def follow(videos: Sequence[Frames], queries: Sequence[Sequence[Query]]) -> list[list[Trajectory]]:
        asked.append(list(queries[0]))
        sure = 0.1 if len(asked) == 2 else 0.9
        n, box = len(videos[0]), truth(40, len(asked))
        return [[Trajectory(q, [box] * n, [sure] * n) for q in queries[0]]]

    start = truth(40, 0)
    queries = [Query(expression="red"), Query(box=start), Query(expression="red", box=start)]
    done: list[int] = []
    words, box, both = track_streams(follow, [video(22)], [queries], max_frames=8, lost_below=0.3, advance=done.append)[
        0
    ]
    assert asked[2] == [Query(expression="red"), Query(box=truth(40, 1)), Query(expression="red")]
    assert words.lost == box.lost == both.lost == list(range(8, 15))
    assert words.regrounded == both.regrounded == [15] and box.regrounded == []
    assert len(words.boxes) == len(words.confidences) == 22 and done == [8, 7, 7]


def test_a_tracker_that_loses_frames_is_an_error() -> None:
    with pytest.raises(ValueError, match="3 boxes for a clip of 4 frames"):
        track_videos(lambda v, q: [[None] * 3], [video(4)], [Query(expression="red")])
    with pytest.raises(ValueError, match="1 videos but 0 queries"):
        track_videos(Finder(), [video(4)], [])
