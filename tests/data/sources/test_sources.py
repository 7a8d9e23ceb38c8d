"""Each public data set from its official files to records: exact boxes, phrases, questions, answers."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from elysium.data.shards import read_records
from elysium.data.sources import SOURCES
from elysium.data.sources.sharding import Settings, shard
from elysium.errors import UserError
from elysium.prompts import templates
from elysium.samples import Turn, VideoRecord
from tests.data.sources import official


def run(name: str, root: Path, out: Path, **settings: int) -> tuple[list[VideoRecord], dict[str, Any]]:
    report = shard(Settings(name, **settings), root, out, progress=False)
    return (list(read_records(out)) if report["shards"] else []), report


@pytest.fixture
def made(tmp_path: Path):
    """name -> records and report of the tiny set."""

    def make(name: str, **settings: int) -> tuple[list[VideoRecord], dict[str, Any]]:
        official.WRITERS[name](tmp_path / "in")
        return run(name, tmp_path / "in", tmp_path / "out", **settings)

    return make


def objects(record: VideoRecord) -> dict[str, tuple[float, ...] | None]:
    return {o.expression: o.boxes[0] and tuple(round(v, 9) for v in o.boxes[0]) for o in record.objects}


def test_every_source_of_the_paper_has_a_reader_and_a_test() -> None:
    assert set(SOURCES) == set(official.WRITERS)
    assert all(s.files and s.url.startswith("https://") and s.licence for s in SOURCES.values())


def test_llava_558k(made) -> None:
    records, report = made("llava_558k")
    answer = "select luxury furniture 3-inch mattress"
    assert [r.dialogues for r in records] == [
        ((Turn("Render a summary of the photo.", answer),),),
        ((Turn("What?", answer),),),
    ]
    assert records[0].key == "llava_558k-004539375"
    assert records[0].frame_size == official.SIZE
    assert (report["expected"], report["complete"]) == (558_128, False)


def test_grit_20m(made) -> None:
    records, report = made("grit_20m")
    assert [objects(r) for r in records] == [
        {"wet dog in the snow": (0.1, 0.2, 0.5, 0.8)},
        {"wet dog": (0.1, 0.2, 0.5, 0.8)},
    ]
    assert records[0].metadata["references"] == [["wet dog in the snow", "wet dog"]]
    assert records[0].captions == ("a wet dog in the snow and cats",)
    assert report["dropped"] == {"phrase that names several objects": 2}


def test_cogvlm_sft_311k(made) -> None:
    records, _ = made("cogvlm_sft_311k")
    first, second = Turn("What is it?", "A square."), Turn("Its colour?", "It is red.")
    ((described,),), *dialogues = (r.dialogues for r in records)
    assert described.answer == "A red square." and described.question in templates("describe")
    assert dialogues == [((first, second),), ((first,),)]
    assert len({r.key for r in records}) == 3


def test_cocovqa(made) -> None:
    records, report = made("cocovqa")
    assert [r.dialogues for r in records] == [
        ((Turn("What color is it?", "red"),), (Turn("How many dogs?", "2"),)),
        ((Turn("Is it day?", "yes"),),),
    ]
    assert records[0].key == "cocovqa-COCO_train2014_000000000009"
    assert report["counts"]["questions"] == 3


def test_gqa(made) -> None:
    records, _ = made("gqa")
    assert [r.dialogues for r in records] == [
        ((Turn("What is on the white wall?", "pipe"),), (Turn("Is that pipe red?", "no"),)),
        ((Turn("Is the sky dark?", "yes"),),),
    ]


def test_visual7w(made) -> None:
    (record,), _ = made("visual7w")
    (told,), (pointed,) = record.dialogues
    assert told == Turn("What color?", "Red.")
    assert (pointed.question, pointed.answer) == ("Which one is left?", "<box>")
    assert pointed.boxes == (pytest.approx((0.1, 0.1, 0.3, 0.9)),)


def test_flickr30k_entities(made) -> None:
    (record,), report = made("flickr30k_entities")
    assert objects(record) == {"bearded man": (0.1, 0.1, 0.5, 0.9), "ball": (0.6, 0.2, 0.8, 0.4)}
    assert record.metadata["references"] == [["bearded man", "man"], ["ball"]]
    assert record.captions == (
        "A bearded man holds a ball near two girls .",
        "The man plays in a field with each other .",
    )
    assert report["dropped"] == {"phrase with several boxes": 1}


def test_visual_genome(made) -> None:
    records, report = made("visual_genome")
    assert [objects(r) for r in records] == [
        {"clock is green": (0.1, 0.1, 0.3, 0.7), "lamp": (0.0, 0.8, 0.1, 1.0)},
        {"red wall": (0.0, 0.0, 1.0, 1.0)},
    ]
    assert report["dropped"] == {"phrase that names several objects": 3, "box without area": 1}


@pytest.mark.parametrize("name", ["refcoco", "refcoco+", "refcocog"])
def test_refcoco(name: str, made) -> None:
    records, report = made(name)
    assert [objects(r) for r in records] == [
        {"man in red": (0.1, 0.1, 0.5, 0.5)},
        {"thing 1": (0.11, 0.1, 0.51, 0.5)},
    ]
    assert records[0].metadata["references"] == [["man in red", "left man"]]
    assert report["dropped"] == {}


def test_refcoco_leaves_out_pictures_that_another_set_is_tested_on(tmp_path: Path) -> None:
    official.refcoco(tmp_path / "in", "refcocog", "val")
    official.refcoco(tmp_path / "in", "refcoco", "testA")
    refs = pickle.loads((tmp_path / "in/refcoco/refs(unc).p").read_bytes())
    refs[1]["split"] = "testB"  # a training picture of RefCOCOg
    (tmp_path / "in/refcoco/refs(unc).p").write_bytes(pickle.dumps(refs, 2))
    records, report = run("refcocog", tmp_path / "in", tmp_path / "out")
    assert [r.key for r in records] == ["refcocog-COCO_train2014_000000000000"]
    assert report["dropped"] == {"picture of an evaluation split": 1}
    assert "refcoco testB" in report["examples"]["picture of an evaluation split"][0]


def test_a_pickle_that_would_run_something_is_refused_and_does_not_run(tmp_path: Path) -> None:
    flag = tmp_path / "it-ran"

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(flag),)

    official.refcoco(tmp_path / "in")
    (tmp_path / "in/refcoco/refs(unc).p").write_bytes(pickle.dumps([Bomb()], 2))
    with pytest.raises(UserError, match=r"refs\(unc\)\.p: byte \d+: GLOBAL is refused"):
        run("refcoco", tmp_path / "in", tmp_path / "out")
    assert not flag.exists()
    pickle.loads(pickle.dumps(Bomb(), 2))
    assert flag.exists()  # it would have run


def test_videochat(made) -> None:
    records, _ = made("videochat", max_frames=8)
    assert records[0].dialogues == ((Turn("What happens?", "It gets brighter."), Turn("At night?", "No.")),)
    assert records[1].dialogues == ((Turn("Describe the video.", "A grey area that brightens."),),)
    assert records[0].frame_times == pytest.approx([0.0, 0.3, 0.6, 0.9, 1.2, 1.5, 1.8])
    assert len(records[0].frames) == 7 and records[0].frame_size == (64, 48)


def test_elysiumtrack_1m(made) -> None:
    records, _ = made("elysiumtrack_1m")
    first, second = records
    assert [o.expression for o in first.objects] == ["brown dog", "girl"]
    assert first.objects[0].boxes[1] == pytest.approx((0.2, 0.2, 0.5, 0.6))
    assert first.objects[1].boxes[0] is None
    assert [o.object_class for o in second.objects] == ["kite"]
    assert (len(first.frames), first.frame_times) == (4, (0.0, 1.0, 2.0, 3.0))


@pytest.mark.parametrize("name", SOURCES)
def test_a_missing_official_file_is_one_line_that_says_where_to_look(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        shard(Settings(name), tmp_path, tmp_path / "out", progress=False)
    said = str(caught.value)
    assert str(tmp_path) in said and "\n" not in said


@pytest.mark.parametrize(
    ("name", "file", "broken"),
    [
        (
            "llava_558k",
            "blip_laion_cc_sbu_558k.json",
            [3, {"id": "1"}, {"id": "2", "image": "../x", "conversations": []}],
        ),
        ("visual_genome", "region_descriptions.json", [None, {"id": 9, "regions": []}, {"id": 1, "regions": [{}]}]),
        ("videochat", "videochat_instruct_11k.json", ["x", {"video": "1.mp4", "QA": []}, {"video": 3, "QA": [{}]}]),
    ],
)
def test_malformed_entries_are_counted_with_file_and_entry(
    name: str, file: str, broken: list[Any], tmp_path: Path
) -> None:
    root = tmp_path / "in"
    official.WRITERS[name](root)
    sound = json.loads((root / file).read_text())
    official.dump(root / file, [*broken, *sound])
    records, report = run(name, root, tmp_path / "out")
    assert len(records) == len(sound)
    dropped = [json.loads(line) for line in (tmp_path / "out/dropped.jsonl").read_text().splitlines()]
    told = " ".join(d["where"] for d in dropped)
    assert all(f"{root / file}: entry {i}" in told for i in range(3))
    assert report["dropped"]["malformed entry"] >= 2
    assert report["counts"]["entries"] == len(sound) + len(broken)


def test_malformed_questions_labels_lines_and_xml_are_counted(tmp_path: Path) -> None:
    for name in ("cocovqa", "gqa", "cogvlm_sft_311k", "flickr30k_entities", "elysiumtrack_1m", "visual7w"):
        official.WRITERS[name](tmp_path / name)
    file = tmp_path / "cocovqa/v2_mscoco_train2014_annotations.json"
    official.dump(file, {"annotations": json.loads(file.read_text())["annotations"][1:]})
    file = tmp_path / "gqa/train_balanced_questions.json"
    official.dump(file, {**json.loads(file.read_text()), "1": {"imageId": "2375429", "question": "?"}, "2": "x"})
    next((tmp_path / "cogvlm_sft_311k").rglob("labels_en/*.json")).write_text("{")
    (tmp_path / "flickr30k_entities/train.txt").write_text("36979\n12\n13\n")
    (tmp_path / "flickr30k_entities/Annotations/13.xml").write_text("<annotation>")
    with open(tmp_path / "elysiumtrack_1m/ElysiumTrack-1M.json", "a") as lines:
        lines.write('{"vid": "8"}\nnot json\n')
    file = tmp_path / "visual7w/dataset_v7w_pointing.json"
    official.dump(file, {**json.loads(file.read_text()), "boxes": []})

    def dropped(name: str) -> tuple[dict[str, int], str, int]:
        records, report = run(name, tmp_path / name, tmp_path / "out" / name)
        told = (tmp_path / "out" / name / "dropped.jsonl").read_text()
        return report["dropped"], told, len(records)

    reasons, told, left = dropped("cocovqa")
    assert (reasons, left) == ({"question without answer": 1}, 2) and "entry 0 (question 9000)" in told
    reasons, told, left = dropped("gqa")
    assert (reasons, left) == ({"question without answer": 1, "malformed entry": 1}, 2) and "question 1" in told
    reasons, told, left = dropped("cogvlm_sft_311k")
    assert (reasons, left) == ({"malformed entry": 1}, 2) and "labels_en/00000001.json" in told
    reasons, told, left = dropped("flickr30k_entities")
    assert left == 1 and reasons["missing annotation"] == 1 and reasons["malformed entry"] == 1
    reasons, told, left = dropped("elysiumtrack_1m")
    assert (reasons, left) == ({"malformed entry": 2}, 2) and "ElysiumTrack-1M.json:4: " in told
    reasons, told, left = dropped("visual7w")
    assert (reasons, left) == ({"question without answer": 1}, 1) and "question 2" in told


def test_a_damaged_tar_and_a_lost_member_do_not_stop_the_others(tmp_path: Path) -> None:
    official.grit_20m(tmp_path / "in")
    whole = (tmp_path / "in/00000.tar").read_bytes()
    (tmp_path / "in/00001.tar").write_bytes(b"no tar" * 300)
    (tmp_path / "in/00002.tar").write_bytes(whole.replace(b"000000001.json", b"000000001.jsxx"))
    records, report = run("grit_20m", tmp_path / "in", tmp_path / "out")
    assert [r.key for r in records[:2]] == ["grit_20m-00000-000000000", "grit_20m-00000-000000001"]
    assert report["dropped"]["unreadable tar"] == 1
