"""Drawn frames: what must be visible is looked for in the pixels."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from elysium.data.video import probe
from elysium.inference.render import MIN_HEIGHT, PALETTE, contact_sheet, render_frames, render_tracks

GREY = [np.full((64, 96, 3), 90, np.uint8)] * 5
BOX = (0.25, 0.25, 0.75, 0.75)


def near(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.linalg.norm(image.astype(float) - colour, axis=-1) < 40


def test_small_frames_are_enlarged_and_the_box_is_where_it_says() -> None:
    image = next(iter(render_frames(GREY, {"found": [BOX] * 5})))
    height = 64 * 6
    assert image.shape[0] >= height >= MIN_HEIGHT and image.shape[1] == 96 * 6
    ys, xs = np.nonzero(near(image[:height], PALETTE[0]))
    assert abs(xs.min() - 0.25 * 576) < 4 and abs(xs.max() - 0.75 * 576) < 4
    assert abs(ys.max() - 0.75 * height) < 4


def test_large_frames_keep_their_size() -> None:
    frame = np.zeros((480, 640, 3), np.uint8)
    image = next(iter(render_frames([frame], {"found": [BOX]})))
    assert image.shape[1] == 640 and frame.sum() == 0


def test_the_truth_is_dashed_white() -> None:
    image = next(iter(render_frames(GREY, {}, truth=[BOX] * 5)))
    top = image[round(0.25 * 383), round(0.25 * 575) : round(0.75 * 575)]
    white = near(top, (255, 255, 255))
    assert 0.3 < white.mean() < 0.7
    assert np.count_nonzero(np.diff(white.astype(int))) > 10


def test_a_lost_object_is_said_not_drawn() -> None:
    frames = list(render_frames(GREY, {"found": [BOX, None, BOX, BOX, BOX]}))
    assert near(frames[0][:384], PALETTE[0]).any() and not near(frames[1][:384], PALETTE[0]).any()
    assert near(frames[1][384:], (255, 170, 90)).any() and not near(frames[0][384:], (255, 170, 90)).any()


def test_boxes_that_leave_the_frame_are_cut_at_its_edge() -> None:
    image = next(iter(render_frames(GREY, {"found": [(-0.5, -0.2, 1.4, 1.3)] * 5})))
    assert near(image[:384, :3], PALETTE[0]).mean() > 0.5


def test_a_track_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="'found' has 2 boxes for 5 frames"):
        list(render_frames(GREY, {"found": [BOX] * 2}))


def test_videos_and_contact_sheets_can_be_read_back(tmp_path: Path) -> None:
    times = [i / 4 for i in range(5)]
    render_tracks(tmp_path / "a.mp4", GREY, times, {"found": [BOX] * 5}, caption="a ball")
    info = probe(tmp_path / "a.mp4")
    assert info.n_frames == 5 and info.fps == pytest.approx(4)
    contact_sheet(tmp_path / "a.png", GREY, {"found": [BOX] * 5}, columns=2, cells=3)
    sheet = cv2.imread(str(tmp_path / "a.png"))
    assert sheet is not None and sheet.shape[1] == 2 * (96 * 6 + 4)
