"""Flickr30k Entities, training split: five captions a picture whose phrases are linked to boxes.

`train.txt` lists picture numbers; `Annotations/ID.xml` has the size and one `object` per box with the numbers (`name`)
of the entities it shows (`nobndbox`, `scene`: no box), corners in pixels counted from 1; `Sentences/ID.txt` has a
caption a line with its phrases as `[/EN#ENTITY/TYPE words]`, entity 0 being nothing that can be seen. Pictures are
`flickr30k-images/ID.jpg`, to be had from the authors of Flickr30k.

An entity with one box becomes an object, named by all phrases of the captions that are linked to it; one with several
boxes ("two men") cannot be answered with one box and is left out.
"""

import re
from pathlib import Path
from xml.etree import ElementTree

from elysium.data.sources.reading import MALFORMED, Drop, Item, RawBox, RawObject, Reading, Source, folder
from elysium.errors import UserError

_PHRASE = re.compile(r"\[/EN#(?P<entity>\d+)/\S+ (?P<words>[^\]]*)\]")


def read(root: Path) -> Reading:
    """One item per picture of the training split. Raises UserError if the list or a folder is missing."""
    path = root / "train.txt"
    if not path.is_file():
        raise UserError(f"{path}: no such file; see `elysium shard --help` for the files of each source")
    annotations, sentences = folder(root, "Annotations"), folder(root, "Sentences")
    images = folder(root, "flickr30k-images", "flickr30k_images", "images")
    names = path.read_text().split()

    def entry(name: str) -> Item | Drop:
        where = annotations / f"{name}.xml"
        try:
            scale, boxes = _boxes(where)
            lines = (sentences / f"{name}.txt").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError as error:
            return Drop("missing annotation", f"{path}: {name}: {error.filename}")
        except (*MALFORMED, ElementTree.ParseError, OSError) as error:
            return Drop("malformed entry", f"{where}: {error!r}")
        phrases: dict[str, list[str]] = {}
        for found in (match for line in lines for match in _PHRASE.finditer(line)):
            if found["words"] not in phrases.setdefault(found["entity"], []):
                phrases[found["entity"]].append(found["words"])
        objects, dropped = [], []
        for entity, said in phrases.items():
            if len(boxes.get(entity, [])) == 1:
                objects.append(RawObject(tuple(said), (boxes[entity][0],)))
            elif entity in boxes:
                dropped.append(Drop("phrase with several boxes", f"{where}: entity {entity} ({said[0]!r})"))
        captions = tuple(_PHRASE.sub(lambda m: m["words"], line).strip() for line in lines if line.strip())
        media = images / f"{name}.jpg"
        return Item(name, str(where), media, tuple(objects), captions, scale=scale, dropped=tuple(dropped))

    return Reading(map(entry, names), len(names))


def _boxes(path: Path) -> tuple[tuple[float, float], dict[str, list[RawBox]]]:
    """(width, height) and the boxes of each entity, in pixels from 0."""
    tree = ElementTree.parse(path).getroot()
    scale = (_number(tree, "size/width"), _number(tree, "size/height"))
    boxes: dict[str, list[RawBox]] = {}
    for found in tree.findall("object"):
        if found.find("bndbox") is None:
            continue
        x1, y1, x2, y2 = (_number(found, f"bndbox/{side}") - 1 for side in ("xmin", "ymin", "xmax", "ymax"))
        for name in found.findall("name"):
            boxes.setdefault(str(name.text), []).append((x1, y1, x2, y2))
    return scale, boxes


def _number(element: ElementTree.Element, path: str) -> float:
    return float(element.findtext(path) or "")


SOURCE = Source(
    "Flickr30k Entities",
    read,
    "train.txt, Annotations/, Sentences/ (annotations.zip), flickr30k-images/",
    "https://github.com/BryanPlummer/flickr30k_entities",
    "research and education only; the pictures keep Flickr's terms",
    29_783,
)
