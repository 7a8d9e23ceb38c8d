"""The official files of benchmarks: what is read, and what is refused in one line."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from elysium.errors import UserError
from elysium.evaluation import benchmarks
from elysium.evaluation.benchmarks import results
from elysium.evaluation.benchmarks.run import Options, evaluate
from elysium.evaluation.benchmarks.sequences import read_boxes
from tests.evaluation import official
from tests.evaluation.colour_model import MODEL, no_model

LASOT = "airplane/airplane-1/groundtruth.txt"
BROKEN = {
    "comma and tab mixed": (LASOT, 3, "5,6\t20,16", "3: commas and tabs mixed"),
    "another separator": (LASOT, 3, "5\t6\t20\t16", "3: separated by blanks, the lines before by commas"),
    "five numbers": (LASOT, 2, "5,6,20,16,1", "2: 5 numbers instead of"),
    "a word": (LASOT, 2, "5,6,twenty,16", "2: not a number"),
    "NaN": (LASOT, 2, "NaN,NaN,NaN,NaN", "2: NaN is not a box"),
    "infinite": (LASOT, 4, "inf,1,2,3", "4: a number is infinite"),
    "no first box": (LASOT, 1, "0,0,0,0", "1: the target is absent from the first frame"),
    "a line too many": (LASOT, 7, "5,6,20,16\n5,6,20,16", "8: a line too many; the folder has 7 pictures"),
    "a line too few": (LASOT, 7, "", "7: no box for frame 7"),
    "flags": ("airplane/airplane-1/out_of_view.txt", 1, "0,0,1", "1: 3 flags for 7 pictures"),
    "a flag that is a word": ("airplane/airplane-1/out_of_view.txt", 1, "0,0,x,0,0,0,0", "1: expected whole numbers"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_malformed_file_is_one_line_with_file_and_line_number(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    official.lasot(tmp_path)
    file, number, line, said = BROKEN[case]
    lines = (tmp_path / file).read_text().splitlines()
    lines[number - 1] = line
    (tmp_path / file).write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError) as error:
        benchmarks.TRACKING["lasot"].load(tmp_path, "airplane-1")
    assert str(error.value).startswith(f"{tmp_path / file}:{said}")
    assert "\n" not in str(error.value)


def test_a_line_with_spaces_in_a_file_with_tabs_is_read(tmp_path: Path) -> None:
    """As line 496 of OTB-100's BlurCar1."""
    official.otb100(tmp_path)
    path = tmp_path / "Basketball/groundtruth_rect.txt"
    lines = path.read_text().splitlines()
    lines[4] = lines[4].replace("\t", " ")
    path.write_text("\n".join(lines) + "\n")
    np.testing.assert_array_equal(read_boxes(path, 9, official.SIZE), official.boxes(9))


def test_a_box_with_a_negative_side_is_absent(tmp_path: Path) -> None:
    """Two lines of LaSOT's test split, lion-5 and tiger-6, are so."""
    official.lasot(tmp_path)
    lines = (tmp_path / LASOT).read_text().splitlines()
    lines[5:] = ["1,1,-1,-1", "61,73,24,-11"]
    (tmp_path / LASOT).write_text("\n".join(lines) + "\n")
    boxes = benchmarks.TRACKING["lasot"].load(tmp_path, "airplane-1").boxes_xywh_px
    assert np.isnan(boxes[5:]).all() and np.isfinite(boxes[:3]).all()


def test_corners_in_a_file_of_widths_are_noticed(tmp_path: Path) -> None:
    official.lasot(tmp_path)
    truth = official.boxes(7)
    corners = np.concatenate([truth[:, :2], truth[:, :2] + truth[:, 2:]], 1) + [30, 20, 30, 20]
    (tmp_path / LASOT).write_text(official.text(corners))
    with pytest.raises(
        UserError, match=r"groundtruth\.txt:\d: .* of 7 boxes leave the 96x64 frame; are they x1,y1,x2,y2"
    ):
        benchmarks.TRACKING["lasot"].load(tmp_path, "airplane-1")


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    official.lasot(tmp_path)
    (tmp_path / "airplane/airplane-1/img/00000004.jpg").unlink()
    with pytest.raises(UserError, match=r"00000004\.jpg is missing between 00000003.jpg and 00000005.jpg"):
        benchmarks.TRACKING["lasot"].load(tmp_path, "airplane-1")
    official.uav123(tmp_path)
    (tmp_path / "data_seq/UAV123/uav6/000109.jpg").unlink()
    with pytest.raises(UserError, match=r"000109\.jpg: missing; uav6 needs frames 000001 to 000109"):
        benchmarks.TRACKING["uav123"].load(tmp_path, "uav6")


def test_a_wrong_folder_or_name_is_one_line(tmp_path: Path) -> None:
    for name, message in (
        ("lasot", "holds no sequence of LaSOT"),
        ("uav123", "no such folder"),
        ("got10k-val", "list.txt: no such file"),
        ("elysiumtrack", "needs one annotation file"),
        ("refcoco", "cannot be read"),
        ("msvd-qa", "cannot be read"),
        ("tgif-qa", "no such file"),
        ("lasott", "no such benchmark"),
    ):
        with pytest.raises(UserError, match=message):
            evaluate(name, tmp_path, tmp_path / "out", no_model, MODEL, Options())


def test_a_missing_box_is_written_as_zeros_and_read_as_missing(tmp_path: Path) -> None:
    boxes = official.boxes(4).astype(float)
    boxes[2] = np.nan
    results.write_boxes(tmp_path, "LaSOT", "a-1", boxes, 0.5)
    assert (tmp_path / "a-1.txt").read_text().splitlines()[2] == "0.000,0.000,0.000,0.000"
    np.testing.assert_array_equal(results.load_boxes(tmp_path, "LaSOT", "a-1"), boxes)


@given(
    arrays(np.int64, st.tuples(st.integers(1, 6), st.just(4)), elements=st.integers(1, 500)),
    st.sampled_from([",", ", ", "\t", " ", "   "]),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_boxes_are_read_whatever_separates_them(
    tmp_path_factory: pytest.TempPathFactory, truth: np.ndarray, separator: str, newline: str, last: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "boxes.txt"
    text = newline.join(separator.join(map(str, row)) for row in truth.tolist()) + newline * last
    path.write_bytes(text.encode())
    np.testing.assert_array_equal(read_boxes(path, len(truth), None), truth)
