"""Which parameters the optimisers take, and that two in one behave like each alone."""

import sys

import pytest
import torch
from torch import nn

from elysium.errors import UserError
from elysium.training.optimizer import MuonWithAdamW, build_optimizer, parameter_groups
from tests.model.tiny import CONV, tiny_config, tiny_model

BETAS = (0.9, 0.98)


def problem() -> tuple[nn.Module, list[dict]]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))
    first, *rest = model.parameters()
    return model, [{"params": [first], "is_hidden": True}, {"params": rest, "is_hidden": False}]


def train(model: nn.Module, optimizer: torch.optim.Optimizer, first: int, last: int) -> None:
    for step in range(first, last):
        torch.manual_seed(step)
        x = torch.randn(16, 6)
        optimizer.zero_grad()
        (model(x)[:, 0] - x.sum(1)).square().mean().backward()
        optimizer.step()


def test_each_part_moves_as_it_would_alone() -> None:
    model, groups = problem()
    both = MuonWithAdamW(groups, 0.01, BETAS)
    alone, _ = problem()
    first, *rest = alone.parameters()
    parts = [
        torch.optim.Muon([first], lr=0.01, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=0.01, betas=BETAS, weight_decay=0.0),
    ]
    for step in range(5):
        train(model, both, step, step + 1)
        torch.manual_seed(step)
        x = torch.randn(16, 6)
        alone.zero_grad()
        (alone(x)[:, 0] - x.sum(1)).square().mean().backward()
        for part in parts:
            part.step()
    for mine, theirs in zip(model.parameters(), alone.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_it_goes_on_from_its_saved_state_as_if_it_had_not_stopped() -> None:
    whole, groups = problem()
    train(whole, MuonWithAdamW(groups, 0.01, BETAS), 0, 6)
    model, groups = problem()
    before = MuonWithAdamW(groups, 0.01, BETAS)
    train(model, before, 0, 3)
    again, groups = problem()
    again.load_state_dict(model.state_dict())
    after = MuonWithAdamW(groups, 0.01, BETAS)
    after.load_state_dict(before.state_dict())
    train(again, after, 3, 6)
    for mine, theirs in zip(again.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_only_weights_of_linear_layers_between_embedding_and_output_are_hidden() -> None:
    model = tiny_model(tiny_config(CONV))
    hidden = {id(q) for g in parameter_groups(model, 0.1) if g["is_hidden"] for q in g["params"]}
    names = {name for name, q in model.named_parameters() if id(q) in hidden}
    assert "language_model.model.layers.0.self_attn.q_proj.weight" in names and "adapter.projection.0.weight" in names
    for out in ("embed_tokens", "lm_head", "norm", "bias", "adapter.gate", "stem"):
        assert not [name for name in names if out in name], out


def test_every_trained_parameter_is_in_one_group_and_only_matrices_decay() -> None:
    model = tiny_model(tiny_config(CONV))
    model.vision_tower.requires_grad_(False)
    groups = parameter_groups(model, 0.1)
    ids = [id(q) for g in groups for q in g["params"]]
    assert sorted(ids) == sorted(id(q) for q in model.parameters() if q.requires_grad)
    assert all((g["weight_decay"] == 0.1) is (q.ndim > 1) for g in groups for q in g["params"])


def test_8_bit_adamw_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(UserError, match=r"elysium\[gpu\]"):
        build_optimizer(problem()[1], "adamw8bit", 0.1, BETAS, 0)


def test_what_does_not_work_is_refused() -> None:
    _, groups = problem()
    with pytest.raises(UserError, match="optimizer: 'sgd'; choose one of adamw, adamw8bit, muon"):
        build_optimizer(groups, "sgd", 0.1, BETAS, 0)
    with pytest.raises(UserError, match="whole matrices"):
        build_optimizer(groups, "muon", 0.1, BETAS, 2)
