"""Public benchmarks from tiny folders in their official layouts to figures, raw results and drawings."""

import json
import pickle
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from got10k.datasets import OTB
from got10k.experiments import ExperimentGOT10k, ExperimentOTB, ExperimentUAV123
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from elysium.boxes import Box
from elysium.cli import main
from elysium.data.plain_pickle import read_plain_pickle
from elysium.errors import UserError
from elysium.evaluation import benchmarks
from elysium.evaluation.benchmarks import results
from elysium.evaluation.benchmarks.run import Model, Options, evaluate
from elysium.evaluation.benchmarks.sequences import read_boxes
from elysium.evaluation.report import paper_tables
from elysium.inference.engine import Frames, Query
from tests.evaluation import official
from tests.evaluation.colour_model import MODEL, AskedModel

TRACKING: dict[str, Callable[[Path], None]] = {
    "lasot": official.lasot,
    "uav123": official.uav123,
    "otb100": official.otb100,
    "got10k-val": official.got10k,
    "tnl2k": official.tnl2k,
}


class ShakyModel(AskedModel):
    """Boxes off by a few pixels, and none in one frame."""

    def track(self, videos: Sequence[Frames], queries: Sequence[Query]) -> list[list[Box | None]]:
        rng = np.random.default_rng(0)
        found: list[list[Box | None]] = []
        for boxes in super().track(videos, queries):
            shaken = (np.array([b or (0, 0, 0, 0) for b in boxes]) + rng.normal(0, 0.02, (len(boxes), 4))).tolist()
            found.append([(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in shaken])
            found[-1][2] = None
        return found


def no_model() -> Model:
    raise AssertionError("a model was loaded although every prediction is there")


def metrics(out: Path) -> dict[str, float]:
    found = json.loads((out / "metrics.json").read_text())
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("name", TRACKING)
def test_a_benchmark_is_tracked_scored_and_scored_again_without_a_model(name: str, tmp_path: Path) -> None:
    TRACKING[name](tmp_path / "in" if (tmp_path / "in").mkdir() is None else tmp_path)
    out, title = tmp_path / "out" / name, benchmarks.TRACKING[name].title
    jobs = ("sot",) if name == "uav123" else ()  # CSRT through its long sequence takes a while
    evaluate(name, tmp_path / "in", tmp_path / "out", AskedModel, MODEL, Options(jobs=jobs, draw=1))
    found = metrics(out)
    assert found[f"{title}/sot/auc"] > 75
    assert found[f"{title}/sot/auc"] > found[f"{title}/sot/held/auc"] + 20
    assert jobs or f"{title}/sot/csrt/auc" in found
    assert len(list((out / "hardest").glob("*.png"))) == 1
    assert "not comparable with published figures" in (out / "results.md").read_text()
    if name == "tnl2k":
        assert found[f"{title}/rsot/auc"] > 75 and f"{title}/rsot/csrt/auc" in found
    evaluate(name, tmp_path / "in", tmp_path / "out", no_model, MODEL, Options(jobs=jobs, draw=0))
    assert metrics(out) == found


def test_absent_frames_count_as_each_benchmark_says(tmp_path: Path) -> None:
    """LaSOT and TNL2K count a miss (two of seven frames, one of six), UAV123 a miss of success and a hit of precision.

    The official toolkits of LaSOT and TNL2K take such frames out and divide by the length of the whole sequence.
    """
    official.lasot(tmp_path)
    sequence = benchmarks.TRACKING["lasot"].load(tmp_path, "airplane-1")
    assert np.isnan(sequence.boxes_xywh_px[3:5]).all() and np.isfinite(sequence.boxes_xywh_px[[0, 1, 2, 5, 6]]).all()
    evaluate("lasot", tmp_path, tmp_path / "out", AskedModel, MODEL, Options(limit=1, jobs=("sot",), draw=0))
    assert metrics(tmp_path / "out/lasot")["LaSOT/sot/precision"] == pytest.approx(100 * 5 / 7, abs=0.01)

    (tmp_path / "tnl2k").mkdir()
    official.tnl2k(tmp_path / "tnl2k")
    evaluate("tnl2k", tmp_path / "tnl2k", tmp_path / "out", AskedModel, MODEL, Options(jobs=("sot",), draw=0))
    assert metrics(tmp_path / "out/tnl2k")["TNL2K/sot/precision"] == pytest.approx(100 * 5 / 6, abs=0.01)

    (tmp_path / "uav").mkdir()
    official.uav123(tmp_path / "uav")
    evaluate("uav123", tmp_path / "uav", tmp_path / "out", AskedModel, MODEL, Options(jobs=("sot",), draw=0))
    assert metrics(tmp_path / "out/uav123")["UAV123/sot/precision"] == 100.0
    assert metrics(tmp_path / "out/uav123")["UAV123/sot/success_50"] == pytest.approx(100 * 107 / 109, abs=0.01)


def test_the_got10k_toolkit_reads_our_raw_results_and_gives_our_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """got10k 0.1.3 scores the files that we wrote: OTB-100, UAV123 (without absent frames) and GOT-10k."""
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    for name in ("otb100", "got10k-val", "uav123"):
        (tmp_path / name).mkdir()
        TRACKING[name](tmp_path / name)
    truth = official.boxes(109)
    official.draw(tmp_path / "uav123/data_seq/UAV123/uav6", truth, "red", lambda i: f"{i + 1:06d}")
    (tmp_path / "uav123/anno/UAV123/uav6.txt").write_text(official.text(truth))
    (tmp_path / "uav123/more").mkdir()  # the toolkit wants more than three entries
    (tmp_path / "uav123/and").mkdir()
    otb = ExperimentOTB.__new__(ExperimentOTB)  # its constructor would download what is missing
    otb.dataset = OTB(tmp_path / "otb100", 2015, download=False)
    otb.result_dir, otb.report_dir = str(tmp_path / "out/otb100/results/OTB2015"), str(tmp_path / "reports")
    otb.nbins_iou, otb.nbins_ce = 21, 51
    uav = ExperimentUAV123(tmp_path / "uav123", result_dir=str(tmp_path / "out/uav123/results"))
    for key, toolkit in (("otb100", otb), ("uav123", uav)):
        evaluate(key, tmp_path / key, tmp_path / "out", ShakyModel, MODEL, Options(jobs=("sot",), draw=0))
        overall = toolkit.report(["elysium_sot"])["elysium_sot"]["overall"]
        found, title = metrics(tmp_path / "out" / key), benchmarks.TRACKING[key].title
        assert found[f"{title}/sot/auc"] == pytest.approx(100 * overall["success_score"], abs=0.006)
        assert found[f"{title}/sot/precision"] == pytest.approx(100 * overall["precision_score"], abs=0.006)
    evaluate("got10k-val", tmp_path / "got10k-val", tmp_path / "out", ShakyModel, MODEL, Options(jobs=("sot",), draw=0))
    experiment = ExperimentGOT10k(tmp_path / "got10k-val", "val", str(tmp_path / "out/got10k-val/results"))
    overall = experiment.report(["elysium_sot"])["elysium_sot"]["overall"]
    found = metrics(tmp_path / "out/got10k-val")
    assert found["GOT-10k val/sot/ao"] == pytest.approx(100 * overall["ao"], abs=0.006)
    assert found["GOT-10k val/sot/sr50"] == pytest.approx(100 * overall["sr"], abs=0.006)
    assert 40 < found["GOT-10k val/sot/ao"] < 90


@pytest.mark.parametrize(
    ("name", "build", "members"),
    [
        ("got10k-test", official.got10k, ["GOT-10k_Test_000001_001.txt", "GOT-10k_Test_000001_time.txt"]),
        ("trackingnet", official.trackingnet, ["-abc_0.txt"]),
    ],
)
def test_where_the_truth_is_withheld_there_is_a_zip_for_the_server(
    name: str, build: Callable[[Path], None], members: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(tmp_path)
    assert evaluate(name, tmp_path, tmp_path / "out", AskedModel, MODEL, Options()) == []
    assert "upload the zip" in capsys.readouterr().out
    (path,) = (tmp_path / "out").rglob("elysium_sot.zip")
    with zipfile.ZipFile(path) as archive:
        assert [Path(n).name for n in archive.namelist()] == members
        rows = np.loadtxt(archive.open(archive.namelist()[0]), delimiter=",")
    n = 8 if name == "got10k-test" else 12
    np.testing.assert_allclose(rows, official.boxes(n), atol=2.5)
    np.testing.assert_array_equal(rows[0], official.boxes(n)[0])


def test_elysiumtrack_stands_in_table_5(tmp_path: Path) -> None:
    """SOT, RSOT and REC on each frame."""
    official.elysiumtrack(tmp_path)
    jobs = ("sot", "rsot", "frames")
    rows = evaluate("elysiumtrack", tmp_path, tmp_path / "out", AskedModel, MODEL, Options(jobs=jobs, draw=0))
    found = {(r["task"], r["method"]): r for r in rows}
    assert set(found) == {
        ("rec", "elysium"), ("sot", "elysium"), ("sot", "held"),
        ("rsot", "elysium"), ("rsot", "held"), ("rsot", "per_frame"),
    }  # fmt: skip
    assert found["rsot", "elysium"]["auc"] > 80 and found["rec", "elysium"]["acc50"] == 100
    second = benchmarks.TRACKING["elysiumtrack"].load(tmp_path, "1-0")
    assert len(second.images) == 5 and second.images[0].name == "000001.jpg"
    (title, grid) = next((t, g) for t, g in paper_tables(rows) if t.startswith("Table 5"))
    assert "published values" in title
    assert ["Elysium (paper)", "as published", "RSOT", "87.5", "94.5", "93.7"] in grid
    ours = [line for line in grid if line[1] == "ours, ElysiumTrack-1M"]
    assert ["Elysium (ours)", "RSOT"] in [[line[0], line[2]] for line in ours]


def test_descriptions_are_kept_and_scored_under_other_names_without_java(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Video-REG of Table 6, from all frames and from one; an empty PATH has no Java."""
    monkeypatch.setenv("PATH", "")
    official.elysiumtrack(tmp_path)
    options = Options(jobs=("reg", "reg_one_frame"))
    rows = evaluate("elysiumtrack", tmp_path, tmp_path / "out", AskedModel, MODEL, options)
    assert [(r["method"], r["exact"]) for r in rows] == [("elysium", 100), ("one_frame", 100)]
    assert "meteor_nltk" in rows[0] and "meteor" not in rows[0]
    assert evaluate("elysiumtrack", tmp_path, tmp_path / "out", no_model, MODEL, options) == rows
    assert len((tmp_path / "out/elysiumtrack/predictions/reg.jsonl").read_text().splitlines()) == 2


def test_a_sequence_without_an_expression_is_left_out_of_rsot_alone(tmp_path: Path) -> None:
    """As TNL2K's Fight_video_6-Done, whose language.txt is empty."""
    official.tnl2k(tmp_path)
    (tmp_path / "part2/Arrow_Video/language.txt").write_text("\n")
    rows = evaluate("tnl2k", tmp_path, tmp_path / "out", AskedModel, MODEL, Options(draw=0))
    assert {(r["task"], r["n"]) for r in rows} == {("sot", 2), ("rsot", 1)}
    assert "rsot: 1 of 2 sequences have an expression" in (tmp_path / "out/tnl2k/results.md").read_text()
    assert evaluate("tnl2k", tmp_path, tmp_path / "out", no_model, MODEL, Options(draw=0)) == rows


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    official.otb100(tmp_path)

    class Killed(AskedModel):
        def track(self, videos: Any, queries: Any) -> Any:
            if self.calls:
                raise KeyboardInterrupt
            return super().track(videos, queries)

    killed, options = Killed(), Options(batch_size=1, jobs=("sot",), draw=0)
    with pytest.raises(KeyboardInterrupt):
        evaluate("otb100", tmp_path, tmp_path / "out", lambda: killed, MODEL, options)
    folder = tmp_path / "out/otb100/results/OTB2015/elysium_sot"
    assert [p.name for p in folder.glob("*.txt")] == ["Basketball.txt"]
    model = AskedModel()
    evaluate("otb100", tmp_path, tmp_path / "out", lambda: model, MODEL, options)
    assert model.calls == [("track", 1), ("track", 1)]
    with pytest.raises(UserError, match="made with another model_hash"):
        evaluate("otb100", tmp_path, tmp_path / "out", AskedModel, {**MODEL, "model_hash": "2"}, options)


def test_shards_share_the_work(tmp_path: Path) -> None:
    official.otb100(tmp_path)
    models = [AskedModel(), AskedModel()]
    for k in (0, 1):
        evaluate(
            "otb100",
            tmp_path,
            tmp_path / "out",
            lambda k=k: models[k],
            MODEL,
            Options(shard=(k, 2), jobs=("sot",), draw=0),
        )  # type: ignore[misc]
    assert [sum(n for _, n in m.calls) for m in models] == [2, 1]
    whole = metrics(tmp_path / "out/otb100")
    evaluate("otb100", tmp_path, tmp_path / "alone", AskedModel, MODEL, Options(jobs=("sot",), draw=0))
    assert metrics(tmp_path / "alone/otb100") == whole


def test_shards_of_questions_meet_in_one_table(tmp_path: Path) -> None:
    official.msvd_qa(tmp_path)
    counts = []
    for k in (0, 1):
        (row,) = evaluate("msvd-qa", tmp_path, tmp_path / "out", AskedModel, MODEL, Options(shard=(k, 2)))
        counts.append((row["n"], row["normalised_match"]))
    assert counts == [(1, 100), (2, 50)]
    assert len(list((tmp_path / "out/msvd-qa/predictions").glob("*.jsonl"))) == 2


def test_a_sequence_name_cannot_lead_out_of_the_results(tmp_path: Path) -> None:
    official.elysiumtrack(tmp_path)
    file = tmp_path / "elysiumtrack_eval.json"
    file.write_text(file.read_text().replace('"id": "0-0"', '"id": "../../0"'))
    with pytest.raises(UserError, match="leads out of the folder"):
        evaluate("elysiumtrack", tmp_path, tmp_path / "out", AskedModel, MODEL, Options())


def test_any_trackers_raw_results_are_scored_without_a_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One result is too short: the frames that it lacks count as misses."""
    official.lasot(tmp_path)
    given_ = tmp_path / "given"
    given_.mkdir()
    (given_ / "airplane-1.txt").write_text(official.text(official.boxes(7), "\t"))
    (given_ / "airplane-9.txt").write_text(official.text(official.boxes(40)[:20]))
    command = ["evaluate", "lasot", "--in", str(tmp_path), "--out", str(tmp_path / "out"), "--draw", "0"]
    with pytest.raises(SystemExit) as end:
        main([*command, "--predictions", str(given_)])
    assert end.value.code == 0 and "the given predictions" in capsys.readouterr().out
    found = metrics(tmp_path / "out/lasot/given")
    assert found["LaSOT/sot/given/precision"] == pytest.approx(100 * (5 / 7 + 20 / 40) / 2, abs=0.01)
    assert found["LaSOT/sot/given/auc"] == pytest.approx(100 * 20 / 21 * (5 / 7 + 20 / 40) / 2, abs=0.01)
    with pytest.raises(SystemExit) as end:
        main([*command, "--model", str(tmp_path / "no")])
    assert end.value.code == 2 and capsys.readouterr().err.startswith("error: ")


def test_our_row_stands_in_the_papers_own_columns(tmp_path: Path) -> None:
    official.lasot(tmp_path)
    options = Options(limit=1, jobs=("sot", "csrt"), draw=0)
    rows = evaluate("lasot", tmp_path, tmp_path / "out", AskedModel, MODEL, options)
    assert [r["method"] for r in rows] == ["elysium", "held", "csrt"]
    ((title, grid),) = paper_tables(rows)
    assert title.startswith("Table 4") and grid[0][2:] == [
        "LaSOT AUC", "LaSOT P", "LaSOT P_norm", "UAV123 AUC", "UAV123 P",
    ]  # fmt: skip
    assert ["Elysium (paper, zero-shot)", "as published", "56.1", "61.0", "50.1", "56.6", "79.2"] in grid
    ours = next(line for line in grid if line[0] == "Elysium (ours)")
    assert ours[1:3] == ["ours, LaSOT", f"{rows[0]['auc']:.1f}"] and ours[-2:] == ["", ""]


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


@pytest.mark.parametrize(("name", "refs", "protocol"), [("refcoco", "refs(unc).p", 0), ("refcoco+", "refs(unc).p", 2)])
def test_refcoco_is_read_and_scored_by_split(name: str, refs: str, protocol: int, tmp_path: Path) -> None:
    official.refcoco(tmp_path, name, refs, protocol)
    rows = evaluate(name, tmp_path, tmp_path / "out", AskedModel, MODEL, Options())
    title = {"refcoco": "RefCOCO", "refcoco+": "RefCOCO+"}[name]
    assert [(r["set"], r["n"], r["acc50"]) for r in rows] == [(f"{title} val", 2, 100), (f"{title} test-A", 1, 100)]
    again = evaluate(name, tmp_path, tmp_path / "out", no_model, MODEL, Options())
    assert again == rows
    ours = next(r for r in paper_tables(rows)[0][1] if r[1] == f"ours, {title} val")
    assert "100.0" in ours


def test_a_pickle_that_would_run_something_is_refused_and_does_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (tmp_path / "refs.p").write_bytes(pickle.dumps([{"a": 1}, Bomb()], protocol))
        with pytest.raises(UserError, match="is refused; only plain data is read"):
            read_plain_pickle(tmp_path / "refs.p")
    assert not (tmp_path / "ran").exists()
    (tmp_path / "refs.p").write_bytes(pickle.dumps([1, 2, 3], 2)[:-2])
    with pytest.raises(UserError, match="not a whole pickle"):
        read_plain_pickle(tmp_path / "refs.p")


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@settings(max_examples=60)
@given(plain, st.integers(0, 5))
def test_plain_pickles_are_read_as_pickle_would(tmp_path_factory: pytest.TempPathFactory, value: Any, p: int) -> None:
    path = tmp_path_factory.getbasetemp() / "plain.p"
    path.write_bytes(pickle.dumps(value, p))
    assert read_plain_pickle(path) == value


@pytest.mark.parametrize(
    ("name", "build"),
    [("msrvtt-qa", official.msrvtt_qa), ("tgif-qa", official.tgif_qa), ("activitynet-qa", official.activitynet_qa)],
)
def test_questions_are_answered_on_16_frames_and_matched(
    name: str, build: Callable[[Path], None], tmp_path: Path
) -> None:
    build(tmp_path)
    model = AskedModel()
    (row,) = evaluate(name, tmp_path, tmp_path / "out", lambda: model, MODEL, Options())
    assert (row["n"], row["exact_match"], row["normalised_match"]) == (1, 100, 100)
    assert model.lengths == [6 if name == "tgif-qa" else 16]
    assert "exact and normalised match are stricter" in (tmp_path / "out" / name / "results.md").read_text()


def test_a_malformed_question_is_one_line(tmp_path: Path) -> None:
    official.msvd_qa(tmp_path)
    path = tmp_path / "test_qa.json"
    for text, message in (
        ('[{"video_id": 1, "question": "what"}]', r"test_qa\.json: entry 0 has no 'answer'"),
        ('[{"video_id": 5, "question": "what", "answer": "a"}]', r"question 0 is about vid5, which .* does not name"),
        ('{"a": 1}', r"test_qa\.json: not a list of questions"),
        ("[", r"test_qa\.json: not JSON"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            evaluate("msvd-qa", tmp_path, tmp_path / "out", no_model, MODEL, Options())
    path.write_text('[{"video_id": 1, "question": "what", "answer": "a"}]')
    (tmp_path / "youtube_mapping.txt").write_text("abc_1_5 vid1\nxyz\n")
    with pytest.raises(UserError, match=r"youtube_mapping\.txt:2: expected a clip's name and vidN"):
        evaluate("msvd-qa", tmp_path, tmp_path / "out", no_model, MODEL, Options())


def test_a_missing_video_is_counted_and_its_question_left_out(tmp_path: Path) -> None:
    official.msvd_qa(tmp_path)
    (row,) = evaluate("msvd-qa", tmp_path, tmp_path / "out", AskedModel, MODEL, Options())
    assert (row["n"], row["normalised_match"]) == (2, 50)
    notes = (tmp_path / "out/msvd-qa/results.md").read_text()
    assert "1 videos cannot be read" in notes and "xyz_0_9" in notes and "2 of 3 questions" in notes
    assert evaluate("msvd-qa", tmp_path, tmp_path / "out", no_model, MODEL, Options()) == [row]


def test_given_predictions_of_other_tasks_are_checked(tmp_path: Path) -> None:
    official.refcoco(tmp_path)
    given_ = tmp_path / "given.jsonl"
    given_.write_text('{"id": "val/0", "box": [0, 0, 1, 1]}\n{"id": "val/1", "box": null}\n')
    (row,) = evaluate("refcoco", tmp_path, tmp_path / "out", no_model, MODEL, Options(predictions=given_))
    assert (row["set"], row["method"], row["n"], row["acc50"]) == ("RefCOCO val", "given", 2, 0)
    for text, message in (
        ('{"id": "val/0", "box": [0, 0, 1]}', r"prediction val/0: \[0, 0, 1\] is not x1,y1,x2,y2"),
        ('{"box": [0, 0, 1, 1]}', r"given.jsonl:1: a prediction needs an id"),
        ("", r"holds no prediction for refcoco"),
    ):
        given_.write_text(text + "\n")
        with pytest.raises(UserError, match=message):
            evaluate("refcoco", tmp_path, tmp_path / "out", no_model, MODEL, Options(predictions=given_))


def test_a_line_cut_off_by_a_kill_is_predicted_again(tmp_path: Path) -> None:
    lines = results.Lines(tmp_path, "sot")
    lines.append([{"id": "a", "phrase": "x"}, {"id": "b", "phrase": "y"}])
    whole = lines.path.read_text()
    lines.path.write_text(whole[:-5])
    assert set(lines.read()) == {"a"}
    lines.append([{"id": "b", "phrase": "z"}])
    assert lines.read()["b"]["phrase"] == "z"


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
