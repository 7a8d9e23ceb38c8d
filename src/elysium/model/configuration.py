"""`ElysiumConfig`: a CLIP-like vision tower, an adapter and a causal LM, composed by their configurations."""

from typing import Any, ClassVar

from transformers import AutoConfig, PreTrainedConfig

from elysium.config import Params


class ElysiumConfig(PreTrainedConfig):
    """Configuration of `ElysiumForConditionalGeneration`.

    `vision_config` and `text_config` are configurations (or dicts with a `model_type`) known to transformers; the
    defaults are the paper's CLIP-ViT-L/14-336 and Vicuna-7B with 108 of 576 tokens kept. `vision_feature_layer` is the
    hidden state that is read, `bins` the number of coordinate values of a box in text. A video of up to `max_frames`,
    as many as the model was well trained on, is tracked in one pass; a longer one in chained clips (section 4.3).
    """

    model_type = "elysium"
    sub_configs: ClassVar = {"vision_config": AutoConfig, "text_config": AutoConfig}
    is_composition = True

    def __init__(
        self,
        vision_config: dict[str, Any] | PreTrainedConfig | None = None,
        text_config: dict[str, Any] | PreTrainedConfig | None = None,
        adapter: str = "tselector",
        num_kept: int = 108,
        gate: str = "mlp",
        vision_feature_layer: int = -2,
        image_token_id: int = 32000,
        bins: int = 100,
        max_frames: int = 32,
        **kwargs: Any,
    ) -> None:
        self.vision_config = _sub_config(vision_config, CLIP_L_336)
        self.text_config = _sub_config(text_config, VICUNA_7B)
        self.adapter = adapter
        self.num_kept = num_kept
        self.gate = gate
        self.vision_feature_layer = vision_feature_layer
        self.image_token_id = image_token_id
        self.bins = bins
        self.max_frames = max_frames
        kwargs.setdefault("tie_word_embeddings", self.text_config.tie_word_embeddings)
        super().__init__(**kwargs)

    @property
    def num_tokens(self) -> int:
        """N, the vision tower's tokens per frame."""
        return (self.vision_config.image_size // self.vision_config.patch_size) ** 2


def assemble_config(params: Params, vision: Any, text: Any, image_token_id: int) -> ElysiumConfig:
    """The configuration around these of the backbones; without compression every token is kept."""
    config = ElysiumConfig(
        vision_config=vision,
        text_config=text,
        adapter=params.adapter.name,
        num_kept=params.adapter.num_kept,
        gate=params.adapter.gate,
        vision_feature_layer=params.model.vision_feature_layer,
        image_token_id=image_token_id,
        bins=params.model.bins,
        max_frames=params.model.max_frames,
    )
    if config.adapter == "none":
        config.num_kept = config.num_tokens
    return config


CLIP_L_336: dict[str, Any] = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "patch_size": 14,
    "image_size": 336,
    "projection_dim": 768,
}
VICUNA_7B: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
}


def _sub_config(config: dict[str, Any] | PreTrainedConfig | None, default: dict[str, Any]) -> PreTrainedConfig:
    if isinstance(config, PreTrainedConfig):
        return config
    values = dict(config or default)
    return AutoConfig.for_model(values.pop("model_type"), **values)
