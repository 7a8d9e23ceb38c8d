"""AdamW, AdamW with 8-bit moments, or Muon for the hidden matrices and AdamW for the rest."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from elysium.errors import UserError
from elysium.model import ElysiumForConditionalGeneration
from elysium.model.adapters import TSelector

OPTIMIZERS = ("adamw", "adamw8bit", "muon")


def build_optimizer(
    groups: list[dict[str, Any]], name: str, lr: float, betas: tuple[float, float], zero_stage: int
) -> torch.optim.Optimizer:
    """The optimiser of that name over groups as `parameter_groups` makes them.

    Raises UserError on another name, on Muon with ZeRO, which flattens the matrices that Muon works on, and without
    bitsandbytes (Dettmers et al., 2022) on `adamw8bit`.
    """
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=1e-8)
    if name == "adamw8bit":
        try:
            from bitsandbytes.optim import AdamW8bit
        except ImportError as error:
            raise UserError("optimizer=adamw8bit needs bitsandbytes: pip install 'elysium[gpu]', or adamw") from error
        return AdamW8bit(groups, lr=lr, betas=betas, eps=1e-8)
    if name == "muon" and zero_stage:
        raise UserError("optimizer=muon needs whole matrices: choose deepspeed=cpu, or optimizer=adamw for ZeRO")
    if name == "muon":
        return MuonWithAdamW(groups, lr, betas)
    raise UserError(f"optimizer: {name!r}; choose one of {', '.join(OPTIMIZERS)}")


def parameter_groups(model: ElysiumForConditionalGeneration, weight_decay: float) -> list[dict[str, Any]]:
    """The trained parameters by how they are treated: only matrices decay; `is_hidden` marks the weights of linear
    layers between the embeddings and the output, without a T-Selector's gate.
    """
    gate = {id(q) for q in model.adapter.gate.parameters()} if isinstance(model.adapter, TSelector) else set()
    hidden = hidden_matrices(model) - gate - {id(model.get_output_embeddings().weight)}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for q in model.parameters():
        if q.requires_grad:
            groups.setdefault((id(q) in hidden, q.ndim > 1), []).append(q)
    return [
        {"params": parameters, "weight_decay": weight_decay if decays else 0.0, "is_hidden": is_hidden}
        for (is_hidden, decays), parameters in groups.items()
    ]


def hidden_matrices(model: nn.Module) -> set[int]:
    """The ids of the weights of all linear layers."""
    return {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear)}


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon (Jordan et al., 2024) for the groups marked `is_hidden`, AdamW for the others, as one optimiser.

    Muon's updates are scaled to the size of AdamW's (Liu et al., "Muon is scalable for LLM training", 2025), so one
    learning rate serves both.
    """

    def __init__(
        self, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float], weight_decay: float = 0.0
    ) -> None:
        self.parts: list[tuple[bool, torch.optim.Optimizer]] = []
        kinds: list[tuple[bool, Callable[..., torch.optim.Optimizer], dict[str, Any]]] = [
            (True, torch.optim.Muon, {"adjust_lr_fn": "match_rms_adamw"}),
            (False, torch.optim.AdamW, {"betas": betas, "eps": 1e-8}),
        ]
        for is_hidden, kind, options in kinds:
            own = [group for group in groups if group["is_hidden"] is is_hidden]
            if own:
                self.parts.append((is_hidden, kind(own, lr=lr, weight_decay=weight_decay, **options)))
        super().__init__([group for _, part in self.parts for group in part.param_groups], {"lr": lr})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step of both; state and groups are this object's, so that they are saved and restored as one."""
        for is_hidden, part in self.parts:
            part.state = self.state
            part.param_groups = [group for group in self.param_groups if group["is_hidden"] is is_hidden]
            part.step(closure)
