"""The Elysium model as transformers classes; importing this package registers them with the Auto classes."""

from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor

from elysium.model.configuration import ElysiumConfig
from elysium.model.modeling import ElysiumForConditionalGeneration
from elysium.model.processing import ElysiumProcessor
from elysium.model.vision import ConvVisionConfig, ConvVisionModel

AutoConfig.register("conv_vision", ConvVisionConfig)
AutoModel.register(ConvVisionConfig, ConvVisionModel)
AutoConfig.register("elysium", ElysiumConfig)
AutoModelForImageTextToText.register(ElysiumConfig, ElysiumForConditionalGeneration)
AutoProcessor.register(ElysiumConfig, ElysiumProcessor)

__all__ = [
    "ConvVisionConfig",
    "ConvVisionModel",
    "ElysiumConfig",
    "ElysiumForConditionalGeneration",
    "ElysiumProcessor",
]
