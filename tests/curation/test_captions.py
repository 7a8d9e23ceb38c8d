"""Noun chunks of captions against 215 captions labelled by hand, and the cases that are handled on purpose."""

import json
import time
from pathlib import Path

import pytest

from elysium.curation.captions import MAX_CHARACTERS, judged_chunks, load_words, noun_chunks
from elysium.curation.wordnet import noun_classes

LABELLED = Path(__file__).parent / "captions.jsonl"


def test_precision_and_recall_on_labelled_captions(capsys):
    rows = [json.loads(line) for line in LABELLED.read_text().splitlines()]
    found = noun_chunks([row["caption"] for row in rows])
    hits = sum(len(set(got) & set(row["chunks"])) for row, got in zip(rows, found, strict=True))
    precision = hits / sum(map(len, found))
    recall = hits / sum(len(row["chunks"]) for row in rows)
    with capsys.disabled():
        print(f"\n{len(rows)} captions: precision {precision:.3f}, recall {recall:.3f}")
    assert len(rows) >= 200
    assert precision >= 0.95
    assert recall >= 0.92


def test_the_chunks_of_the_paper_are_kept_and_dropped():
    assert noun_chunks(["A girl talks on a red phone for some time."]) == [["girl", "red phone"]]
    dropped = {
        chunk.text: chunk.reason for chunk in judged_chunks(["The family, people and two dogs love the wind."])[0]
    }
    assert dropped == {"family": "plural", "people": "plural", "two dogs": "plural", "wind": "virtual"}


@pytest.mark.parametrize(
    ("caption", "chunks"),
    [
        ("", []),
        ("   \n", []),
        ("!!! 123 ???", []),
        ("A picture of a dog", ["dog"]),
        ("Una mujer camina por el parque con su perro", []),
        ("一个女孩在公园里跑步", []),
        ("A dog, a dog and a dog.", ["dog"]),
        ("YOUNG MAN RIDING A BICYCLE", ["YOUNG MAN", "BICYCLE"]),
        ("A red car drives along", ["red car"]),
    ],
)
def test_odd_captions(caption, chunks):
    assert noun_chunks([caption]) == [chunks]


def test_a_caption_of_ten_thousand_characters_is_cut_at_a_word():
    start = time.perf_counter()
    (found,) = noun_chunks(["A red car stops near a tree. " * 345])
    assert found == ["red car", "tree"]
    assert time.perf_counter() - start < 30
    assert len(noun_chunks(["x" * (MAX_CHARACTERS * 5)])) == 1


def test_captions_are_judged_one_by_one_in_order():
    captions = ["A cat sleeps.", "", "A dog runs."]
    assert noun_chunks(captions) == [noun_chunks([c])[0] for c in captions]


def test_the_word_list_wins_over_wordnet_and_names_its_wrong_lines(tmp_path):
    assert noun_classes()["heart"][0] == "cognition"
    assert load_words()["heart"] == "thing"
    (tmp_path / "list.txt").write_text("[nonsense]\nword\n")
    with pytest.raises(ValueError, match=r"list\.txt:1"):
        load_words(tmp_path / "list.txt")
