"""Public benchmarks from tiny folders in their official layouts to figures, raw results and drawings."""

import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from got10k.datasets import OTB
from got10k.experiments import ExperimentGOT10k, ExperimentOTB, ExperimentUAV123

from elysium.boxes import Box
from elysium.cli import main
from elysium.errors import UserError
from elysium.evaluation import benchmarks
from elysium.evaluation.benchmarks.run import Options, evaluate
from elysium.evaluation.report import paper_tables
from elysium.inference.engine import Frames, Query
from tests.evaluation import official
from tests.evaluation.colour_model import MODEL, AskedModel, no_model

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
