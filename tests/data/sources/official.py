"""Tiny public data sets in their official file formats, one writer per source."""

import io
import json
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from elysium.data.video import write_video

SIZE = (100, 50)  # width, height of every picture here


def picture(path: Path, size: tuple[int, int] = SIZE, colour: str = "red") -> None:
    """A picture of one colour, in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def dump(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def llava_558k(root: Path) -> None:
    """Two pictures, one of them with the picture's mark after the question."""
    rows = []
    for name, asked in (("00453/004539375", "Render a summary of the photo.\n<image>"), ("00223/2", "<image>\nWhat?")):
        picture(root / f"images/{name}.jpg")
        said = [{"from": "human", "value": asked}, {"from": "gpt", "value": "select luxury furniture 3-inch mattress"}]
        rows.append({"id": name.split("/")[1], "image": f"{name}.jpg", "conversations": said})
    dump(root / "blip_laion_cc_sbu_558k.json", rows)


def grit_20m(root: Path) -> None:
    """One tar of img2dataset with two pictures: a chunk within an expression, and a phrase with two boxes."""
    caption = "a wet dog in the snow and cats"
    dog, cats = [0.1, 0.2, 0.5, 0.8, 0.9], ([0.6, 0.1, 0.7, 0.2, 0.8], [0.8, 0.1, 0.9, 0.2, 0.8])
    chunks = [[0, 9, *dog], [26, 30, *cats[0]], [26, 30, *cats[1]]]
    whole = {"caption": caption, "noun_chunks": chunks, "ref_exps": [[0, 21, *dog]], "width": 100, "height": 50}
    as_text = {**whole, "noun_chunks": json.dumps(chunks[:1]), "ref_exps": "[]"}
    buffer = io.BytesIO()
    Image.new("RGB", SIZE, "blue").save(buffer, "JPEG")
    root.mkdir(parents=True, exist_ok=True)
    with tarfile.open(root / "00000.tar", "w") as tar:
        for key, row in (("000000000", whole), ("000000001", as_text)):
            parts = {"jpg": buffer.getvalue(), "txt": caption.encode(), "json": json.dumps(row).encode()}
            for suffix, data in parts.items():
                info = tarfile.TarInfo(f"{key}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def cogvlm_sft_311k(root: Path) -> None:
    """A caption in two languages, a single question, a conversation of two turns."""
    base = root / "CogVLM-SFT-311K"
    caption, single, multi = (
        base / "llava_details-minigpt4_3500_formate",
        base / "llava_instruction_single_conversation_formate",
        base / "llava_instruction_multi_conversation_formate",
    )
    for part in (caption, single, multi):
        picture(part / "images/00000001.jpg")
    dump(caption / "labels_en/00000001.json", {"captions": [{"role": "caption", "content": "A red square."}]})
    dump(caption / "labels_zh/00000001.json", {"captions": [{"role": "caption", "content": "红色"}]})
    talk = [("user", "What is it?"), ("assistant", "A square."), ("user", "Its colour?"), ("assistant", "It is red.")]
    said = [{"role": role, "content": text} for role, text in talk]
    dump(single / "labels_en/00000001.json", {"conversations": said[:2]})
    dump(multi / "labels_en/00000001.json", {"conversations": said})


def cocovqa(root: Path) -> None:
    """Three questions on two pictures."""
    questions, annotations = [], []
    rows = ((9, "What color is it?", "red"), (9, "How many dogs?", "2"), (25, "Is it day?", "yes"))
    for i, (image, question, answer) in enumerate(rows):
        key = image * 1000 + i
        picture(root / f"train2014/COCO_train2014_{image:012d}.jpg")
        questions.append({"image_id": image, "question": question, "question_id": key})
        answers = [{"answer": answer, "answer_confidence": "yes", "answer_id": n + 1} for n in range(10)]
        annotations.append(
            {
                "question_type": "what",
                "multiple_choice_answer": answer,
                "answers": answers,
                "image_id": image,
                "answer_type": "other",
                "question_id": key,
            }
        )
    info = {"info": {}, "license": {}, "data_subtype": "train2014", "data_type": "mscoco"}
    dump(root / "v2_OpenEnded_mscoco_train2014_questions.json", {**info, "questions": questions})
    dump(root / "v2_mscoco_train2014_annotations.json", {**info, "annotations": annotations})


def gqa(root: Path) -> None:
    """Two questions on one picture, one on another."""
    rows = {
        "07333408": ("2375429", "What is on the white wall?", "pipe", "The pipe is on the wall."),
        "07333405": ("2375429", "Is that pipe red?", "no", "No, the pipe is white."),
        "15736264": ("2354786", "Is the sky dark?", "yes", "Yes, the sky is dark."),
    }
    for image, *_ in rows.values():
        picture(root / f"images/{image}.jpg")
    dump(
        root / "train_balanced_questions.json",
        {k: {"imageId": i, "question": q, "answer": a, "fullAnswer": f} for k, (i, q, a, f) in rows.items()},
    )


def visual7w(root: Path) -> None:
    """A telling and a pointing question on one picture, one of the test split."""
    for name in ("v7w_7.jpg", "v7w_8.jpg"):
        picture(root / f"images/{name}")
    tell = {"qa_id": 1, "question": "What color?", "answer": "Red.", "multiple_choices": ["Blue."], "type": "what"}
    point = {"qa_id": 2, "question": "Which one is left?", "answer": 11, "multiple_choices": [12], "type": "which"}
    boxes = [{"box_id": n, "name": "door", "x": x, "y": 5, "width": 20, "height": 40} for n, x in ((11, 10), (12, 70))]

    def images(pair: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {"image_id": n, "filename": f"v7w_{n}.jpg", "split": split, "qa_pairs": [pair]}
            for n, split in ((7, "train"), (8, "test"))
        ]

    dump(root / "dataset_v7w_telling.json", {"dataset": "visual7w-telling", "images": images(tell)})
    dump(root / "dataset_v7w_pointing.json", {"dataset": "v7w", "boxes": boxes, "images": images(point)})


def flickr30k_entities(root: Path) -> None:
    """One picture: two entities with a box each, one with two boxes, one scene; a test picture that is not read."""
    picture(root / "flickr30k-images/36979.jpg")
    (root / "train.txt").write_text("36979\n")
    (root / "test.txt").write_text("65567\n")
    (root / "Sentences").mkdir()
    (root / "Annotations").mkdir()
    (root / "Sentences/36979.txt").write_text(
        "[/EN#1/people A bearded man] holds [/EN#2/other a ball] near [/EN#3/people two girls] .\n"
        "[/EN#1/people The man] plays in [/EN#4/scene a field] with [/EN#0/notvisual each other] .\n"
    )

    def entry(names: list[int], corners: tuple[int, ...] | None) -> str:
        named = "".join(f"<name>{n}</name>" for n in names)
        if corners is None:
            return f"<object>{named}<scene>1</scene><nobndbox>0</nobndbox></object>"
        sides = "".join(f"<{s}>{v}</{s}>" for s, v in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True))
        return f"<object>{named}<bndbox>{sides}</bndbox></object>"

    objects = [
        entry([1], (11, 6, 51, 46)),
        entry([2], (61, 11, 81, 21)),
        entry([3], (1, 1, 9, 9)),
        entry([3], (91, 1, 99, 9)),
        entry([4], None),
    ]
    size = "<size><width>100</width><height>50</height><depth>3</depth></size>"
    (root / "Annotations/36979.xml").write_text(
        f"<annotation><filename>36979.jpg</filename>{size}{''.join(objects)}</annotation>"
    )


