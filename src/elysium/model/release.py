"""The checkpoint that the paper's authors released, read into our classes and written back.

Its names: `visual_encoder.vision_model.*` (CLIP), `adapter.{pre_proj.weight, pre_proj.bias, trans_weight, trans_bias}`
(the token-mixing gate), `llm_proj.{0,2}.*` (the projection), `llm.*` (the LLM). Weights stream from file to file, so
the 7B checkpoint needs the memory of one shard; its shapes are checked against a model on the meta device.
"""

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor
from transformers import AutoTokenizer

from elysium.errors import UserError
from elysium.model.checkpoints import SHARD_BYTES, WeightFiles, write_shards
from elysium.model.configuration import ElysiumConfig
from elysium.model.loading import load_config
from elysium.model.modeling import ElysiumForConditionalGeneration
from elysium.model.processing import ElysiumProcessor, image_token

# Released prefix, our prefix.
_PREFIXES = (
    ("visual_encoder.vision_model.", "vision_tower."),
    ("adapter.pre_proj.", "adapter.gate.pre_proj."),
    ("adapter.trans_", "adapter.gate.trans_"),
    ("llm_proj.", "adapter.projection."),
    ("llm.", "language_model."),
)
# Present in the released checkpoint, or in CLIP and LLaMA checkpoints of its time, and without effect on its output.
_UNUSED = re.compile(
    r"adapter\.score_proj\..*"
    r"|visual_encoder\.vision_model\.embeddings\.position_ids"
    r"|llm\.model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq"
)
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True)
class KeyMap:
    """Released name -> our name of every tensor that is used, and the released names that are not."""

    names: dict[str, str]
    unused: list[str]


def released_config() -> ElysiumConfig:
    """CLIP-ViT-L/14 at 336 px and Vicuna-7B with 108 of 576 tokens chosen by the token-mixing gate."""
    return ElysiumConfig(gate="token_mixing", num_kept=108)


def our_name(released: str) -> str | None:
    """Our name of a released tensor; None if it has none."""
    for theirs, ours in _PREFIXES:
        if released.startswith(theirs):
            return ours + released.removeprefix(theirs)
    return None


def released_name(ours: str) -> str:
    """The released name of one of our tensors. Raises KeyError if the released architecture has no such part."""
    for theirs, prefix in _PREFIXES:
        if ours.startswith(prefix):
            return theirs + ours.removeprefix(prefix)
    raise KeyError(ours)


def expected_shapes(config: ElysiumConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of the model, without allocating it."""
    with torch.device("meta"):
        model = ElysiumForConditionalGeneration(config)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def map_keys(shapes: Mapping[str, tuple[int, ...]], config: ElysiumConfig, where: str = "the checkpoint") -> KeyMap:
    """Match released names and shapes with the model of `config`.

    Raises UserError that names what is missing, unknown or of another shape; nothing is guessed.
    """
    expected = expected_shapes(config)
    names: dict[str, str] = {}
    unused: list[str] = []
    wrong: list[str] = []
    for released, shape in shapes.items():
        ours = our_name(released)
        if _UNUSED.fullmatch(released):
            unused.append(released)
        elif ours not in expected:
            wrong.append(f"unknown {released}")
        elif expected[ours] != tuple(shape):
            wrong.append(f"{released} is {list(shape)}, not {list(expected[ours])}")
        else:
            names[released] = ours
    present = {our_name(released) for released in shapes}
    wrong += [f"missing {released_name(ours)}" for ours in expected if ours not in present]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise UserError(
            f"{where}: does not fit the configuration: {'; '.join(wrong[:5])}{more}; "
            "give the sizes of its backbones with --config"
        )
    return KeyMap(names, unused)


def import_release(
    folder: Path,
    out: Path,
    config: ElysiumConfig | None = None,
    tokenizer: Path | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> KeyMap:
    """Read a released checkpoint and write a model folder that `from_pretrained` and the commands take.

    `config` is that of the checkpoint (default: `released_config()`); `tokenizer` a folder with the LLM's tokenizer
    (default: `folder`). Without one only the model is written. Raises UserError on weights that do not fit.
    """
    _apart(folder, out)
    config = config or released_config()
    files = WeightFiles(folder)
    keys = map_keys(files.shapes, config, str(folder))
    processor = _processor(tokenizer or folder, config, required=tokenizer is not None)
    dtypes: list[torch.dtype] = []

    def renamed(name: str, tensor: Tensor) -> tuple[str, Tensor]:
        dtypes.append(tensor.dtype)
        return keys.names[name], tensor

    stream = _progress(files.tensors(keys.names), "import", len(keys.names))
    write_shards(out, (renamed(*item) for item in stream), shard_bytes)
    config.dtype = dtypes[0]
    config.architectures = [ElysiumForConditionalGeneration.__name__]
    config.save_pretrained(out)
    if processor is not None:
        processor.save_pretrained(out)
    return keys


def export_release(folder: Path, out: Path, shard_bytes: int = SHARD_BYTES) -> KeyMap:
    """Write a model folder back under the released names. Raises UserError if its adapter is not the released one."""
    _apart(folder, out)
    config = load_config(folder)
    if (config.adapter, config.gate) != ("tselector", "token_mixing"):
        raise UserError(
            f"{folder}: only a T-Selector with the token_mixing gate has a released form, "
            f"this is {config.adapter} with gate {config.gate}"
        )
    files = WeightFiles(folder)
    released = {ours: released_name(ours) for ours in expected_shapes(config)}
    absent = sorted(set(released) ^ set(files.shapes))
    if absent:
        raise UserError(f"{folder}: weights and configuration differ, first at {absent[0]}")
    keys = map_keys({released[ours]: shape for ours, shape in files.shapes.items()}, config, str(folder))
    stream = _progress(files.tensors(released), "export", len(released))
    write_shards(out, ((released[name], tensor) for name, tensor in stream), shard_bytes)
    for name in _TOKENIZER_FILES:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)
    return keys


def _progress(tensors: Iterator[tuple[str, Tensor]], what: str, total: int) -> Iterable[tuple[str, Tensor]]:
    return track(tensors, what, total=total, transient=True, console=Console(stderr=True))


def _apart(folder: Path, out: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    if out.resolve() == folder.resolve():
        raise UserError(f"{out}: is the folder that is read; give another --out")


def _processor(folder: Path, config: ElysiumConfig, required: bool) -> ElysiumProcessor | None:
    """The processor around the tokenizer of a folder, which gets the image token; sets `config.image_token_id`."""
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES[:2]):
        if required:
            raise UserError(f"{folder}: no tokenizer there (tokenizer.json or tokenizer.model)")
        return None
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder}: not a readable tokenizer ({str(error).splitlines()[0]})") from error
    config.image_token_id = image_token(tokenizer)
    return ElysiumProcessor(
        ElysiumProcessor.square_images(config.vision_config.image_size),
        tokenizer,
        num_kept=config.num_kept,
        bins=config.bins,
    )
