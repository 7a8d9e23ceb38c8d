"""What the model answers while it learns: a picture of true and predicted boxes on samples of the mixture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from elysium.boxes import Box
from elysium.data.mixture import Mixture, TrainingSample
from elysium.model import ElysiumForConditionalGeneration, ElysiumProcessor
from elysium.model.processing import pad

SAMPLES, FRAMES, CELL = 4, 8, 160
_TRUE, _PREDICTED = (40, 200, 60), (230, 60, 50)  # RGB
_SEARCHED = 200


def samples_to_draw(mixture: Mixture, position: int) -> list[TrainingSample]:
    """The first samples from a position on whose first answer has a box; fewer if boxes are rare."""
    found: list[TrainingSample] = []
    for i in range(position, position + _SEARCHED):
        sample = mixture[i]
        if any(_true_boxes(sample, mixture.processor)):
            found.append(sample)
        if len(found) == SAMPLES:
            break
    return found


@torch.no_grad()
def draw_predictions(
    model: ElysiumForConditionalGeneration,
    processor: ElysiumProcessor,
    samples: Sequence[TrainingSample],
    path: Path | None,
) -> int:
    """Answer each sample's first question and draw a row of its frames: true boxes green, predicted ones red.

    Answers are plain greedy generation, no grammar. Returns how many boxes were predicted; writes nothing without a
    path. Raises OSError if the picture cannot be written.
    """
    device, was_training = model.device, model.training
    prompts = [sample.input_ids[: _answer(sample).start] for sample in samples]
    ids, mask = pad(prompts, processor.tokenizer.pad_token_id, "left")
    model.eval()
    generator: Any = model  # transformers types `generate` for a protocol that its own models do not meet
    out = generator.generate(
        input_ids=ids.to(device),
        attention_mask=mask.to(device),
        pixel_values=processor.pixels([image for sample in samples for image in sample.images]).to(device),
        max_new_tokens=max(len(range(*_answer(s).indices(len(s.labels)))) for s in samples),
        do_sample=False,
        eos_token_id=processor.tokenizer.eos_token_id,
        pad_token_id=processor.tokenizer.pad_token_id,
    )
    model.train(was_training)
    texts = processor.tokenizer.batch_decode(out[:, ids.shape[1] :], skip_special_tokens=True)
    predicted = [processor.answer_boxes(text, len(s.images)) for text, s in zip(texts, samples, strict=True)]
    if path is not None:
        strips = [_strip(s.images, _true_boxes(s, processor), p) for s, p in zip(samples, predicted, strict=True)]
        width = max(strip.shape[1] for strip in strips)
        picture = np.vstack([np.pad(strip, ((0, 4), (0, width - strip.shape[1]), (0, 0))) for strip in strips])
        if not cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
            raise OSError(f"cannot write {path}")
    return sum(box is not None for boxes in predicted for box in boxes)


def _answer(sample: TrainingSample) -> slice:
    """Where the first answer stands in the sample's tokens, its end token included."""
    begin = next(i for i, label in enumerate(sample.labels) if label != -100)
    end = next((i for i in range(begin, len(sample.labels)) if sample.labels[i] == -100), len(sample.labels))
    return slice(begin, end)


def _true_boxes(sample: TrainingSample, processor: ElysiumProcessor) -> list[Box | None]:
    text = processor.tokenizer.decode(sample.input_ids[_answer(sample)], skip_special_tokens=True)
    return processor.answer_boxes(text, len(sample.images))


def _strip(images: Sequence[np.ndarray], true: Sequence[Box | None], predicted: Sequence[Box | None]) -> np.ndarray:
    """The first frames side by side, each with both boxes, RGB uint8 `[CELL, frames * CELL, 3]`."""
    cells = []
    for image, *boxes in zip(images[:FRAMES], true, predicted, strict=False):
        cell = cv2.resize(image, (CELL, CELL), interpolation=cv2.INTER_AREA)
        for box, colour in zip(boxes, (_TRUE, _PREDICTED), strict=True):
            if box is not None:
                x0, y0, x1, y1 = (round(v * (CELL - 1)) for v in box)
                cv2.rectangle(cell, (x0, y0), (x1, y1), colour, 2)
        cells.append(cell)
    return np.hstack(cells)
