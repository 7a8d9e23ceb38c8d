"""Grounding: where in a picture is the thing that a phrase names (section 3.2, step 1).

One interface, several grounders. Third parties register theirs by the entry-point group `elysium.grounders`:

    [project.entry-points."elysium.grounders"]
    mine = "my_package.module:make"        # make(model: str) -> Grounder
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from elysium.boxes import Box
from elysium.curation import plugins

ENTRY_POINTS = "elysium.grounders"


@dataclass(frozen=True)
class Grounding:
    """The best box for a phrase in one frame: normalised xyxy, a score in [0, 1], the class where the grounder has one.

    `box` is None and `score` 0 when nothing, or no *single* thing, answers the phrase; `note` then says why. `rivals`
    counts other things of the frame that answer it as well, for grounders that choose the best of several.
    """

    box: Box | None = None
    score: float = 0.0
    label: str = ""
    note: str = ""
    rivals: int = 0


class Grounder(Protocol):
    """What the pipeline needs of a grounder."""

    def ground(self, frames: Sequence[np.ndarray], phrases: Sequence[str]) -> list[list[Grounding]]:
        """`result[t][p]`: phrase `p` in frame `t`. Frames are RGB uint8 `[H, W, 3]`, of one size or several."""
        ...


def _grounding_dino(model: str) -> Grounder:
    from elysium.curation.grounders.grounding_dino import GroundingDino

    return GroundingDino(model)


def _coco(model: str) -> Grounder:
    from elysium.curation.grounders.coco import CocoGrounder

    return CocoGrounder()


def _shapes(model: str) -> Grounder:
    from elysium.curation.grounders.shapes import ShapesGrounder

    return ShapesGrounder()


GROUNDERS: dict[str, Callable[[str], Grounder]] = {
    "grounding_dino": _grounding_dino,
    "coco": _coco,
    "shapes": _shapes,
}


def grounder_factory(name: str) -> Callable[[str], Grounder]:
    """What makes the grounder `name`. Raises UserError, with the known names, if there is no such grounder."""
    return plugins.find("grounding", ENTRY_POINTS, name, GROUNDERS)


def load_grounder(name: str, model: str = "") -> Grounder:
    """The grounder `name`; `model` is its checkpoint, where it has one. Raises UserError as `grounder_factory` does."""
    return grounder_factory(name)(model)
