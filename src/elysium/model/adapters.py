"""Visual token compressors: the T-Selector (paper, section 4.1, eq. 2), its rivals of Table 7 and three controls.

One signature, `x_BNC -> t_BKD`. Shape suffixes: B frames, N vision tokens, K kept tokens, C vision width, D LLM width.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn


class Adapter(nn.Module):
    """What every compressor has in common: the token counts and the projection to the LLM's width."""

    def __init__(self, num_tokens: int, num_kept: int, vision_dim: int, llm_dim: int) -> None:
        super().__init__()
        if not 1 <= num_kept <= num_tokens:
            raise ValueError(f"num_kept must be in [1, {num_tokens}], got {num_kept}")
        self.num_tokens, self.num_kept = num_tokens, num_kept
        self.vision_dim, self.llm_dim = vision_dim, llm_dim

    def _projection(self, in_dim: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(in_dim, self.llm_dim), nn.GELU(), nn.Linear(self.llm_dim, self.llm_dim))


class _Selector(Adapter):
    """Keeps K of the N tokens, in spatial order, then projects them. Subclasses choose which."""

    def __init__(self, num_tokens: int, num_kept: int, vision_dim: int, llm_dim: int) -> None:
        super().__init__(num_tokens, num_kept, vision_dim, llm_dim)
        self.projection = self._projection(vision_dim)

    def select(self, x_BNC: Tensor) -> Tensor:
        """Indices of the kept tokens, `[B, K]`, ascending."""
        raise NotImplementedError

    def forward(self, x_BNC: Tensor) -> Tensor:
        return self.projection(_take(x_BNC, self.select(x_BNC)))


class TSelector(_Selector):
    """`T = MLP(KeepTopK(softmax(gate(F)), k, F))`, eq. 2 of the paper, with a gate that learns.

    Top-k gives the gate no gradient, and scaling the kept tokens by their scores tells next to nothing: the first
    normalisation of the LLM takes a token's scale away. So while training, the kept tokens are drawn by their scores,
    each is paired with a token that was not kept, and some are mixed with it, `a * kept + (1 - a) * other` with a
    uniform in [0, 1]. Over `a`, the mean of the loss's derivative is exactly the loss with the kept token minus the
    loss with the other: what swapping them costs. With `p = p_kept / (p_kept + p_other)`, the probability of preferring
    the one to the other under eq. 2's softmax, a pair is mixed with probability 4 p (1 - p), so that the gate's
    expected gradient is that of `p * L(kept) + (1 - p) * L(other)`, and a gate that is sure trains as it selects.
    Outside training, and with the gate frozen, the value is that of eq. 2.

    While `held` is true the gate does not learn, and the projection sees tokens drawn by the scores as they are: what a
    swap costs says nothing before the LLM can read the projected tokens.

    `gate` is "mlp" (each token scored by itself) or "token_mixing" (the released checkpoint's: every score sees every
    token through one N x N matrix). The scores and the selection are computed in float32.
    """

    def __init__(self, num_tokens: int, num_kept: int, vision_dim: int, llm_dim: int, gate: str = "mlp") -> None:
        super().__init__(num_tokens, num_kept, vision_dim, llm_dim)
        self.held = False
        if gate == "mlp":
            self.gate: nn.Module = MlpGate(vision_dim)
        elif gate == "token_mixing":
            self.gate = TokenMixingGate(num_tokens, vision_dim)
        else:
            raise ValueError(f'gate must be "mlp" or "token_mixing", got {gate!r}')

    def scores(self, x_BNC: Tensor) -> Tensor:
        """Softmax scores of the gate over the N tokens, `[B, N]`, float32."""
        return torch.softmax(self.gate(x_BNC).float(), dim=-1)

    def select(self, x_BNC: Tensor) -> Tensor:
        return _top_k(self.scores(x_BNC), self.num_kept)

    def forward(self, x_BNC: Tensor) -> Tensor:
        log_p_BN = torch.log_softmax(self.gate(x_BNC).float(), dim=-1)
        learns = self.training and self.num_kept < self.num_tokens and next(self.gate.parameters()).requires_grad
        if not learns:
            return self.projection(_take(x_BNC, _top_k(log_p_BN, self.num_kept)))
        index_BK = self.explore(log_p_BN)
        t_BKD = self.projection(_take(x_BNC, index_BK))
        if self.held:
            return t_BKD + 0.0 * log_p_BN.sum().to(t_BKD.dtype)  # a gradient of zero: ZeRO waits for every parameter's
        # M slots, each with a partner among the tokens that were not kept
        slot_BM, other_BM = self.draw_partners(index_BK)
        odds_BM = log_p_BN.gather(1, index_BK.gather(1, slot_BM)) - log_p_BN.gather(1, other_BM)
        a_BM = self.draw_weights(torch.sigmoid(odds_BM.detach()))
        mixed_BM = (a_BM < 1).to(odds_BM)
        a_BM = a_BM + mixed_BM * (odds_BM - odds_BM.detach()) / 4  # the value a, the gradient of the scores
        kept_BMD, other_BMD = _take(t_BKD, slot_BM), self.projection(_take(x_BNC, other_BM))
        mixture_BMD = other_BMD + a_BM[..., None].to(t_BKD.dtype) * (kept_BMD - other_BMD)
        return t_BKD.scatter(1, slot_BM[..., None].expand_as(mixture_BMD), mixture_BMD)

    def explore(self, log_p_BN: Tensor) -> Tensor:
        """K tokens drawn by their probabilities without replacement (Gumbel top-k), `[B, K]`, ascending."""
        gumbel_BN = -torch.empty_like(log_p_BN).exponential_().log()
        return _top_k(log_p_BN + gumbel_BN, self.num_kept)

    def draw_partners(self, index_BK: Tensor) -> tuple[Tensor, Tensor]:
        """Slots and their partners (tokens that were not kept, each once), `[B, M]` each."""
        b, k = index_BK.shape
        m = min(k, self.num_tokens - k)
        device = index_BK.device
        free_BN = torch.rand(b, self.num_tokens, device=device).scatter(1, index_BK, -1.0)
        return torch.rand(b, k, device=device).topk(m).indices, free_BN.topk(m).indices

    @staticmethod
    def draw_weights(p_BM: Tensor) -> Tensor:
        """The weight of each kept token: uniform in [0, 1) with probability 4 p (1 - p), else 1 (not mixed)."""
        mixed_BM = torch.rand_like(p_BM) < 4 * p_BM * (1 - p_BM)
        return torch.where(mixed_BM, torch.rand_like(p_BM), torch.ones_like(p_BM))