def visual_genome(root: Path) -> None:
    """Two pictures in the two folders; regions with a repeated and with an ambiguous phrase."""
    picture(root / "VG_100K/2.jpg")
    picture(root / "VG_100K_2/1.jpg")
    base = "https://cs.stanford.edu/people/rak248"
    about = [
        {"image_id": n, "width": 100, "height": 50, "url": f"{base}/{f}/{n}.jpg", "coco_id": None, "flickr_id": None}
        for n, f in ((1, "VG_100K_2"), (2, "VG_100K"))
    ]
    dump(root / "image_data.json", about)

    def region(image: int, i: int, phrase: str, *box: int) -> dict[str, Any]:
        sides = dict(zip(("x", "y", "width", "height"), box, strict=True))
        return {"region_id": i, "image_id": image, "phrase": phrase, **sides}

    first = [
        region(1, 1, "the clock is green.", 10, 5, 20, 30),
        region(1, 2, "a window", 50, 0, 10, 10),
        region(1, 3, "a window", 80, 0, 10, 10),
        region(1, 4, "The clock is green", 11, 5, 20, 30),
        region(1, 5, "a lamp", -2, 40, 12, 12),
    ]
    second = [region(2, 6, "red wall", 0, 0, 100, 50), region(2, 7, "a line", 10, 10, 0, 5)]
    dump(root / "region_descriptions.json", [{"id": 1, "regions": first}, {"id": 2, "regions": second}])


