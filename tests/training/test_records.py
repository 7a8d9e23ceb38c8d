"""What a person sees of a training: lines, warnings, pictures."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from elysium.config import MixtureSource, TrainParams, WorldParams
from elysium.data import world
from elysium.data.mixture import Mixture
from elysium.data.tasks import Clip
from elysium.training.batches import StepBatches
from elysium.training.drawing import draw_predictions, samples_to_draw
from elysium.training.records import TrainingLog
from tests.model.tiny import CONV, tiny_config, tiny_model, tiny_processor


@pytest.fixture(scope="module")
def mixture(tmp_path_factory) -> Mixture:
    root = tmp_path_factory.mktemp("world")
    world.build(WorldParams(images=10, train_videos=2, train_frames=8, eval_videos=1, raw_videos=0, workers=1), root)
    sources = {
        "images": MixtureSource(str(root), "images", 1.0, {"rec": 1, "reg": 1}),
        "videos": MixtureSource(str(root), "train", 1.0, {"sot": 1}),
    }
    return Mixture(sources, tiny_processor(), Clip((2, 4)), 1024, seed=0)


def run(mixture: Mixture, out: Path, waits: list[float]) -> None:
    """Steps of one second each, of which so much is waiting."""
    params = TrainParams(steps=len(waits), global_batch=8, log_every=1)
    log = TrainingLog(out, "warmup", params, mixture, world=1)
    for step, batch in enumerate(StepBatches(mixture, 8, 2, 0, 1, 0, len(waits))):
        log.step(step, 1.0, 1e-3, batch, 1.0, waits[step], 0.1)


def test_waiting_for_data_is_warned_of_once_and_not_for_the_first_batch(mixture, tmp_path, capsys) -> None:
    run(mixture, tmp_path, [0.9, 0.05, 0.05])
    assert "warning" not in capsys.readouterr().out
    run(mixture, tmp_path, [0.9, 0.4, 0.5])
    said = capsys.readouterr().out
    assert said.count("warning: 40% of the time goes into waiting for data; raise launcher.loader_threads") == 1
    assert said.count("warning") == 1


def test_a_source_that_is_repeated_is_said(mixture, tmp_path, capsys) -> None:
    """Two videos and ten pictures, drawn equally often: 40 samples are about ten passes and two."""
    run(mixture, tmp_path, [0.0] * 5)
    said = capsys.readouterr().out
    assert said.count("videos: all 2 records shown; pass") == 3  # in the lines with pass 2, 4 and 8, not in all five
    assert "images: all 10 records shown; pass 2 in a new order" in said


def test_true_boxes_are_drawn_where_they_are(mixture: Mixture, tmp_path: Path) -> None:
    model = tiny_model(tiny_config(CONV, num_kept=4)).train()
    samples = samples_to_draw(mixture, 100)
    assert len(samples) == 4 and all(sample.task in ("rec", "sot") for sample in samples)
    assert draw_predictions(model, mixture.processor, samples, tmp_path / "p.png") == 0  # nothing is learnt here
    assert model.training
    picture = cv2.cvtColor(cv2.imread(str(tmp_path / "p.png")), cv2.COLOR_BGR2RGB)
    assert picture.shape[0] == 4 * 164
    for row, sample in enumerate(samples):
        cell = picture[row * 164 : row * 164 + 160, :160]
        green = np.argwhere((cell == (40, 200, 60)).all(-1))
        text = mixture.processor.tokenizer.decode(sample.input_ids)
        answer = text.split("ASSISTANT:")[1]
        box = mixture.processor.answer_boxes(answer, len(sample.images))[0]
        assert box is not None
        x0, y0, x1, y1 = (v * 159 for v in box)
        low, high = green.min(0), green.max(0)
        assert np.abs(np.array([low[1], low[0], high[1], high[0]]) - (x0, y0, x1, y1)).max() <= 3
