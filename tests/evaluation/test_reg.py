"""REG metrics. Reference values: pycocoevalcap 1.2 (its own tokenizer, Meteor and Cider classes) on the same phrases.

The first sample is the example that the COCO caption tools publish in their demonstration notebook.
"""

import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from elysium.config import Params
from elysium.evaluation.reg import REGScorer, exact_match, java_path, normalise
from elysium.evaluation.run import evaluate_model
from tests.evaluation.colour_model import ColourModel

TRAIN = [
    "A train traveling down tracks next to lights.",
    "A blue and silver train next to train station and trees.",
    "A blue train is next to a sidewalk on the rails.",
    "A passenger train pulls into a train station.",
    "A train coming down the tracks arriving at a station.",
]
PREDICTIONS = ["train traveling down a track in front of a road", "red ball", "", "isn't it a well-kept café"]
REFERENCES = [TRAIN, ["The red striped ball.", "a ball"], ["small blue square"], ["a café"]]


def said_without_java(scorer: REGScorer, metrics: Collection[str]) -> bool:
    """Where PATH has no Java, the scorer must say so and give other names; then there is nothing to compare."""
    if scorer.java is not None:
        assert {"meteor", "cider"} <= set(metrics) and not {"meteor_nltk", "cider_plain_tokens"} & set(metrics)
        return False
    assert java_path() is None
    assert {"meteor_nltk", "cider_plain_tokens"} <= set(metrics) and not {"meteor", "cider"} & set(metrics)
    return True


def test_meteor_and_cider_equal_pycocoevalcap(caption_scorer: REGScorer) -> None:
    result = caption_scorer.score(PREDICTIONS, REFERENCES)
    if said_without_java(caption_scorer, result.scores):
        return
    assert result.note == ""
    assert result.scores["meteor"] == pytest.approx(0.19615814095362957, abs=1e-9)
    assert result.scores["cider"] == pytest.approx(0.8788623210026831, abs=1e-9)
    expected = [0.23530525222774654, 0.27906976744186046, 0.0, 0.27586206896551724]
    np.testing.assert_allclose(result.per_sample["meteor"], expected, atol=1e-9)
    expected = [0.81200177, 1.79303469, 0.0, 0.91041283]
    np.testing.assert_allclose(result.per_sample["cider"], expected, atol=1e-8)


def test_the_kept_process_scores_again_and_lines_cannot_shift(caption_scorer: REGScorer) -> None:
    """A phrase with a line break or the tool's own separator does not disturb its neighbours."""
    strange = ["red\nball", "small ||| blue square"]
    result = caption_scorer.score(strange, [["red ball"], ["small blue square"]])
    if said_without_java(caption_scorer, result.scores):
        return
    np.testing.assert_allclose(result.per_sample["meteor"], [1.0, 1.0], atol=1e-9)


def test_reg_stands_in_the_table_beside_the_one_frame_baseline(
    scenes: Params, tmp_path: Path, caption_scorer: REGScorer
) -> None:
    params = replace(scenes, eval=replace(scenes.eval, tasks=["reg"]))
    evaluate_model(ColourModel(), "hash", params, tmp_path / "out", caption_scorer)
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics["world/reg/exact"] == metrics["world/reg/one_frame/exact"] == 100
    report = (tmp_path / "out/report.md").read_text()
    if said_without_java(caption_scorer, [name.rsplit("/", 1)[1] for name in metrics]):
        assert "no java" in report
        return
    assert metrics["world/reg/meteor"] == 100
    assert metrics["world/reg/cider"] > 100
    assert "MiniGPT-v2 on one frame" in report


def test_without_java_on_the_path_the_numbers_have_other_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with REGScorer() as scorer:
        result = scorer.score(PREDICTIONS, REFERENCES)
    assert set(result.scores) == {"meteor_nltk", "cider_plain_tokens", "exact"}
    assert "no java" in result.note
    perfect = REGScorer(java=None).score(["the red ball"], [["a red ball"]]).scores
    assert perfect["exact"] == 1.0
    assert 0.5 < perfect["meteor_nltk"] < 1.0


def test_exact_match_ignores_case_articles_and_full_stops() -> None:
    assert normalise("The  Red striped ball.") == "red striped ball"
    assert normalise("a") == "a"
    assert exact_match(["a red ball", "ball", ""], [["Red ball."], ["red ball"], ["ball"]]).tolist() == [
        True,
        False,
        False,
    ]


def test_empty_input_is_refused() -> None:
    scorer = REGScorer(java=None)
    for predictions, references in ([], []), (["a"], [[]]), (["a"], []):
        with pytest.raises(ValueError, match="phrases and references"):
            scorer.score(predictions, references)
