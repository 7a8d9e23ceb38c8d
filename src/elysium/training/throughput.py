"""Model FLOPs of a training step and the device's peak, for the utilisation (MFU) that every log line shows."""

import time
from collections.abc import Sequence

import torch

from elysium.model.configuration import ElysiumConfig
from elysium.model.modeling import ElysiumForConditionalGeneration

# Dense bf16 peaks in FLOP/s, from the vendors' data sheets.
_PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}


class FlopCounter:
    """Forward and backward FLOPs: 6 per parameter and token (PaLM, appendix B), plus attention's 12 * L * width.

    What is frozen has no gradient of its weights: 4 per parameter and token in the LLM, through which the adapter's
    gradient passes, 2 in the vision tower. Padding and recomputation (gradient checkpointing) do not count as work.
    """

    def __init__(self, model: ElysiumForConditionalGeneration) -> None:
        config: ElysiumConfig = model.config
        text, vision = config.text_config, config.vision_config
        embeddings = model.get_input_embeddings().weight
        own: list[torch.Tensor] = [p for p in model.language_model.parameters() if p is not embeddings]
        if text.tie_word_embeddings:  # then they are the head, too
            own.append(embeddings)
        self.per_text_token = sum(_elements(p) * (6 if p.requires_grad else 4) for p in own)
        self.per_text_pair = 12 * text.num_hidden_layers * text.hidden_size
        vision_parameters = sum(_elements(p) for p in model.vision_tower.parameters())
        passes = 3 if any(p.requires_grad for p in model.vision_tower.parameters()) else 1
        attention = 4 * vision.num_hidden_layers * vision.hidden_size * config.num_tokens
        self.per_frame = passes * config.num_tokens * (2 * vision_parameters + attention)
        self.per_frame += 6 * config.num_kept * sum(_elements(p) for p in model.adapter.parameters())

    def step(self, lengths: Sequence[int], frames: int) -> float:
        """FLOPs of one forward and backward pass over samples of these lengths in tokens, and their frames."""
        pairs = sum(n * n for n in lengths) / 2
        return sum(lengths) * self.per_text_token + pairs * self.per_text_pair + frames * self.per_frame


def _elements(parameter: torch.Tensor) -> int:
    """The size of the whole parameter; under ZeRO-3 a process holds a part of it."""
    return getattr(parameter, "ds_numel", parameter.numel())


def peak_flops() -> float:
    """The device's dense peak in FLOP/s: from the data sheet on a known GPU, else measured with a large product."""
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        return next((peak for key, peak in _PEAKS.items() if key in name), 312e12)
    a = torch.randn(768, 768)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    return 2 * 768**3 / best
