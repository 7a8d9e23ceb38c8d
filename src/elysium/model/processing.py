"""`ElysiumProcessor`: frames and text in, model inputs out; and the model's answer back to boxes."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import BatchFeature, CLIPImageProcessorPil, PreTrainedTokenizerBase, ProcessorMixin

from elysium.boxes import Box, parse_boxes
from elysium.prompts import IMAGE

VICUNA_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)


def image_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id of `<image>`; a tokenizer that lacks it, or a padding token, is given one."""
    if IMAGE not in tokenizer.get_vocab():
        tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE]})
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token
    token_id = tokenizer.convert_tokens_to_ids(IMAGE)
    assert isinstance(token_id, int)
    return token_id


class SampleTooLong(ValueError):
    """A training sample that does not fit into `max_length`: refused whole, so no supervised token is lost unseen."""


class ElysiumProcessor(ProcessorMixin):
    """Resizes frames to a square without padding (paper, section 4.2), expands each `<image>` to `num_kept` tokens.

    The conversation is Vicuna's: `SYSTEM USER: question ASSISTANT: answer</s>`; a small model can do without the
    system sentence (`system=""`). `bins` and `timestamps` are how boxes and frames are written.
    """

    attributes: ClassVar = ["image_processor", "tokenizer"]
    image_processor_class = "AutoImageProcessor"
    tokenizer_class = "AutoTokenizer"

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        num_kept: int = 108,
        bins: int = 100,
        timestamps: bool = True,
        system: str = VICUNA_SYSTEM,
        chat_template: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.num_kept, self.bins, self.timestamps, self.system = num_kept, bins, timestamps, system
        super().__init__(image_processor, tokenizer, chat_template=chat_template)
        self.image_token_id = tokenizer.convert_tokens_to_ids(IMAGE)

    @staticmethod
    def square_images(size: int) -> CLIPImageProcessorPil:
        """CLIP's image processor, resizing to `size` x `size` without padding or cropping."""
        return CLIPImageProcessorPil(size={"height": size, "width": size}, do_center_crop=False)

    def prompt(self, question: str) -> str:
        """The conversation up to the answer."""
        system = self.system + " " if self.system else ""
        return f"{system}USER: {question} ASSISTANT:"

    def __call__(
        self,
        text: str | Sequence[str],
        images: Sequence[np.ndarray] | None = None,
        padding_side: str = "left",
        **kwargs: Any,
    ) -> BatchFeature:
        """Tokenise prompts with `<image>` placeholders; `images` holds the frames of all prompts in order.

        Returns input_ids and attention_mask `[B, L]`, pixel_values `[frames, 3, S, S]`. Raises ValueError if the number
        of placeholders is not that of the frames.
        """
        texts = [text] if isinstance(text, str) else list(text)
        n_images = 0 if images is None else len(images)
        n_places = sum(t.count(IMAGE) for t in texts)
        if n_images != n_places:
            raise ValueError(f"{n_places} <image> placeholders for {n_images} frames")
        ids = [self.token_ids(t) for t in texts]
        batch: dict[str, Tensor] = dict(
            zip(("input_ids", "attention_mask"), pad(ids, self.tokenizer.pad_token_id, padding_side), strict=True)
        )
        if images is not None and n_images:
            batch["pixel_values"] = self.pixels(images)
        return BatchFeature(batch)

    def token_ids(self, text: str) -> list[int]:
        """Token ids with one BOS in front, each placeholder expanded."""
        return self.tokenizer(text.replace(IMAGE, IMAGE * self.num_kept))["input_ids"]

    def square(self, image: np.ndarray) -> np.ndarray:
        """An RGB uint8 frame `[H, W, 3]` at the size that the vision tower sees; `pixels` takes it as it is."""
        height, width = self.image_processor.size["height"], self.image_processor.size["width"]
        if image.shape[:2] == (height, width):
            return image
        resample = Image.Resampling(self.image_processor.resample)
        return np.asarray(Image.fromarray(image).resize((width, height), resample))

    def pixels(self, images: Sequence[np.ndarray]) -> Tensor:
        """RGB uint8 frames `[H, W, 3]` -> `[frames, 3, S, S]`, normalised as the vision tower expects.

        The values are those of the image processor; the batched arithmetic saves its milliseconds per frame.
        """
        x = torch.from_numpy(np.stack([self.square(i) for i in images])).permute(0, 3, 1, 2).to(torch.float32)
        mean = torch.tensor(self.image_processor.image_mean)[:, None, None] * 255
        std = torch.tensor(self.image_processor.image_std)[:, None, None] * 255
        return (x - mean) / std

    def training_sample(self, turns: Sequence[tuple[str, str]], max_length: int) -> tuple[list[int], list[int]]:
        """Token ids and labels of one conversation; only the answers and their end tokens are supervised.

        Questions and answers are tokenised apart, so the boundary is exact. Raises SampleTooLong.
        """
        ids: list[int] = []
        labels: list[int] = []
        for question, answer in turns:
            asked = self.token_ids(self.prompt(question)) if not ids else self._plain(f"USER: {question} ASSISTANT:")
            told = [*self.answer_ids(answer), self.tokenizer.eos_token_id]
            ids += asked + told
            labels += [-100] * len(asked) + told
        if len(ids) > max_length:
            raise SampleTooLong(f"{len(ids)} tokens, more than max_length={max_length}")
        return ids, labels

    def answer_ids(self, answer: str) -> list[int]:
        """Ids of an answer as they follow "ASSISTANT:"; alone, LLaMA's tokenizer adds a second space."""
        head, both = self._plain("ASSISTANT:"), self._plain("ASSISTANT: " + answer)
        return both[len(head) :] if both[: len(head)] == head else self._plain(" " + answer)

    def _plain(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def answer_boxes(self, text: str, n_frames: int) -> list[Box | None]:
        """The boxes of an answer, aligned by frame number."""
        return parse_boxes(text, n_frames, self.bins)


def pad(rows: Sequence[Sequence[int]], value: int, side: str) -> tuple[Tensor, Tensor]:
    """Rows of different lengths as one tensor `[B, L]` and its mask."""
    length = max(map(len, rows))
    out = torch.full((len(rows), length), value, dtype=torch.long)
    mask = torch.zeros(len(rows), length, dtype=torch.long)
    for i, row in enumerate(rows):
        at = slice(length - len(row), length) if side == "left" else slice(0, len(row))
        out[i, at] = torch.tensor(row, dtype=torch.long)
        mask[i, at] = 1
    return out, mask
