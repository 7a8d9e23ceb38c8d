"""Expressions and questions: RefCOCO and the four of VideoQA, from official files to figures."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elysium.data.plain_pickle import read_plain_pickle
from elysium.errors import UserError
from elysium.evaluation.benchmarks import results
from elysium.evaluation.benchmarks.run import Options, evaluate
from elysium.evaluation.report import paper_tables
from tests.evaluation import official
from tests.evaluation.colour_model import MODEL, AskedModel, no_model


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
