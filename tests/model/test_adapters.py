"""The adapters against references written out by hand; widths are small, token counts are the paper's."""

import numpy as np
import pytest
import torch
from scipy.special import erf
from torch import Tensor

from elysium.model.adapters import ADAPTERS, NoCompression, TokenMixingGate, TSelector, build_adapter

N = 576
KEPT = (1, 36, 72, 108, 144, 256, 288, 576)


def adapter(name: str = "tselector", n: int = 12, k: int = 4, gate: str = "mlp", seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return build_adapter(name, num_tokens=n, num_kept=k, vision_dim=8, llm_dim=6, gate=gate)


def tokens(b: int = 2, n: int = 12, seed: int = 1) -> Tensor:
    return torch.randn(b, n, 8, generator=torch.Generator().manual_seed(seed))


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + erf(x / np.sqrt(2)))


def test_tselector_is_equation_2() -> None:
    """Float64, numpy: scores by an MLP, softmax, the k largest in spatial order, an MLP."""
    module, x_BNC = adapter().eval(), tokens()
    w = {name: p.detach().double().numpy() for name, p in module.named_parameters()}
    for x, got in zip(x_BNC.double().numpy(), module(x_BNC).detach().numpy(), strict=True):
        hidden = gelu(x @ w["gate.layers.0.weight"].T + w["gate.layers.0.bias"])
        score = (hidden @ w["gate.layers.2.weight"].T + w["gate.layers.2.bias"])[:, 0]
        p = np.exp(score) / np.exp(score).sum()
        kept = x[sorted(np.argsort(-p)[:4])]
        want = gelu(kept @ w["projection.0.weight"].T + w["projection.0.bias"])
        want = want @ w["projection.2.weight"].T + w["projection.2.bias"]
        np.testing.assert_allclose(got, want, atol=1e-6)


def test_the_token_mixing_gate_on_a_case_done_by_hand() -> None:
    """x = (1, 2, 3), pre_proj 2x + 1 -> (3, 5, 7); matrix columns (1,0,0), (0,0,1), (1,1,0); bias (0, 1, -4)."""
    gate = TokenMixingGate(num_tokens=3, dim=1)
    with torch.no_grad():
        gate.pre_proj.weight.fill_(2)
        gate.pre_proj.bias.fill_(1)
        gate.trans_weight.copy_(torch.tensor([[1.0, 0, 1], [0, 0, 1], [0, 1, 0]]))
        gate.trans_bias.copy_(torch.tensor([0.0, 1, -4]))
    score = gate(torch.tensor([[[1.0], [2.0], [3.0]]]))
    assert score.tolist() == [[3.0, 8.0, 4.0]]


