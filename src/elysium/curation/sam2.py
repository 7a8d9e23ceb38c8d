"""SAM 2 video (Ravi et al., 2024) through transformers as a tracker: a box prompt, a mask per frame, the mask's box."""

from collections.abc import Iterable, Iterator
from typing import Any

import cv2
import numpy as np

from elysium.boxes import Box
from elysium.errors import UserError

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, as in the checkpoints' preprocessing
_TOP_LEFT, _BOTTOM_RIGHT = 2, 3  # SAM's labels of a box's corners among point prompts
_LEAST_SHARE = 1e-5  # of the frame; a smaller mask is no object


class Sam2Tracker:
    """`track` with `Sam2VideoModel`, frame by frame, so that it may be ended early; on the GPU if there is one.

    The confidence is the model's own estimate that the object is in the frame (sigmoid of its object score).
    """

    def __init__(self, model: str) -> None:
        import torch
        from transformers import Sam2VideoModel

        try:
            self._model: Any = Sam2VideoModel.from_pretrained(model).eval()
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"tracker 'sam2' cannot load {model!r} ({reason}); set curation.sam2 to a folder with a SAM 2 video "
                "model, or let the hub be reached (HF_HUB_OFFLINE=0)"
            ) from error
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model.to(self._device)
        self._side = int(self._model.config.prompt_encoder_config.image_size)

    def track(self, frames: Iterable[np.ndarray], box: Box) -> Iterator[tuple[Box, float]]:
        """See `Tracker`. A frame without a mask repeats the last box at confidence 0."""
        import torch
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        session: Any = None
        found = box
        for number, frame in enumerate(frames):
            if session is None:
                height, width = frame.shape[:2]
                session = Sam2VideoInferenceSession(
                    video_height=height, video_width=width, inference_device=self._device,
                    inference_state_device=self._device, video_storage_device=self._device, dtype=torch.float32,
                )  # fmt: skip
                corners = torch.tensor(box, dtype=torch.float32).reshape(1, 1, 2, 2) * self._side
                labels = torch.tensor([[[_TOP_LEFT, _BOTTOM_RIGHT]]], dtype=torch.int32)
                thing = session.obj_id_to_idx(1)
                session.add_point_inputs(thing, 0, {"point_coords": corners, "point_labels": labels})
                session.obj_with_new_inputs = [1]
            with torch.inference_mode():
                output = self._model(session, frame=self._pixels(frame))
            session.processed_frames.pop(number, None)  # its features are in the memory; pixels are needed once
            if number == 0:
                yield box, 1.0
                continue
            seen = _mask_box(output.pred_masks[0, 0].float().cpu().numpy() > 0)
            score = float(output.object_score_logits.float().sigmoid().reshape(-1)[0])
            found = seen or found
            yield found, score if seen else 0.0

    def _pixels(self, frame: np.ndarray) -> Any:
        """`[1, 3, S, S]`, normalised: the checkpoints squeeze a frame into a square."""
        import torch

        square = cv2.resize(frame, (self._side, self._side), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        normal = (square - np.array(_MEAN, np.float32)) / np.array(_STD, np.float32)
        return torch.from_numpy(normal.transpose(2, 0, 1)[None].copy()).to(self._device)


def _mask_box(mask: np.ndarray) -> Box | None:
    """Normalised xyxy of a mask `[h, w]`, or None where it is empty."""
    if mask.mean() < _LEAST_SHARE:
        return None
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x1, y1, x2, y2 = columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height
    return (float(x1), float(y1), float(x2), float(y2))