def _take(x_BNC: Tensor, index_BK: Tensor) -> Tensor:
    """The tokens with these indices, `[B, K, C]`."""
    return x_BNC.gather(1, index_BK[..., None].expand(-1, -1, x_BNC.shape[-1]))


def _top_k(p_BN: Tensor, k: int) -> Tensor:
    """Indices `[B, k]` of the largest scores, in spatial order; ties go to the first tokens."""
    order_BN = torch.argsort(p_BN.detach(), dim=-1, descending=True, stable=True)
    return order_BN[:, :k].sort(dim=-1).values


class MlpGate(nn.Module):
    """A score per token from the token alone: a two-layer MLP, `x_BNC -> s_BN`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, 1))

    def forward(self, x_BNC: Tensor) -> Tensor:
        return self.layers(x_BNC).squeeze(-1)


class TokenMixingGate(nn.Module):
    """The released checkpoint's gate: tokens to scalars, then one linear map over the tokens, `x_BNC -> s_BN`."""

    def __init__(self, num_tokens: int, dim: int) -> None:
        super().__init__()
        self.pre_proj = nn.Linear(dim, 1)
        self.trans_weight = nn.Parameter(torch.empty(num_tokens, num_tokens))
        self.trans_bias = nn.Parameter(torch.zeros(num_tokens))
        # Near the identity, so that at first the token's own scalar decides.
        nn.init.normal_(self.trans_weight, std=0.1 / math.sqrt(num_tokens))
        with torch.no_grad():
            self.trans_weight.add_(torch.eye(num_tokens))

    def forward(self, x_BNC: Tensor) -> Tensor:
        return self.pre_proj(x_BNC).squeeze(-1) @ self.trans_weight + self.trans_bias


class StridedSelect(_Selector):
    """Control: the same evenly spaced tokens of every frame."""

    def select(self, x_BNC: Tensor) -> Tensor:
        index_K = torch.arange(self.num_kept, device=x_BNC.device) * self.num_tokens // self.num_kept
        return index_K.expand(x_BNC.shape[0], -1)


class RandomSelect(_Selector):
    """Control: tokens drawn anew for each frame; outside training one fixed draw serves all frames."""

    def select(self, x_BNC: Tensor) -> Tensor:
        if self.training:
            draw_BN = torch.rand(x_BNC.shape[0], self.num_tokens)
        else:
            generator = torch.Generator().manual_seed(0)
            draw_BN = torch.rand(1, self.num_tokens, generator=generator).expand(x_BNC.shape[0], -1)
        return _top_k(draw_BN.to(x_BNC.device), self.num_kept)


