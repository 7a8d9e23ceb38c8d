"""GRIT-20M: web pictures whose captions have their phrases grounded in boxes (Kosmos-2).

Published are parquet files of URLs; the data set's page has them fetched with img2dataset, `--output_format webdataset`
and `--save_additional_columns '["id","noun_chunks","ref_exps",...]'`, which gives tars of `KEY.jpg`, `KEY.json` (and
`KEY.txt`). Of the JSON `caption`, `noun_chunks` and `ref_exps` are read; a chunk is `[start, end, x1, y1, x2, y2,
score]`: characters of the caption, then a normalised box. Whether a list may come as text inside the JSON depends on
img2dataset's version and was not confirmed; both forms are read.

A noun chunk ("dog") and the referring expression grown from it ("dog in the field") share their box: they become the
phrases of one object. A phrase with several boxes names several objects, and is left out like any ambiguous one.
"""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from elysium.data.sources.reading import MALFORMED, Drop, Item, Member, RawBox, RawObject, Reading, Source
from elysium.errors import UserError


def read(root: Path) -> Reading:
    """One item per picture, tar by tar. Raises UserError if there is no tar."""
    tars = sorted(root.rglob("*.tar")) if root.is_dir() else []
    if not tars:
        raise UserError(f"{root}: no *.tar of img2dataset there; see `elysium shard --help`")
    return Reading(entry for tar in tars for entry in _tar(tar))


def _tar(path: Path) -> Iterator[Item | Drop]:
    from elysium.data.shards import tar_members  # here: webdataset is slow to import, and `--help` lists this source

    members: dict[str, dict[str, Member]] = {}
    try:
        for name, offset, size in tar_members(path):
            key, _, suffix = name.partition(".")
            members.setdefault(key, {})[suffix] = Member(path, offset, size)
    except (tarfile.TarError, OSError) as error:
        yield Drop("unreadable tar", f"{path}: {error}")
        return
    with open(path, "rb") as file:
        for key, found in members.items():
            where = f"{path}: {key}"
            if "json" not in found or "jpg" not in found:
                yield Drop("picture without annotation" if "jpg" in found else "missing picture", where)
                continue
            file.seek(found["json"].offset)
            try:
                row = json.loads(file.read(found["json"].size))
                objects, caption = grounded(row), row["caption"].strip()
            except MALFORMED as error:
                yield Drop("malformed entry", f"{where}: {error!r}")
                continue
            name = f"{path.stem}-{key.replace('/', '-')}"
            yield Item(name, where, found["jpg"], objects, (caption,), scale=(1.0, 1.0))


def grounded(row: dict[str, Any]) -> tuple[RawObject, ...]:
    """The boxes of a caption with their phrases, referring expressions before noun chunks."""
    phrases: dict[tuple[float, ...], tuple[RawBox, list[str]]] = {}
    for column in ("ref_exps", "noun_chunks"):
        chunks = row[column]
        for start, end, x1, y1, x2, y2, *_ in json.loads(chunks) if isinstance(chunks, str) else chunks:
            box = (float(x1), float(y1), float(x2), float(y2))
            phrase = row["caption"][int(start) : int(end)].strip()
            same = phrases.setdefault(tuple(round(v, 4) for v in box), (box, []))[1]
            if phrase not in same:
                same.append(phrase)
    return tuple(RawObject(tuple(said), (box,)) for box, said in phrases.values())


SOURCE = Source(
    "GRIT-20M",
    read,
    "*.tar (img2dataset --output_format webdataset with the columns noun_chunks and ref_exps)",
    "https://huggingface.co/datasets/zzliang/GRIT",
    "Ms-PL for the annotations; the pictures keep theirs",
)
