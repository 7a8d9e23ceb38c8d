"""The picture of what a T-Selector keeps, looked at as pixels."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from elysium.model.picture import kept_tokens_picture
from tests.model.tiny import CONV, frames, tiny_config, tiny_model, tiny_processor


def test_kept_patches_are_bright_and_the_others_dark(tmp_path: Path) -> None:
    model, processor = tiny_model(tiny_config(CONV)), tiny_processor()
    images = [np.full((32, 32, 3), 240, np.uint8), *frames(1, seed=3)]
    picture = kept_tokens_picture(model, processor, images, tmp_path / "kept.png", cell=64)
    assert picture.shape == (3 * 64, 2 * 64, 3) and picture.dtype == np.uint8
    assert bool((picture[:64, :64] == 240).all())
    bright = picture[128:, :64, 0].reshape(4, 16, 4, 16).transpose(0, 2, 1, 3).reshape(16, -1) == 240
    kept = np.flatnonzero(bright.all(1))
    assert kept.tolist() == model.adapter.select(model.get_vision_features(processor.pixels(images)))[0].tolist()
    assert not bright[np.setdiff1d(np.arange(16), kept)].any()
    heat = picture[64:128, :64].astype(int) - 120  # over a plain frame, the heat map alone varies
    assert np.ptp(heat) > 50
    saved = cv2.cvtColor(cv2.imread(str(tmp_path / "kept.png")), cv2.COLOR_BGR2RGB)
    assert np.array_equal(saved, picture)


def test_an_adapter_without_scores_is_refused() -> None:
    model = tiny_model(tiny_config(CONV, adapter="strided"))
    with pytest.raises(TypeError, match="only a T-Selector scores tokens, not StridedSelect"):
        kept_tokens_picture(model, tiny_processor(), frames(1))