class NoCompression(Adapter):
    """Every token, projected ("None" in Table 7). Needs `num_kept == num_tokens`."""

    def __init__(self, num_tokens: int, num_kept: int, vision_dim: int, llm_dim: int) -> None:
        super().__init__(num_tokens, num_kept, vision_dim, llm_dim)
        if num_kept != num_tokens:
            raise ValueError(f"without compression num_kept is num_tokens ({num_tokens}), got {num_kept}")
        self.projection = self._projection(vision_dim)

    def forward(self, x_BNC: Tensor) -> Tensor:
        return self.projection(x_BNC)


def _groups(num_tokens: int, num_kept: int) -> Tensor:
    """The group of each token when N tokens are cut into K runs whose lengths differ by at most one, `[N]`."""
    return torch.arange(num_tokens) * num_kept // num_tokens


class AveragePool(Adapter):
    """Control: the mean of each of K runs of tokens, projected."""

    def __init__(self, num_tokens: int, num_kept: int, vision_dim: int, llm_dim: int) -> None:
        super().__init__(num_tokens, num_kept, vision_dim, llm_dim)
        self.projection = self._projection(vision_dim)

    def forward(self, x_BNC: Tensor) -> Tensor:
        member_KN = nn.functional.one_hot(_groups(self.num_tokens, self.num_kept), self.num_kept).T
        weight_KN = (member_KN / member_KN.sum(1, keepdim=True)).to(x_BNC)
        return self.projection(weight_KN @ x_BNC)


class Concat(Adapter):
    """Rival of Table 7: each run of ceil(N / K) neighbouring tokens is concatenated, then projected (MiniGPT-v2)."""

    def __init__(self, num_tokens: int, num_kept: int, vision_dim: int, llm_dim: int) -> None:
        super().__init__(num_tokens, num_kept, vision_dim, llm_dim)
        self.run = math.ceil(num_tokens / num_kept)
        self.projection = self._projection(vision_dim * self.run)

    def forward(self, x_BNC: Tensor) -> Tensor:
        b, _, c = x_BNC.shape
        cells = x_BNC.new_zeros(b, self.num_kept * self.run, c)  # runs shorter than the longest end in zeros
        cell_N = _groups(self.num_tokens, self.num_kept) * self.run + self._slots()
        cells = cells.index_copy(1, cell_N.to(x_BNC.device), x_BNC)
        return self.projection(cells.reshape(b, self.num_kept, self.run * c))

    def _slots(self) -> Tensor:
        counts = _groups(self.num_tokens, self.num_kept).bincount(minlength=self.num_kept)
        return torch.cat([torch.arange(int(n)) for n in counts])


class CrossAttention(Adapter):
    """Rival of Table 7: one layer of cross-attention from K learned queries (Qwen-VL), then the projection."""

    def __init__(self, num_tokens: int, num_kept: int, vision_dim: int, llm_dim: int) -> None:
        super().__init__(num_tokens, num_kept, vision_dim, llm_dim)
        self.query = nn.Parameter(torch.randn(num_kept, vision_dim) * 0.02)
        heads = next(h for h in (8, 4, 2, 1) if vision_dim % h == 0)
        self.norm = nn.LayerNorm(vision_dim)
        self.attention = nn.MultiheadAttention(vision_dim, heads, batch_first=True)
        self.projection = self._projection(vision_dim)

    def forward(self, x_BNC: Tensor) -> Tensor:
        query_BKC = self.query.expand(x_BNC.shape[0], -1, -1)
        x_BNC = self.norm(x_BNC)
        return self.projection(self.attention(query_BKC, x_BNC, x_BNC, need_weights=False)[0])


ADAPTERS: dict[str, Callable[..., Adapter]] = {
    "tselector": TSelector,
    "concat": Concat,
    "cross_attention": CrossAttention,
    "none": NoCompression,
    "strided": StridedSelect,
    "random": RandomSelect,
    "average_pool": AveragePool,
}


def build_adapter(name: str, num_tokens: int, num_kept: int, vision_dim: int, llm_dim: int, gate: str) -> Adapter:
    """The adapter of that name; `gate` is for the T-Selector. Raises ValueError on an unknown name or impossible K."""
    if name not in ADAPTERS:
        raise ValueError(f"unknown adapter {name!r}; there are {', '.join(ADAPTERS)}")
    if name == "tselector":
        return TSelector(num_tokens, num_kept, vision_dim, llm_dim, gate)
    return ADAPTERS[name](num_tokens, num_kept, vision_dim, llm_dim)
