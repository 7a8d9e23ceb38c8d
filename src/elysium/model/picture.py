"""A picture of what the T-Selector keeps: each frame, its heat map of scores, and the kept patches alone."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from elysium.model.adapters import TSelector
from elysium.model.modeling import ElysiumForConditionalGeneration
from elysium.model.processing import ElysiumProcessor


@torch.no_grad()
def kept_tokens_picture(
    model: ElysiumForConditionalGeneration,
    processor: ElysiumProcessor,
    frames: Sequence[np.ndarray],
    path: Path | None = None,
    cell: int = 160,
) -> np.ndarray:
    """Three rows by frames, RGB uint8 `[3 * cell, frames * cell, 3]`: frame, scores, kept patches; saved if `path`.

    Raises TypeError if the model's adapter does not score tokens.
    """
    adapter = model.adapter
    if not isinstance(adapter, TSelector):
        raise TypeError(f"only a T-Selector scores tokens, not {type(adapter).__name__}")
    x_BNC = model.get_vision_features(processor.pixels(frames).to(model.device))
    p_BN = adapter.scores(x_BNC).cpu().numpy()
    index_BK = adapter.select(x_BNC).cpu().numpy()
    side = round(p_BN.shape[1] ** 0.5)
    columns = []
    for frame, p_N, index_K in zip(frames, p_BN, index_BK, strict=True):
        image = cv2.resize(frame, (cell, cell), interpolation=cv2.INTER_AREA)
        level = np.log(p_N + 1e-12)
        level = (level - level.min()) / max(float(np.ptp(level)), 1e-9)
        grid = (level.reshape(side, side) * 255).astype(np.uint8)
        heat = cv2.resize(grid, (cell, cell), interpolation=cv2.INTER_NEAREST)
        heat = cv2.cvtColor(cv2.applyColorMap(heat, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)
        kept = np.zeros(side * side, dtype=np.uint8)
        kept[index_K] = 1
        kept = cv2.resize(kept.reshape(side, side), (cell, cell), interpolation=cv2.INTER_NEAREST)
        columns.append(np.vstack([image, heat // 2 + image // 2, np.where(kept[..., None] == 1, image, image // 6)]))
    picture = np.hstack(columns)
    if path is not None and not cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise OSError(f"cannot write {path}")
    return picture
