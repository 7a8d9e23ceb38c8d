"""Model FLOPs of a training step and the device's peak, for the utilisation (MFU) that every log line shows."""

import time

import torch

from elysium.model.configuration import ElysiumConfig
from elysium.model.modeling import ElysiumForConditionalGeneration

# Dense bf16 peaks in FLOP/s, from the vendors' data sheets.
_PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}


class FlopCounter:
    """Forward and backward FLOPs: 6 per parameter and token (PaLM, appendix B), plus attention's 12 * L * width."""

    def __init__(self, model: ElysiumForConditionalGeneration) -> None:
        config: ElysiumConfig = model.config
        text, vision = config.text_config, config.vision_config
        embeddings = model.get_input_embeddings().weight.numel()
        self.per_text_token = 6 * (sum(p.numel() for p in model.language_model.parameters()) - embeddings)
        self.per_text_pair = 12 * text.num_hidden_layers * text.hidden_size
        vision_parameters = sum(p.numel() for p in model.vision_tower.parameters())
        attention = 12 * vision.num_hidden_layers * vision.hidden_size * config.num_tokens
        self.per_frame = config.num_tokens * (6 * vision_parameters + attention)
        self.per_frame += 6 * config.num_kept * sum(p.numel() for p in model.adapter.parameters())

    def step(self, rows: int, length: int, frames: int) -> float:
        """FLOPs of one forward and backward pass over `rows` x `length` tokens (padding included) and `frames`."""
        tokens = rows * length
        return tokens * (self.per_text_token + self.per_text_pair * length / 2) + frames * self.per_frame


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
