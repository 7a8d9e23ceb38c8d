"""Visual Genome 1.2: about 50 described regions on each of 108,077 pictures.

`region_descriptions.json` is a list of `{"id", "regions": [{"region_id", "image_id", "phrase", "x", "y", "width",
"height"}]}` in pixels, `image_data.json` a list of `{"image_id", "width", "height", "url"}`; a picture lies in
`VG_100K/` or `VG_100K_2/` (images.zip, images2.zip), its url says in which. There is no official split for regions.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from elysium.data.sources.reading import (
    MALFORMED,
    Drop,
    Item,
    RawObject,
    Reading,
    Source,
    each,
    folder,
    inside,
    load_json,
)


def read(root: Path) -> Reading:
    """One item per picture. Raises UserError if a file or both folders are missing."""
    path = root / "region_descriptions.json"
    rows = load_json(path)
    sizes = {row.get("image_id"): row for row in load_json(root / "image_data.json") if isinstance(row, dict)}
    folder(root, "VG_100K", "VG_100K_2")

    def entry(where: str, row: Any) -> Item:
        image = row["regions"][0]["image_id"] if "id" not in row else row["id"]
        where = f"{where} (image {image})"
        about = sizes[image]
        parts = PurePosixPath(about["url"]).parts[-2:]
        objects: list[RawObject] = []
        dropped: list[Drop] = []
        for region in row["regions"]:
            try:
                objects.append(_region(region))
            except MALFORMED as error:
                dropped.append(Drop("malformed region", f"{where}: {error!r}"))
        media = _first(inside(root / part, parts[-1]) for part in (parts[0], "VG_100K", "VG_100K_2"))
        scale = (float(about["width"]), float(about["height"]))
        return Item(str(image), where, media, tuple(objects), scale=scale, dropped=tuple(dropped))

    return Reading(each(((f"{path}: entry {i}", row) for i, row in enumerate(rows)), entry), len(rows))


def _region(region: dict[str, Any]) -> RawObject:
    x, y, width, height = (float(region[side]) for side in ("x", "y", "width", "height"))
    return RawObject((region["phrase"],), ((x, y, x + width, y + height),))


def _first(paths: Iterator[Path]) -> Path:
    """The first path that exists; the first guess if none does, to be reported."""
    guesses = list(paths)
    return next((path for path in guesses if path.is_file()), guesses[0])


SOURCE = Source(
    "Visual Genome",
    read,
    "region_descriptions.json, image_data.json, VG_100K/, VG_100K_2/",
    "https://homes.cs.washington.edu/~ranjay/visualgenome/api.html",
    "CC BY 4.0",
    108_077,
)
