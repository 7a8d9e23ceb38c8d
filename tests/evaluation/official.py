"""Tiny benchmarks in their official folder layouts: a coloured box drifts over grey pictures."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from elysium.data.video import write_video
from tests.evaluation.colour_model import COLOURS

SIZE = (96, 64)  # width, height
NAMES = list(COLOURS)


def boxes(n: int, k: int = 0) -> np.ndarray:
    """`[n, 4]` x, y, width, height in whole pixels: the way of box number `k`."""
    f = np.arange(n)
    return np.stack([4 + k + 40 * f // n, 8 + k + 10 * f // n, np.full(n, 20), np.full(n, 16)], 1)


def picture(box: np.ndarray, colour: str) -> np.ndarray:
    """RGB uint8 `[64, 96, 3]`."""
    image = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
    if np.isfinite(box).all():
        x, y, w, h = box.astype(int)
        image[y : y + h, x : x + w] = COLOURS[colour]
    return image


def draw(folder: Path, truth: np.ndarray, colour: str, name: Callable[[int], str], suffix: str = ".jpg") -> None:
    """One picture per row of `truth`, named by its number."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, box in enumerate(truth):
        image = cv2.cvtColor(picture(box, colour), cv2.COLOR_RGB2BGR)
        quality = [cv2.IMWRITE_JPEG_QUALITY, 98] if suffix == ".jpg" else []
        assert cv2.imwrite(str(folder / f"{name(i)}{suffix}"), image, quality)


def text(truth: np.ndarray, separator: str = ",") -> str:
    """One line per box."""
    return "".join(separator.join("NaN" if np.isnan(v) else f"{v:g}" for v in row) + "\n" for row in truth)


def lasot(root: Path) -> None:
    """Two airplanes of 7 and 40 frames; the first is out of view in frames 4 and 5."""
    (root / "testing_set.txt").write_text("airplane-1\nairplane-9\n")
    for name, n, colour in (("airplane-1", 7, "red"), ("airplane-9", 40, "green")):
        folder = root / "airplane" / name
        truth = boxes(n)
        draw(folder / "img", truth, colour, lambda i: f"{i + 1:08d}")
        (folder / "groundtruth.txt").write_text(text(truth))
        hidden = [int(n == 7 and i in (3, 4)) for i in range(n)]
        (folder / "out_of_view.txt").write_text(",".join(map(str, hidden)))
        (folder / "full_occlusion.txt").write_text(",".join(["0"] * n))
        (folder / "nlp.txt").write_text(f"{colour} airplane flying\n")


def uav123(root: Path) -> None:
    """uav6: the official 109 frames; absent in frames 11 and 12."""
    truth = boxes(109).astype(float)
    truth[10:12] = np.nan
    draw(root / "data_seq/UAV123/uav6", truth, "red", lambda i: f"{i + 1:06d}")
    (root / "anno/UAV123").mkdir(parents=True)
    (root / "anno/UAV123/uav6.txt").write_text(text(truth))


def otb100(root: Path) -> None:
    """Basketball, and Jogging with two targets; tabs and commas."""
    draw(root / "Basketball/img", boxes(9), "red", lambda i: f"{i + 1:04d}")
    (root / "Basketball/groundtruth_rect.txt").write_text(text(boxes(9), "\t"))
    draw(root / "Jogging/img", boxes(6), "blue", lambda i: f"{i + 1:04d}")
    for k in (1, 2):
        (root / f"Jogging/groundtruth_rect.{k}.txt").write_text(text(boxes(6, k - 1)))


def got10k(root: Path) -> None:
    """Two validation sequences (one covered in a frame) and a test sequence with its first box alone."""
    for split, names in (("val", ["GOT-10k_Val_000001", "GOT-10k_Val_000002"]), ("test", ["GOT-10k_Test_000001"])):
        (root / split).mkdir(parents=True, exist_ok=True)
        (root / split / "list.txt").write_text("\n".join(names) + "\n")
        for k, name in enumerate(names):
            truth = boxes(8, k)
            draw(root / split / name, truth, NAMES[k], lambda i: f"{i + 1:08d}")
            shown = truth if split == "val" else truth[:1]
            (root / split / name / "groundtruth.txt").write_text(text(shown))
            for label in ("cover", "absence", "cut_by_image"):
                flags = [0 if (label, i, k) == ("cover", 5, 1) else 8 for i in range(8)]
                (root / split / name / f"{label}.label").write_text("\n".join(map(str, flags)) + "\n")
            meta = f"[METAINFO]\nurl: none\nresolution: {SIZE}\n"
            (root / split / name / "meta_info.ini").write_text(meta)


def trackingnet(root: Path) -> None:
    """One test sequence of 12 pictures that are numbered without zeros."""
    draw(root / "TEST/frames/-abc_0", boxes(12), "yellow", str)
    (root / "TEST/anno").mkdir(parents=True)
    (root / "TEST/anno/-abc_0.txt").write_text(text(boxes(12)[:1]))


