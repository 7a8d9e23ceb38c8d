"""The open-vocabulary grounder of the paper: Grounding DINO through transformers, from a local folder or the hub."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from elysium.boxes import iou
from elysium.curation.grounding import Grounding
from elysium.errors import UserError

RIVAL_SCORE = 0.35  # a second box above this score answers the phrase as well (the authors' box threshold)
SAME_IOU = 0.5  # boxes that overlap more are one thing
BATCH = 16  # pairs of a frame and a phrase in one forward pass


class GroundingDino:
    """`ground` with `AutoModelForZeroShotObjectDetection`, batched over frames and phrases; on the GPU if there is one.

    Every phrase is asked on its own: in one joint prompt the phrases of a caption disturb one another's scores. The
    best box counts, with its score; any model that transformers loads for zero-shot detection by a text prompt will do.
    """

    def __init__(self, model: str, batch: int = BATCH) -> None:
        import torch
        from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

        try:
            self._processor: Any = AutoProcessor.from_pretrained(model)
            self._model: Any = AutoModelForZeroShotObjectDetection.from_pretrained(model).eval()
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"grounding 'grounding_dino' cannot load {model!r} ({reason}); set curation.grounding_dino to a folder "
                "with the model, or let the hub be reached (HF_HUB_OFFLINE=0)"
            ) from error
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model.to(self._device)
        self._batch = batch

    def ground(self, frames: Sequence[np.ndarray], phrases: Sequence[str]) -> list[list[Grounding]]:
        """See `Grounder`. The score is the model's, of its best box for the phrase."""
        pairs = [(frame, phrase) for frame in frames for phrase in phrases]
        flat: list[Grounding] = []
        for start in range(0, len(pairs), self._batch):
            flat += self._forward(pairs[start : start + self._batch])
        return [flat[i * len(phrases) : (i + 1) * len(phrases)] for i in range(len(frames))]

    def _forward(self, pairs: Sequence[tuple[np.ndarray, str]]) -> list[Grounding]:
        import torch

        # Grounding DINO wants lower case and a full stop after each phrase.
        texts = [phrase.lower().strip(" .") + "." for _, phrase in pairs]
        inputs = self._processor(images=[frame for frame, _ in pairs], text=texts, padding=True, return_tensors="pt")
        with torch.inference_mode():
            outputs = self._model(**inputs.to(self._device))
        scores_BQ = outputs.logits.float().sigmoid().amax(-1)  # over the tokens of the phrase
        cxcywh_BQ4 = outputs.pred_boxes.float()
        xyxy_BQ4 = torch.cat(
            [cxcywh_BQ4[..., :2] - cxcywh_BQ4[..., 2:] / 2, cxcywh_BQ4[..., :2] + cxcywh_BQ4[..., 2:] / 2], -1
        )
        boxes_BQ4 = xyxy_BQ4.clamp(0, 1).cpu().numpy().astype(float)
        return [_best(scores, boxes) for scores, boxes in zip(scores_BQ.cpu().numpy(), boxes_BQ4, strict=True)]


def _best(scores_Q: np.ndarray, boxes_Q4: np.ndarray) -> Grounding:
    """The best box of a phrase, with the number of other things that answer it."""
    order = np.argsort(-scores_Q, kind="stable")
    x1, y1, x2, y2 = boxes_Q4[order[0]].tolist()
    if x2 - x1 < 1e-4 or y2 - y1 < 1e-4:
        return Grounding(note="empty box")
    things = [boxes_Q4[order[0]]]
    for query in order[1:]:
        if scores_Q[query] < RIVAL_SCORE:
            break
        box = boxes_Q4[query]
        if (box[2:] - box[:2]).min() >= 1e-4 and all(float(iou(box, other)) < SAME_IOU for other in things):
            things.append(box)
    return Grounding((x1, y1, x2, y2), float(scores_Q[order[0]]), rivals=len(things) - 1)
