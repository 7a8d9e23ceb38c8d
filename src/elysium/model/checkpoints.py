"""Weight files of a checkpoint folder, one tensor in memory at a time; nothing is unpickled."""

import json
import pickle
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from elysium.errors import UserError

SHARD_BYTES = 4 << 30


class WeightFiles:
    """The tensors of `*.safetensors`, or else of `pytorch_model*.bin`, in a folder; each is read when asked for.

    `shapes` is known from the files' headers. Raises UserError if there is no such file, one cannot be read, one holds
    anything but tensors, or two hold the same name.
    """

    def __init__(self, folder: Path) -> None:
        files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
        if not files:
            raise UserError(f"{folder}: no weights there (*.safetensors or pytorch_model*.bin)")
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._file: dict[str, Path] = {}
        for file in files:
            for name, shape in _shapes(file).items():
                if name in self.shapes:
                    raise UserError(f"{file}: {name} is in {self._file[name].name} too; keep one set of weights")
                self.shapes[name], self._file[name] = shape, file

    def tensors(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """The named tensors, file by file."""
        wanted = set(names)
        for file in dict.fromkeys(self._file.values()):
            mine = [name for name, at in self._file.items() if at == file and name in wanted]
            if file.suffix == ".safetensors":
                with safe_open(file, "pt") as opened:
                    for name in mine:
                        yield name, opened.get_tensor(name)
            elif mine:
                mapped = _load_bin(file)
                for name in mine:
                    yield name, mapped[name].clone()  # a copy: tensors of one file may share their storage


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    if file.suffix == ".safetensors":
        try:
            with safe_open(file, "pt") as opened:
                return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise UserError(f"{file}: not a readable safetensors file ({error})") from error
    return {name: tuple(tensor.shape) for name, tensor in _load_bin(file).items()}


def _load_bin(file: Path) -> dict[str, Tensor]:
    """The tensors of a `torch.save` file, mapped from disk; a file with any other object is refused."""
    try:
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError) as error:
        raise UserError(f"{file}: not a readable file of tensors ({str(error).splitlines()[0]})") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{file}: not a state dict (a mapping of names to tensors)")
    return state


def write_shards(folder: Path, tensors: Iterable[tuple[str, Tensor]], shard_bytes: int = SHARD_BYTES) -> None:
    """Write `model-*.safetensors` and their index as transformers reads them; at most one shard is in memory."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in [*folder.glob("model*.safetensors"), *folder.glob("model.safetensors.index.json")]:
        stale.unlink()
    shards: list[list[str]] = []
    total = 0
    held: dict[str, Tensor] = {}

    def flush() -> None:
        save_file(held, folder / f"part-{len(shards)}", metadata={"format": "pt"})
        shards.append(list(held))
        held.clear()

    for name, tensor in tensors:
        if held and sum(t.nbytes for t in held.values()) + tensor.nbytes > shard_bytes:
            flush()
        held[name] = tensor.contiguous()
        total += tensor.nbytes
    flush()
    if len(shards) == 1:
        (folder / "part-0").rename(folder / "model.safetensors")
        return
    weight_map: dict[str, str] = {}
    for i, names in enumerate(shards):
        file = f"model-{i + 1:05}-of-{len(shards):05}.safetensors"
        (folder / f"part-{i}").rename(folder / file)
        weight_map |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")
