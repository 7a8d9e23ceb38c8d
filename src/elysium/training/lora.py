"""Low-rank adaptation of the LLM (Hu et al., 2021), for those with one GPU; by peft.

Only the LLM is wrapped, and it is unwrapped before a stage writes its model, so a model folder never depends on how it
was trained.
"""

from typing import Any

from elysium.errors import UserError
from elysium.model import ElysiumForConditionalGeneration


def add_lora(model: ElysiumForConditionalGeneration, rank: int, trainable: list[str], zero_stage: int) -> None:
    """Freeze the LLM and give each of its linear layers but the head a trained update of that rank (alpha: twice it).

    Raises UserError if the LLM is not among what is trained, or with ZeRO-3, which has no whole weights to merge into.
    """
    if "text" not in trainable:
        raise UserError(f"lora_rank={rank} needs `text` in trainable, which is {trainable}; add it, or set lora_rank=0")
    if zero_stage == 3:
        raise UserError("lora_rank needs whole weights to merge into: choose deepspeed=zero0 or zero2")
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    model.language_model = get_peft_model(model.language_model, config, autocast_adapter_dtype=False)


def merge_lora(model: Any) -> None:
    """Add what was learnt to the LLM's weights; a model without LoRA stays as it is."""
    from peft import PeftModel

    if isinstance(model.language_model, PeftModel):
        model.language_model = model.language_model.merge_and_unload()
