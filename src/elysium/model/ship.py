"""A trained checkpoint as the model that ships with the project: its folder, with a model card of its own figures.

    python -m elysium.model.ship artifacts/finetune_long/model artifacts/evaluate models/elysium-tiny

`make ship` calls it after `make demo-full` and hands the folder to DVC.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

from elysium.errors import UserError

LIMIT = 20_000_000  # bytes; it is fetched by everyone who clones the project

CARD = """---
license: apache-2.0
library_name: elysium
tags: [object-tracking, referring-expressions, video, tiny]
---
# {name}

A tiny Elysium ({millions:.1f} million parameters) that tracks (SOT), finds by words (RSOT, REC) and describes
(Video-REG) objects in videos. It was trained from nothing on two CPU cores: small backbones by `make backbones`,
then the four stages of the paper by `make demo-full` (preset `{preset}`). It exists so that everything around it
can be used and measured without a download; it is not a tracker for real work.

    elysium track VIDEO --find "small red striped ball" --render out.mp4
    elysium track VIDEO --box 0.2,0.3,0.4,0.6

## Figures

Held-out rendered videos (`world`: {videos} videos, 8 evenly spaced frames; `world_long`: 64 frames by chained clips)
and curated real clips (`curated`: the truth is what the curation found). In percent; in brackets the 95% bootstrap
interval over videos.

{tables}

## Limits

- It knows eight shapes, ten colours, four textures and two sizes by name. Of the words for a motion ("moving left")
  it makes no use, and it knows no others.
- It was not taught to answer questions: what `elysium ask` gets from it is a name or boxes.
- On real videos it follows large things of a colour of their own at best; see the row `curated`.
- Frames are seen at {pixels} x {pixels} pixels, so things under a tenth of the frame are lost.
"""


def ship(model: Path, evaluated: Path, out: Path) -> None:
    """Copy a model folder to `out` with a card made from an evaluation's figures; `out` is replaced at the end.

    Raises UserError if model or figures are missing, or the folder is larger than 20 MB.
    """
    results = evaluated / "results.md"
    for path in (model / "config.json", results, evaluated / "predictions" / "about.json"):
        if not path.is_file():
            raise UserError(f"{path}: not there; run the whole pipeline first (`make demo-full`)")
    size = sum(p.stat().st_size for p in model.iterdir())
    if size > LIMIT:
        raise UserError(f"{model}: {size / 1e6:.0f} MB; a model that ships has at most {LIMIT / 1e6:.0f} MB")
    config = json.loads((model / "config.json").read_text())
    about = json.loads((evaluated / "predictions" / "about.json").read_text())
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(model, part)
    weights = sum(p.stat().st_size for p in part.glob("*.safetensors"))
    (part / "README.md").write_text(
        CARD.format(
            name=out.name,
            millions=weights / 4e6,
            preset=about["preset"],
            videos=about["sets"]["world"]["videos"],
            pixels=config["vision_config"]["image_size"],
            tables=_without_title(results.read_text()),
        )
    )
    shutil.rmtree(out, ignore_errors=True)
    os.replace(part, out)


def _without_title(report: str) -> str:
    """The report as a part of the card: no title, its sections one level down."""
    lines = [line for line in report.splitlines() if not line.startswith("# ")]
    return "\n".join(f"#{line}" if line.startswith("## ") else line for line in lines).strip()


def main() -> int:
    """Ship; exit code 2 and one line on bad input."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("model", type=Path)
    parser.add_argument("evaluated", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    try:
        ship(arguments.model, arguments.evaluated, arguments.out)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
