"""`ElysiumForConditionalGeneration`: vision tower, adapter and causal LM (paper, section 4.1).

Shape suffixes: B batch, L text length, K kept tokens per frame, C vision width, D LLM width. Frames of a whole batch
come as one tensor, in the order of their placeholders.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import AutoModel, AutoModelForCausalLM, GenerationMixin, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.utils import ModelOutput

from elysium.model.adapters import TokenMixingGate, build_adapter
from elysium.model.configuration import ElysiumConfig

IGNORE = -100  # the label of a position that is not supervised


@dataclass
class ElysiumOutput(ModelOutput):
    """Loss, logits `[B, L, vocabulary]` and the KV cache. With labels, logits are those of supervised positions."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    past_key_values: Cache | None = None


class ElysiumForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """Any CLIP-like vision tower and any causal LM of transformers, joined by an adapter.

    Each frame is `num_kept` image tokens in `input_ids`; their embeddings are replaced by the frame's features.
    """

    config_class = ElysiumConfig
    config: ElysiumConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    input_modalities = ["image", "text"]  # noqa: RUF012
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012

    def __init__(self, config: ElysiumConfig) -> None:
        super().__init__(config)
        self.vision_tower = AutoModel.from_config(config.vision_config)
        self.adapter = build_adapter(
            config.adapter,
            num_tokens=config.num_tokens,
            num_kept=config.num_kept,
            vision_dim=config.vision_config.hidden_size,
            llm_dim=config.text_config.hidden_size,
            gate=config.gate,
        )
        self.language_model = AutoModelForCausalLM.from_config(config.text_config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """The backbones initialise themselves; the adapter keeps torch's initialisation."""
        if isinstance(module, TokenMixingGate) or any(module is m for m in self.adapter.modules()):
            return
        super()._init_weights(module)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Linear:
        return self.language_model.get_output_embeddings()

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        self.language_model.set_output_embeddings(new_embeddings)

    def get_vision_features(self, pixel_values: Tensor) -> Tensor:
        """Patch tokens of the configured hidden state, without the class token: `[frames, N, C]`."""
        layer = self.config.vision_feature_layer
        pixel_values = pixel_values.to(self.vision_tower.dtype)
        if layer == -1:
            x_BNC = self.vision_tower(pixel_values).last_hidden_state
        else:
            x_BNC = self.vision_tower(pixel_values, output_hidden_states=True).hidden_states[layer]
        return x_BNC[:, 1:] if x_BNC.shape[1] == self.config.num_tokens + 1 else x_BNC

    def get_image_features(self, pixel_values: Tensor) -> Tensor:
        """What the LLM sees of each frame: `[frames, K, D]`."""
        return self.adapter(self.get_vision_features(pixel_values))

    def embed(self, input_ids: Tensor, pixel_values: Tensor | None) -> Tensor:
        """Token embeddings `[B, L, D]` with the frames' features in the places of their image tokens.

        Raises ValueError if placeholders and frames do not match in number.
        """
        embeds = self.get_input_embeddings()(input_ids.clamp_max(self.config.text_config.vocab_size - 1))
        if pixel_values is None:
            if not self.training:
                return embeds
            # Every rank runs the vision tower in every step, or ZeRO-3 waits for the ones that do not.
            size = self.config.vision_config.image_size
            blank = torch.zeros(1, 3, size, size, device=embeds.device, dtype=embeds.dtype)
            return embeds + 0.0 * self.get_image_features(blank).sum()
        features = self.get_image_features(pixel_values).to(embeds.dtype)
        is_image = input_ids == self.config.image_token_id
        if int(is_image.sum()) != features.shape[0] * features.shape[1]:
            raise ValueError(
                f"{int(is_image.sum())} image tokens for {features.shape[0]} frames of {features.shape[1]} tokens"
            )
        return embeds.masked_scatter(is_image[..., None], features)

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> ElysiumOutput:
        """`input_ids [B, L]`, `pixel_values [frames, 3, S, S]`, `labels [B, L]` (-100: not supervised).

        The loss is the mean over supervised tokens, or their sum over `num_items_in_batch` (transformers' convention
        for accumulated batches). With labels the head runs on supervised positions only, and `logits` is `[positions,
        vocabulary]` in row-major order.
        """
        if inputs_embeds is None:
            if input_ids is None:
                raise ValueError("either input_ids or inputs_embeds")
            begins = past_key_values is None or past_key_values.get_seq_length() == 0
            if begins and pixel_values is None and bool((input_ids == self.config.image_token_id).any()):
                raise ValueError("image tokens without frames: pixel_values is missing")
            inputs_embeds = self.embed(input_ids, pixel_values)
        outputs = self.language_model.get_decoder()(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            **kwargs,
        )
        hidden_BLD = outputs.last_hidden_state
        head = self.get_output_embeddings()
        if labels is None:
            keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
            return ElysiumOutput(logits=head(hidden_BLD[:, keep]), past_key_values=outputs.past_key_values)
        target = labels[:, 1:]
        supervised = target != IGNORE
        logits = head(hidden_BLD[:, :-1][supervised]).float()
        if num_items_in_batch is None:
            loss = cross_entropy(logits, target[supervised])
        else:
            loss = cross_entropy(logits, target[supervised], reduction="sum") / num_items_in_batch
        return ElysiumOutput(loss=loss, logits=logits, past_key_values=outputs.past_key_values)
