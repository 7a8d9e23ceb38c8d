"""Boxes and their text form: the conventions that the whole project rests on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elysium.boxes import as_array, format_box, from_xywh_px, iou, parse_boxes, to_xywh_px

unit = st.floats(0, 1, allow_nan=False)


def test_format_is_the_papers_example() -> None:
    assert format_box((0.23, 0.45, 0.46, 0.72)) == "[23,45,46,72]"


def test_one_is_the_last_bin_never_the_number_of_bins() -> None:
    assert format_box((0.0, -0.2, 1.0, 1.3)) == "[0,0,99,99]"
    assert format_box((0.0, 0.0, 1.0, 1.0), bins=1000) == "[0,0,999,999]"


def test_a_box_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="four finite"):
        format_box((0.0, 0.0, float("nan"), 1.0))


@given(st.tuples(unit, unit, unit, unit), st.sampled_from([100, 1000]))
def test_text_survives_reading_and_writing(box: tuple[float, float, float, float], bins: int) -> None:
    x1, x2 = sorted((box[0], box[2]))
    y1, y2 = sorted((box[1], box[3]))
    text = format_box((x1, y1, x2, y2), bins)
    read = parse_boxes(text, 1, bins)[0]
    assert read is not None
    assert format_box(read, bins) == text
    assert np.abs(np.array(read) - (x1, y1, x2, y2)).max() <= 0.5 / bins + 1e-9 or max(x2, y2) == 1.0


def test_boxes_are_aligned_by_the_frame_number_not_by_order() -> None:
    answer = "Frame 3: [5,6,7,8], Frame 1: [1,2,3,4]"
    boxes = parse_boxes(answer, 4)
    assert [b is not None for b in boxes] == [True, False, True, False]
    assert format_box(boxes[2]) == "[5,6,7,8]"  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", ["[1,2,3]", "[1,2,3,100]", "[9,2,3,4]", "none", "[1,2,3,4", "[a,b,c,d]", ""])
def test_a_malformed_box_leaves_its_frame_empty_and_shifts_nothing(bad: str) -> None:
    boxes = parse_boxes(f"Frame 1: [1,2,3,4], Frame 2: {bad}, Frame 3: [5,6,7,8]", 3)
    assert boxes[1] is None
    assert boxes[0] is not None and boxes[2] is not None


def test_the_first_answer_for_a_frame_counts() -> None:
    assert parse_boxes("Frame 1: [1,1,2,2], Frame 1: [3,3,4,4]", 1) == parse_boxes("Frame 1: [1,1,2,2]", 1)


@given(st.text(max_size=80), st.integers(1, 40))
def test_any_text_gives_one_entry_per_frame(text: str, n: int) -> None:
    assert len(parse_boxes(text, n)) == n


def test_iou_is_zero_where_a_box_is_missing_or_empty() -> None:
    a = as_array([(0.0, 0.0, 0.5, 0.5), None, (0.2, 0.2, 0.2, 0.2)])
    b = as_array([(0.25, 0.0, 0.75, 0.5), (0, 0, 1, 1), (0.2, 0.2, 0.2, 0.2)])
    assert iou(a, b) == pytest.approx([1 / 3, 0, 0])


@given(st.tuples(unit, unit, unit, unit), st.integers(1, 4000), st.integers(1, 4000))
def test_pixels_and_back(box: tuple[float, float, float, float], width: int, height: int) -> None:
    there = to_xywh_px(np.array([box]), width, height)
    assert from_xywh_px(there, width, height)[0] == pytest.approx(box, abs=1e-9)