def tnl2k(root: Path) -> None:
    """Two sequences in two parts, one of PNGs; absent as zeros in frame 3."""
    for part, name, colour in (("part1", "advSamp_Baseball", "red"), ("part2", "Arrow_Video", "blue")):
        truth = boxes(6)
        folder = root / part / name
        draw(folder / "imgs", truth, colour, lambda i: f"{i + 1:05d}", ".png" if colour == "red" else ".jpg")
        truth[2] = 0
        (folder / "groundtruth.txt").write_text(text(truth))
        (folder / "language.txt").write_text(f"{colour} thing that moves\n")


def elysiumtrack(root: Path) -> None:
    """Two lines of the annotation file; the second object comes into view in its second frame."""
    lines = []
    for k, colour in enumerate(("red", "green")):
        truth = boxes(6).astype(float)
        draw(root / f"frames/{k}", truth, colour, lambda i: f"{i:06d}")
        corners = np.concatenate([truth[:, :2], truth[:, :2] + truth[:, 2:]], 1) / np.tile(SIZE, 2)
        line = {
            "source": "test",
            "id": f"{k}-0",
            "vid": str(k),
            "metadata": {},
            "frames": [f"frames/{k}/{i:06d}.jpg" for i in range(6)],
            "object_class": "box",
            "box": [None if k and i == 0 else b for i, b in enumerate(corners.tolist())],
            "object_description": f"{colour} box",
            "frame_size": list(SIZE),
        }
        lines.append(json.dumps(line))
    (root / "elysiumtrack_eval.json").write_text("\n".join(lines) + "\n")


def refcoco(root: Path, name: str = "refcoco", refs: str = "refs(unc).p", protocol: int = 0) -> None:
    """Two pictures: one object with two sentences in val, one with one in testA, one of training."""
    images, annotations, entries = [], [], []
    for k, (split, colour) in enumerate((("val", "red"), ("testA", "blue"), ("train", "green"))):
        file_name = f"COCO_train2014_{k:012d}.jpg"
        box = boxes(2, k)[1]
        draw(root / "images/mscoco/images/train2014", box[None], colour, lambda i, f=file_name: f[:-4])  # type: ignore[misc]
        images.append({"id": 100 + k, "file_name": file_name, "width": SIZE[0], "height": SIZE[1]})
        annotations.append({"id": 200 + k, "image_id": 100 + k, "bbox": box.astype(float).tolist()})
        words = ["{} box", "{} thing"] if split == "val" else ["{} box"]
        entries.append(
            {
                "ref_id": k,
                "ann_id": 200 + k,
                "image_id": 100 + k,
                "file_name": f"COCO_train2014_{k:012d}_1.jpg",
                "split": split,
                "sentences": [{"sent_id": 10 * k + i, "sent": w.format(colour)} for i, w in enumerate(words)],
            }
        )
    (root / name).mkdir(parents=True)
    (root / name / "instances.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    (root / name / refs).write_bytes(pickle.dumps(entries, protocol))


def _film(path: Path, colour: str, n: int = 20) -> None:
    write_video(path, [picture(box, colour) for box in boxes(n)], 10)


def msvd_qa(root: Path) -> None:
    """Two clips, three questions; the last video is missing."""
    _film(root / "YouTubeClips/abc_1_5.avi", "red")
    (root / "youtube_mapping.txt").write_text("abc_1_5 vid1\nxyz_0_9 vid2\n")
    (root / "test_qa.json").write_text(
        json.dumps(
            [
                {"id": 7, "video_id": 1, "question": "what color is the box", "answer": "red"},
                {"id": 8, "video_id": 1, "question": "who is there", "answer": "man"},
                {"id": 9, "video_id": 2, "question": "what moves", "answer": "cat"},
            ]
        )
    )


def msrvtt_qa(root: Path) -> None:
    """One clip, one question."""
    _film(root / "video/video7010.mp4", "green")
    row = {"id": 1, "video_id": 7010, "question": "what color is the box", "answer": "green", "category_id": 14}
    (root / "test_qa.json").write_text(json.dumps([row]))


def tgif_qa(root: Path) -> None:
    """One animation, one question, a header and tabs."""
    (root / "gifs").mkdir(parents=True)
    first, *others = (Image.fromarray(picture(box, "blue")) for box in boxes(6))
    first.save(root / "gifs/tumblr_abc.gif", save_all=True, append_images=others, duration=100)
    head = "gif_name\tquestion\tanswer\ttype\tvid_id\tdescription\n"
    (root / "Test_frameqa_question.csv").write_text(f'{head}tumblr_abc\twhat color is it ?\tblue\t2\tID1\t"hi\n')


def activitynet_qa(root: Path) -> None:
    """One video, one question, its answer in another file."""
    _film(root / "videos/v_abc.mkv", "yellow")
    question = {"video_name": "abc", "question": "what color is the box", "question_id": "v_abc_0"}
    (root / "test_q.json").write_text(json.dumps([question]))
    (root / "test_a.json").write_text(json.dumps([{"answer": "yellow", "type": 4, "question_id": "v_abc_0"}]))
