"""The command `elysium shard`: resumable shard by shard, with every loss counted and named."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from elysium.cli import main
from elysium.data.shards import read_records
from elysium.data.sources import SOURCES, sharding
from elysium.data.sources.checks import BoxError, expression, normalised
from elysium.data.sources.sharding import Settings, shard
from elysium.errors import UserError
from tests.data.sources import official


def pictures(root: Path, n: int) -> None:
    """LLaVA-558K with `n` pictures, each of another colour."""
    rows = []
    for i in range(n):
        official.picture(root / f"images/{i}.jpg", colour=f"rgb({5 * i}, 0, 0)")
        said = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": f"red {i}"}]
        rows.append({"id": str(i), "image": f"{i}.jpg", "conversations": said})
    official.dump(root / "blip_laion_cc_sbu_558k.json", rows)


def run(root: Path, out: Path, per_shard: int = 4, limit: int = 0, workers: int = 1, **settings: int) -> dict:
    return shard(Settings("llava_558k", per_shard, **settings), root, out, limit, workers, progress=False)


def tars(out: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(out.glob("*.tar"))}


def test_the_command_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    official.cocovqa(tmp_path / "in")
    (tmp_path / "in/train2014/COCO_train2014_000000000025.jpg").unlink()
    with pytest.raises(SystemExit) as ended:
        main(["shard", "cocovqa", "--in", str(tmp_path / "in"), "--out", str(tmp_path / "out")])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "1 of 2 entries in 1 shards: 1 frames, 2 questions" in said
    assert "the complete COCO-VQA (VQAv2) has 82,783, 2 were found" in said
    assert "left out, missing picture or video: 1, such as" in said and "COCO_train2014_000000000025.jpg" in said
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["counts"] == {"entries": 2, "records": 1, "frames": 1, "questions": 2, "objects": 0, "boxes": 0,
                                "captions": 0}  # fmt: skip
    assert [r.key for r in read_records(tmp_path / "out")] == ["cocovqa-COCO_train2014_000000000009"]


def test_help_lists_the_official_files_their_source_and_licence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["shard", "--help"])
    said = capsys.readouterr().out
    for name, source in SOURCES.items():
        assert all(text in said for text in (name, source.files, source.url, source.licence))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nope", "--in", "IN", "--out", "OUT"], "unknown source 'nope'; choose one of llava_558k, "),
        (["gqa", "--in", "IN/none", "--out", "OUT"], "no such folder"),
        (["gqa", "--in", "IN", "--out", "OUT"], "train_balanced_questions.json: no such file"),
        (["gqa", "--in", "IN", "--out", "OUT", "--per-shard", "0"], "--per-shard"),
    ],
)
def test_bad_usage_is_one_line(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    places = {"IN": str(tmp_path / "in"), "OUT": str(tmp_path / "out"), "IN/none": str(tmp_path / "none")}
    with pytest.raises(SystemExit) as ended:
        main(["shard", *(places.get(a, a) for a in arguments)])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_a_run_that_was_killed_goes_on_and_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(tmp_path / "in", 10)
    (tmp_path / "in/images/9.jpg").write_bytes(b"no picture")
    run(tmp_path / "in", tmp_path / "whole")
    built: list[int] = []
    build = sharding.build

    def killed(chunk: sharding.Chunk, settings: Settings, out: Path) -> int:
        if len(built) == 2:
            raise KeyboardInterrupt
        built.append(chunk.number)
        return build(chunk, settings, out)

    monkeypatch.setattr(sharding, "build", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "in", tmp_path / "out")
    assert list(tars(tmp_path / "out")) == ["llava_558k-000000.tar", "llava_558k-000001.tar"]
    (tmp_path / "out/llava_558k-000002.1234.part").write_bytes(b"half a shard")
    built.clear()
    run(tmp_path / "in", tmp_path / "out")
    assert built == [2]
    assert not list((tmp_path / "out").glob("*.part"))
    assert tars(tmp_path / "out") == tars(tmp_path / "whole")
    assert (tmp_path / "out/report.json").read_text() == (tmp_path / "whole/report.json").read_text()


def test_several_workers_give_the_same_shards(tmp_path: Path) -> None:
    pictures(tmp_path / "in", 9)
    run(tmp_path / "in", tmp_path / "one")
    report = run(tmp_path / "in", tmp_path / "two", workers=2)
    assert report["counts"]["records"] == 9
    assert tars(tmp_path / "one") == tars(tmp_path / "two")


def test_a_limit_takes_the_first_and_a_full_run_goes_on_from_there(tmp_path: Path) -> None:
    pictures(tmp_path / "in", 10)
    report = run(tmp_path / "in", tmp_path / "out", limit=6)
    assert (report["counts"]["entries"], report["shards"], report["complete"]) == (6, 2, None)
    first = tars(tmp_path / "out")["llava_558k-000000.tar"]
    report = run(tmp_path / "in", tmp_path / "out")
    assert report["counts"]["entries"] == 10
    assert [r.dialogues[0][0].answer for r in read_records(tmp_path / "out")] == [f"red {i}" for i in range(10)]
    assert tars(tmp_path / "out")["llava_558k-000000.tar"] == first


def test_a_picture_that_has_come_since_is_taken_and_shards_that_are_too_many_go(tmp_path: Path) -> None:
    pictures(tmp_path / "in", 10)
    lost = tmp_path / "in/images/5.jpg"
    data = lost.read_bytes()
    lost.unlink()
    assert run(tmp_path / "in", tmp_path / "out")["dropped"] == {"missing picture or video": 1}
    lost.write_bytes(data)
    report = run(tmp_path / "in", tmp_path / "out")
    assert (report["dropped"], report["counts"]["records"]) == ({}, 10)
    pictures(tmp_path / "in", 3)
    assert run(tmp_path / "in", tmp_path / "out")["counts"]["records"] == 3
    assert list(tars(tmp_path / "out")) == ["llava_558k-000000.tar"]


def test_a_folder_made_with_other_settings_is_left_alone(tmp_path: Path) -> None:
    pictures(tmp_path / "in", 3)
    run(tmp_path / "in", tmp_path / "out", per_shard=2)
    before = tars(tmp_path / "out")
    with pytest.raises(UserError, match="per_shard=2"):
        run(tmp_path / "in", tmp_path / "out", per_shard=3)
    assert tars(tmp_path / "out") == before


def test_pictures_are_copied_if_they_can_be_and_encoded_anew_if_not(tmp_path: Path) -> None:
    pictures(tmp_path / "in", 6)
    folder = tmp_path / "in/images"
    Image.effect_noise(official.SIZE, 50).save(folder / "1.jpg")
    (folder / "1.jpg").write_bytes((folder / "1.jpg").read_bytes()[:-400])  # cut short, the header is whole
    (folder / "2.jpg").write_bytes(b"no picture")
    Image.new("CMYK", official.SIZE).save(folder / "3.jpg")
    Image.new("RGBA", official.SIZE, (255, 0, 0, 255)).save(folder / "x.png")
    (folder / "x.png").rename(folder / "4.jpg")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", official.SIZE).save(folder / "5.jpg", exif=turned)
    report = run(tmp_path / "in", tmp_path / "out")
    records = {r.key: r for r in read_records(tmp_path / "out")}
    assert sorted(records) == [f"llava_558k-{i}" for i in (0, 3, 4, 5)]
    assert report["dropped"] == {"unreadable picture": 2}
    assert records["llava_558k-0"].frames[0] == (folder / "0.jpg").read_bytes()
    for record in records.values():
        height, width = cv2.imdecode(np.frombuffer(record.frames[0], np.uint8), cv2.IMREAD_COLOR).shape[:2]
        assert record.frame_size == (width, height)
    assert records["llava_558k-5"].frame_size == (50, 100)
    run(tmp_path / "in", tmp_path / "small", longest_side=40)
    record = next(iter(read_records(tmp_path / "small")))
    assert cv2.imdecode(np.frombuffer(record.frames[0], np.uint8), 1).shape == (20, 40, 3)
    assert record.frame_size == official.SIZE  # of the original


def test_a_picture_of_another_shape_than_annotated_is_left_out(tmp_path: Path) -> None:
    official.visual_genome(tmp_path / "in")
    official.picture(tmp_path / "in/VG_100K/2.jpg", (50, 100))
    report = shard(Settings("visual_genome"), tmp_path / "in", tmp_path / "out", progress=False)
    assert report["dropped"]["picture of another shape than annotated"] == 1
    assert [r.key for r in read_records(tmp_path / "out")] == ["visual_genome-1"]


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((10, 10, 10, 20), "box without area"),
        ((20, 10, 10, 20), "box without area"),
        ((-20, 0, 10, 20), "box mostly outside the picture"),
        ((0, 0, float("nan"), 20), "box that is not finite"),
    ],
)
def test_a_box_that_is_none_is_named(box: tuple[float, float, float, float], reason: str) -> None:
    with pytest.raises(BoxError, match=reason):
        normalised(box, official.SIZE)


def test_boxes_are_cut_at_the_border() -> None:
    assert normalised((-2, 5, 102, 50), official.SIZE) == (0.0, 0.1, 1.0, 1.0)


def test_phrases_are_one_line_without_article() -> None:
    assert expression(" A red\n ball. ") == "red ball"
    assert expression("theatre") == "theatre"
    with pytest.raises(BoxError, match="empty"):
        expression(" .")
    with pytest.raises(BoxError, match="<image>"):
        expression("an <image> there")


def test_entries_with_one_name_stay_apart(tmp_path: Path) -> None:
    pictures(tmp_path / "in", 2)
    file = tmp_path / "in/blip_laion_cc_sbu_558k.json"
    official.dump(file, [{**row, "id": "a.b/c"} for row in json.loads(file.read_text())])
    run(tmp_path / "in", tmp_path / "out")
    assert [r.key for r in read_records(tmp_path / "out")] == ["llava_558k-a-b-c", "llava_558k-a-b-c-2"]