def refcoco(root: Path, name: str = "refcoco", held_out: str = "testA") -> None:
    """Two training pictures and one of an evaluation split; the pickle has protocol 2, as Python 2 wrote it."""
    images, annotations, refs = [], [], []
    for k, split in enumerate(("train", "train", held_out)):
        file = f"COCO_train2014_{k:012d}.jpg"
        picture(root / f"images/mscoco/images/train2014/{file}")
        images.append({"id": 100 + k, "file_name": file, "width": SIZE[0], "height": SIZE[1]})
        annotations.append({"id": 200 + k, "image_id": 100 + k, "bbox": [10.0 + k, 5.0, 40.0, 20.0], "category_id": 1})
        words = ["man in red", "the left man", "man in red"] if k == 0 else [f"thing {k}"]
        sentences = [{"sent_id": 10 * k + i, "sent": w, "raw": w, "tokens": w.split()} for i, w in enumerate(words)]
        refs.append(
            {
                "ref_id": k,
                "ann_id": 200 + k,
                "image_id": 100 + k,
                "category_id": 1,
                "file_name": f"COCO_train2014_{k:012d}_{k}.jpg",
                "split": split,
                "sent_ids": [s["sent_id"] for s in sentences],
                "sentences": sentences,
            }
        )
    dump(root / name / "instances.json", {"images": images, "annotations": annotations, "categories": []})
    pickled = "refs(umd).p" if name == "refcocog" else "refs(unc).p"
    (root / name / pickled).write_bytes(pickle.dumps(refs, 2))


def videochat(root: Path, n_frames: int = 20) -> None:
    """A conversation about one video, a description of another."""
    for name in ("050951_051000/1022713978", "1", "7"):
        frames = [np.full((48, 64, 3), 10 * i, np.uint8) for i in range(n_frames)]
        if name != "7":
            write_video(root / f"videos/{name}.mp4", frames, 10)
    talk = [{"i": "", "q": "What happens?", "a": "It gets brighter."}, {"q": "At night?", "a": "No."}]
    told = [{"i": "Describe the video.", "q": "", "a": "A grey area that brightens."}]
    rows = [{"video": "050951_051000/1022713978.mp4", "QA": talk}, {"video": "000001_000050/1.mp4", "QA": told}]
    dump(root / "videochat_instruct_11k.json", rows)


def elysiumtrack_1m(root: Path) -> None:
    """Two objects of one video, one of another; one is out of view in its first frame."""
    lines = []
    boxes = [[0.1 + 0.1 * i, 0.2, 0.4 + 0.1 * i, 0.6] for i in range(4)]
    for vid, name, hidden in (("1025983634", "a brown dog", 0), ("1025983634", "girl", 1), ("77", "kite", 0)):
        frames = [f"frames/{vid}/{i:06d}.jpg" for i in range(4)]
        for frame in frames:
            picture(root / frame)
        lines.append(
            {
                "source": "webvid10m",
                "id": f"{vid}-{name}",
                "vid": vid,
                "metadata": {},
                "frames": frames,
                "object_class": name.split()[-1],
                "box": [None if i < hidden else box for i, box in enumerate(boxes)],
                "object_description": name,
                "frame_size": list(SIZE),
            }
        )
    (root / "ElysiumTrack-1M.json").write_text("".join(json.dumps(line) + "\n" for line in lines))


def refcoco_all(root: Path) -> None:
    """The three sets; a training picture of RefCOCO+ is a test picture of RefCOCO."""
    for name, held_out in (("refcoco", "testA"), ("refcoco+", "val"), ("refcocog", "test")):
        refcoco(root, name, held_out)


WRITERS = {
    "llava_558k": llava_558k,
    "grit_20m": grit_20m,
    "cogvlm_sft_311k": cogvlm_sft_311k,
    "cocovqa": cocovqa,
    "gqa": gqa,
    "visual7w": visual7w,
    "flickr30k_entities": flickr30k_entities,
    "visual_genome": visual_genome,
    "refcoco": refcoco_all,
    "refcoco+": refcoco_all,
    "refcocog": refcoco_all,
    "videochat": videochat,
    "elysiumtrack_1m": elysiumtrack_1m,
}
