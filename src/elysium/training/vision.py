"""Pretraining of the small vision tower, the embedded counterpart of starting from CLIP.

Dense supervision on pictures of the rendered world: every token says whether a thing covers it, which shape, colour and
texture the thing has, in which of 100 bins each side of its box lies, and the two digits of that bin, as the language
model will have to write them. The heads are then dropped. Next to learning to localise from answers alone this takes
minutes instead of hours at this size.

Launch: `elysium stage backbones` (this, then the language model on top of it).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from tqdm import trange

from elysium.config import VisionPretrainingParams
from elysium.data.scenes import COLOURS, SHAPES, TEXTURES
from elysium.data.shards import decode_jpeg, list_shards, open_shard
from elysium.model.adapters import MlpGate
from elysium.model.vision import ConvVisionConfig, ConvVisionModel
from elysium.samples import VideoRecord
from elysium.training.optimizer import MuonWithAdamW, hidden_matrices

BINS = 100
_MEAN = np.array([0.48145466, 0.4578275, 0.40821073], dtype=np.float32) * 255  # CLIP's
_STD = np.array([0.26862954, 0.26130258, 0.27577711], dtype=np.float32) * 255
_ATTRIBUTES = {"shape": list(SHAPES), "colour": list(COLOURS), "texture": list(TEXTURES)}


class DenseHeads(nn.Module):
    """What every token is asked: objectness, attributes, and the box's sides as bins and as digits."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.object = MlpGate(dim)
        self.attributes = nn.ModuleDict({k: nn.Linear(dim, len(v)) for k, v in _ATTRIBUTES.items()})
        self.box = nn.Linear(dim, 4 * BINS)
        self.digits = nn.Linear(dim, 4 * 2 * 10)

    def loss(self, x_BNC: Tensor, targets: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The sum of the losses, and the mean error of the boxes' sides in bins."""
        covered = targets["object"] > 0
        total = binary_cross_entropy_with_logits(self.object(x_BNC), targets["object"])
        x_MC = x_BNC[covered]
        for name, head in self.attributes.items():
            total = total + cross_entropy(head(x_MC), targets[name][covered])
        logits = self.box(x_MC).view(-1, BINS)
        side = targets["box"][covered].view(-1)
        # A neighbouring bin is nearly right: targets are smoothed over about two bins.
        near = torch.exp(-0.5 * ((torch.arange(BINS) - side[:, None]) / 1.5) ** 2)
        total = total + cross_entropy(logits, near / near.sum(1, keepdim=True))
        digits = torch.stack([side.long() // 10, side.long() % 10], 1).view(-1)
        total = total + 8 * cross_entropy(self.digits(x_MC).view(-1, 10), digits)
        return total, (logits.argmax(1) - side).abs().mean()


def dense_targets(record: VideoRecord, grid: int) -> dict[str, np.ndarray]:
    """Per token of a `grid` x `grid` picture: object in {0, 1}, attribute indices, box sides in bins `[N, 4]`.

    A token belongs to the smallest thing whose box holds its centre; every thing has at least the token at its centre.
    """
    n = grid * grid
    out: dict[str, np.ndarray] = {"object": np.zeros(n, np.float32), "box": np.zeros((n, 4), np.float32)}
    out |= {name: np.zeros(n, np.int64) for name in _ATTRIBUTES}
    yy, xx = (np.mgrid[0:grid, 0:grid].reshape(2, n) + 0.5) / grid
    tracks = [(o, b) for o in record.objects if (b := o.boxes[0]) is not None]
    for track, (x1, y1, x2, y2) in sorted(tracks, key=lambda t: -(t[1][2] - t[1][0]) * (t[1][3] - t[1][1])):
        # Box corners rarely show the thing: the inner ellipse does.
        near = ((xx - (x1 + x2) / 2) / (x2 - x1)) ** 2 + ((yy - (y1 + y2) / 2) / (y2 - y1)) ** 2 < 0.25
        near[min(int((y1 + y2) / 2 * grid), grid - 1) * grid + min(int((x1 + x2) / 2 * grid), grid - 1)] = True
        words = set(track.expression.split())
        out["object"][near] = 1
        out["box"][near] = np.clip(np.floor(np.array([x1, y1, x2, y2]) * BINS), 0, BINS - 1)
        for name, values in _ATTRIBUTES.items():
            out[name][near] = next((i for i, v in enumerate(values) if v in words), 0)
    return out


def pretrain_vision(
    config: ConvVisionConfig, folder: Path, prefix: str, params: VisionPretrainingParams, seed: int
) -> tuple[ConvVisionModel, MlpGate]:
    """Train a tower on the pictures of `folder`, and the gate that tells objects from ground.

    Muon, one cosine. Deterministic for a seed and a thread count.
    """
    torch.manual_seed(seed)
    steps, lr = params.steps, params.lr
    model = ConvVisionModel(config)
    heads = DenseHeads(config.hidden_size)
    parameters = [*model.parameters(), *heads.parameters()]
    hidden = hidden_matrices(model)
    groups = [
        {"params": [q for q in parameters if (id(q) in hidden) is is_hidden], "is_hidden": is_hidden}
        for is_hidden in (True, False)
    ]
    optimizer = MuonWithAdamW(groups, lr, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, lr, total_steps=steps, pct_start=0.05, cycle_momentum=False
    )
    grid = config.image_size // config.patch_size
    bar = trange(steps, desc="vision tower", mininterval=5)
    for step, (pixels, targets) in zip(bar, _batches(folder, prefix, grid, params.batch, seed), strict=False):
        loss, error = heads.loss(model(pixels).last_hidden_state, targets)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % 20 == 0:
            bar.set_postfix_str(f"loss {loss.item():.2f}, sides off by {error.item():.1f}%")
    return model, heads.object


def _batches(folder: Path, prefix: str, grid: int, batch: int, seed: int) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    places = [(p, i) for p in list_shards(folder, prefix) for i in range(len(open_shard(p)))]
    epoch = 0
    while True:
        order = np.random.default_rng([seed, epoch]).permutation(len(places))
        for start in range(0, len(order) - batch + 1, batch):
            records = [open_shard(places[k][0])[places[k][1]] for k in order[start : start + batch]]
            images = np.stack([decode_jpeg(r.frames[0]) for r in records]).astype(np.float32)
            pixels = torch.from_numpy((images - _MEAN) / _STD).permute(0, 3, 1, 2).contiguous()
            rows = [dense_targets(r, grid) for r in records]
            yield pixels, {k: torch.from_numpy(np.stack([row[k] for row in rows])) for k in rows[0]}
        epoch += 1