@pytest.mark.parametrize("gate", ["mlp", "token_mixing"])
def test_gradients_are_those_of_the_mixture_by_finite_differences(gate: str) -> None:
    """With selection and draws held fixed, the gradient is that of MLP(other) + (a + q - q0) (MLP(kept) - MLP(other)).

    q = p_kept / (p_kept + p_other), q0 a constant. The surrogate is evaluated in float64, and differentiated by central
    differences with respect to every parameter.
    """
    module, x = adapter(gate=gate, n=6, k=3).double(), tokens(1, 6).double()
    index = module.select(x)
    left = [i for i in range(6) if i not in index[0].tolist()]
    slot, other, a = torch.tensor([[2, 0]]), torch.tensor([left[:2]]), torch.tensor([[0.3, 0.6]])
    module.explore = lambda _: index
    module.draw_partners, module.draw_weights = lambda _: (slot, other), lambda _: a
    weight = torch.randn(1, 3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    (module(x) * weight).sum().backward()

    def log_odds() -> Tensor:
        log_p = torch.log_softmax(module.gate(x), -1)
        return log_p.gather(1, index.gather(1, slot)) - log_p.gather(1, other)

    with torch.no_grad():
        start = log_odds()

        def surrogate() -> float:
            t = module.projection(x)[0]
            out = t[index[0]]
            carried = a + (log_odds() - start) / 4
            for m in range(2):
                kept, rest = t[index[0, slot[0, m]]], t[other[0, m]]
                out[slot[0, m]] = rest + carried[0, m] * (kept - rest)
            return float((out * weight[0]).sum())

        for name, parameter in module.named_parameters():
            assert parameter.grad is not None, name
            flat, step = parameter.view(-1), 1e-5
            for i in range(0, flat.numel(), max(1, flat.numel() // 6)):
                value = float(flat[i])
                flat[i] = value + step
                up = surrogate()
                flat[i] = value - step
                down = surrogate()
                flat[i] = value
                slope = (up - down) / (2 * step)
                # The scores are float32 by design, so the gate's gradients carry its rounding.
                assert float(parameter.grad.view(-1)[i]) == pytest.approx(slope, rel=2e-5, abs=2e-6), (name, i)


def test_the_gates_gradient_is_what_a_swap_costs() -> None:
    """For any loss, here a steep one, the mean over a of dL/da is L(kept) - L(other): no linearisation is left."""
    module, x = adapter(n=6, k=1).double(), tokens(1, 6).double()
    module.projection = torch.nn.Identity()
    other = torch.tensor([[(int(module.select(x)) + 1) % 6]])
    module.explore = lambda _: module.select(x)

    def loss(t: Tensor) -> Tensor:
        return torch.sigmoid(20 * t[..., 0]).sum() + t[..., 1].square().sum()

    slopes = []
    for i in range(2000):
        a = torch.tensor([[(i + 0.5) / 2000]], dtype=torch.float64)
        module.draw_partners, module.draw_weights = lambda _: (torch.tensor([[0]]), other), lambda _, a=a: a
        t = module(x)
        t.retain_grad()
        loss(t).backward()
        kept, rest = x[0, int(module.select(x))], x[0, int(other)]
        slopes.append(float((t.grad[0, 0] * (kept - rest)).sum()))
    cost = loss(x[:, module.select(x)[0]]) - loss(x[:, other[0]])
    assert sum(slopes) / len(slopes) == pytest.approx(float(cost), rel=1e-4)


def test_exploring_draws_tokens_by_their_probabilities() -> None:
    """The first of two draws without replacement has the softmax's probabilities; one draw is Gumbel's arg max."""
    torch.manual_seed(0)
    p = torch.tensor([0.5, 0.25, 0.15, 0.1])
    one = adapter(n=4, k=1).explore(p.log().expand(20000, 4))
    torch.testing.assert_close(one.flatten().bincount(minlength=4) / 20000, p, atol=0.015, rtol=0)
    two = adapter(n=4, k=2).explore(p.log().expand(20000, 4))
    assert bool((two.diff(dim=1) > 0).all())
    # P({0, 1}) = P(0) P(1 | not 0) + P(1) P(0 | not 1)
    pair = float(((two[:, 0] == 0) & (two[:, 1] == 1)).float().mean())
    assert pair == pytest.approx(0.5 * 0.25 / 0.5 + 0.25 * 0.5 / 0.75, abs=0.015)


def test_swaps_pair_kept_tokens_with_others_each_once() -> None:
    torch.manual_seed(0)
    for n, k in ((64, 12), (12, 8), (12, 1)):
        module = adapter(n=n, k=k)
        index = module.select(tokens(50, n))
        slot, other = module.draw_partners(index)
        assert slot.shape == other.shape == (50, min(k, n - k))
        for row in range(50):
            partners = other[row].tolist()
            assert len(set(partners)) == len(partners) and not set(partners) & set(index[row].tolist())
            assert len(set(slot[row].tolist())) == slot.shape[1]


def test_pairs_are_mixed_as_often_as_the_gate_is_unsure() -> None:
    """With probability 4 p (1 - p) and slope 1/4, the expected gradient is that of p: p (1 - p) for the log odds."""
    torch.manual_seed(0)
    for p in (0.5, 0.8, 0.99):
        a = TSelector.draw_weights(torch.full((200, 100), p))
        assert float((a < 1).float().mean()) == pytest.approx(4 * p * (1 - p), abs=0.02)
        assert float(a[a < 1].mean()) == pytest.approx(0.5, abs=0.03) and float(a.min()) >= 0


def test_a_gate_that_is_held_learns_nothing_and_mixes_nothing() -> None:
    module, x = adapter(), tokens(16)
    module.held = True
    torch.manual_seed(0)
    out = module(x)
    torch.manual_seed(0)
    drawn = module.explore(torch.log_softmax(module.gate(x), -1))
    assert torch.equal(out, module.projection(x.gather(1, drawn[..., None].expand(-1, -1, 8))))
    out.square().sum().backward()
    assert all(bool((q.grad == 0).all()) for q in module.gate.parameters())
    assert all(bool((q.grad != 0).any()) for q in module.projection.parameters())


@pytest.mark.parametrize("gate", ["mlp", "token_mixing"])
def test_every_gate_parameter_gets_a_gradient(gate: str) -> None:
    module = adapter(gate=gate)
    torch.manual_seed(0)
    module(tokens(16)).square().sum().backward()
    gradients = {name: p.grad for name, p in module.gate.named_parameters()}
    # One constant added to all scores changes no softmax, so the last bias alone has gradient zero by mathematics.
    for name, gradient in gradients.items():
        assert gradient is not None
        if name not in ("layers.2.bias",):
            assert bool((gradient != 0).any()), name


@pytest.mark.parametrize("gate", ["mlp", "token_mixing"])
def test_outside_training_and_with_a_frozen_gate_the_value_is_that_of_the_selection(gate: str) -> None:
    module, x = adapter(gate=gate), tokens(16)
    index = module.select(x)
    plain = module.projection(x.gather(1, index[..., None].expand(-1, -1, 8)))
    assert torch.equal(module.eval()(x), plain)
    assert not torch.equal(module.train()(x), plain)
    module.gate.requires_grad_(False)
    assert torch.equal(module(x), plain)


@pytest.mark.parametrize("gate", ["mlp", "token_mixing"])
def test_a_gate_learns_which_token_matters(gate: str) -> None:
    """One token of twelve carries a mark, and the loss rewards what is seen of it: the gate must learn to keep it."""
    module = adapter(gate=gate, k=2)
    module.projection = torch.nn.Identity()  # the loss sees the kept tokens themselves
    optimiser = torch.optim.Adam(module.gate.parameters(), lr=0.02)
    generator = torch.Generator().manual_seed(0)

    def batch(size: int) -> tuple[Tensor, Tensor]:
        x = 0.3 * torch.randn(size, 12, 8, generator=generator)
        place = torch.randint(12, (size,), generator=generator)
        x[torch.arange(size), place, 0] += 2
        return x, place

    def found(size: int = 200) -> float:
        x, place = batch(size)
        return float((module.select(x) == place[:, None]).any(1).float().mean())

    before = found()
    torch.manual_seed(0)
    for _ in range(120):
        x, _ = batch(32)
        loss = -module(x)[..., 0].sum(1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert found() > max(0.9, before)


@pytest.mark.parametrize("gate", ["mlp", "token_mixing"])
def test_what_is_kept_depends_on_the_image_and_stays_in_spatial_order(gate: str) -> None:
    index = adapter(gate=gate, n=64, k=16).select(tokens(8, 64))
    assert len({tuple(row) for row in index.tolist()}) > 1
    assert bool((index.diff(dim=1) > 0).all())


@pytest.mark.parametrize("name", ["strided", "random"])
def test_the_controls_keep_the_same_tokens_of_every_image(name: str) -> None:
    index = adapter(name, n=64, k=12).eval().select(tokens(8, 64))
    assert len({tuple(row) for row in index.tolist()}) == 1
    assert bool((index.diff(dim=1) > 0).all()) and set(index.unique().tolist()) <= set(range(64))


def test_random_select_draws_anew_in_training() -> None:
    module = adapter("random", n=64, k=12).train()
    index = module.select(tokens(8, 64))
    assert len({tuple(row) for row in index.tolist()}) == 8
    assert bool((index.diff(dim=1) > 0).all())


def test_strided_select_is_evenly_spaced() -> None:
    assert adapter("strided").select(tokens(1)).tolist() == [[0, 3, 6, 9]]


def test_average_pool_and_concat_see_whole_runs() -> None:
    """Runs of 12 tokens cut in 4: the mean of each for one, its three tokens in a row for the other."""
    x = tokens(1)
    pool, concat = adapter("average_pool"), adapter("concat")
    runs = x.view(1, 4, 3, 8)
    torch.testing.assert_close(pool(x), pool.projection(runs.mean(2)))
    torch.testing.assert_close(concat(x), concat.projection(runs.reshape(1, 4, 24)))


def test_cross_attention_ignores_the_order_of_tokens() -> None:
    module, x = adapter("cross_attention"), tokens()
    torch.testing.assert_close(module(x), module(x.flip(1)))
    assert not torch.allclose(module(x)[0], module(x)[1])


@pytest.mark.parametrize("k", KEPT)
@pytest.mark.parametrize("name", [name for name in ADAPTERS if name != "none"])
def test_shapes(name: str, k: int) -> None:
    module, x = adapter(name, n=N, k=k), tokens(2, N).requires_grad_()
    out = module(x)
    assert out.shape == (2, k, 6)
    out.sum().backward()
    assert x.grad is not None and bool(torch.isfinite(x.grad).all())


def test_shapes_with_the_token_mixing_gate() -> None:
    for k in KEPT:
        assert adapter(n=N, k=k, gate="token_mixing")(tokens(2, N)).shape == (2, k, 6)


def test_no_compression_is_only_for_all_tokens() -> None:
    assert adapter("none", n=N, k=N)(tokens(2, N)).shape == (2, N, 6)
    for k in KEPT[:-1]:
        with pytest.raises(ValueError, match="without compression"):
            NoCompression(N, k, 8, 6)


def test_equal_scores_keep_the_first_tokens() -> None:
    module = adapter()
    assert module.select(torch.ones(1, 12, 8)).tolist() == [[0, 1, 2, 3]]


def test_bfloat16_keeps_the_type_and_carries_gradient() -> None:
    module = adapter().bfloat16()
    torch.manual_seed(0)
    out = module(tokens().bfloat16())
    assert out.dtype == torch.bfloat16
    out.float().square().sum().backward()
    assert module.gate.layers[0].weight.grad.abs().sum() > 0


def test_impossible_settings_are_refused() -> None:
    for k in (0, 13):
        with pytest.raises(ValueError, match="num_kept must be in"):
            adapter(k=k)
    with pytest.raises(ValueError, match="gate must be"):
        TSelector(12, 4, 8, 6, gate="linear")
    with pytest.raises(ValueError, match="unknown adapter"):
        adapter("perceiver")
