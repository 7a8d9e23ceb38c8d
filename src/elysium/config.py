"""The frozen dataclasses of `params.yaml`, the resolved configuration that stages read.

`conf/` (Hydra) is the truth; `elysium compose` resolves it once into `params.yaml`; `load_params` checks that file
against the dataclasses below. Nothing below this edge sees a DictConfig.
"""

from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from elysium.errors import UserError

STAGES = ("world", "curate", "warmup", "pretrain", "finetune_short", "finetune_long", "evaluate")
TRAINING_STAGES = ("reading", "backbones", "album", "warmup", "pretrain", "finetune_short", "finetune_long")


@dataclass(frozen=True)
class WorldParams:
    """The rendered world: sizes in pixels, lengths in frames. Train and evaluation seeds never meet."""

    seed: int = 0
    images: int = 12000
    image_size: int = 64
    train_videos: int = 800
    train_frames: int = 32
    photo_videos: int = 0  # cut-outs of photographs, of `train_frames` frames
    eval_videos: int = 60
    eval_frames: int = 16
    eval_size: int = 128
    long_videos: int = 0  # held out like `eval`, tracked whole by chained clips
    long_frames: int = 64
    raw_videos: int = 48
    raw_frames: int = 24
    raw_size: int = 192
    max_objects: int = 4
    workers: int = 2


@dataclass(frozen=True)
class CurationInput:
    """One folder of captioned videos (forms of `captions`: curation/sources.py) and what grounds its phrases."""

    videos: str
    captions: str
    grounding: str  # shapes | coco | grounding_dino
    tracker: str = "csrt"
    eval_fraction: float = 0.0


@dataclass(frozen=True)
class CurationParams:
    """Section 3.2 of the paper: thresholds, and what runs it."""

    inputs: dict[str, CurationInput] = field(default_factory=dict)
    grounding_threshold: float = 0.6
    tracking_threshold: float = 0.8
    min_iou: float = 0.3
    max_drift: float = 0.75  # box diagonals between where the Kalman filter expects the box and where it is
    videos_per_shard: int = 16
    workers: int = 2
    frame_size: int = 0  # longest side of the stored frames in pixels; 0 keeps the source's
    frame_stride: int = 1
    max_frames: int = 64
    videos_per_caption: int = 0  # videos that may share one caption, the later ones lose it; 0: any number
    runner: str = "local"  # local | ray
    ray_address: str = ""  # ray://host:10001, auto, or nothing: Ray is started on this machine
    gpus_per_worker: float = 0.0  # of Ray's
    grounding_dino: str = "IDEA-Research/grounding-dino-base"
    sam2: str = "facebook/sam2.1-hiera-tiny"  # checkpoint of the tracker sam2


@dataclass(frozen=True)
class ModelParams:
    """Backbones by their transformers configurations, or by folders to start from."""

    vision: dict[str, Any] = field(default_factory=dict)
    text: dict[str, Any] = field(default_factory=dict)
    vision_init: str | None = None
    text_init: str | None = None
    tokenizer: str = "src/elysium/assets/tokenizer"
    image_size: int = 64
    vision_feature_layer: int = -1
    bins: int = 100
    timestamps: bool = True  # "Frame 1: " before each frame's tokens
    max_frames: int = 32  # a video is tracked in one pass up to here, in chained clips beyond
    system: str = ""  # the sentence before the conversation; Vicuna's at the paper's size
    attn_implementation: str = "sdpa"


@dataclass(frozen=True)
class AdapterParams:
    """The visual token compressor: `num_kept` of the vision tower's tokens per frame."""

    name: str = "tselector"
    num_kept: int = 12
    gate: str = "mlp"


@dataclass(frozen=True)
class MixtureSource:
    """Shards `PREFIX*.tar` of a folder, drawn with a weight; `tasks` are drawn with their weights.

    `turns` is the largest number of questions asked about the same frames in one sample.
    """

    folder: str
    prefix: str = ""
    weight: float = 1.0
    tasks: dict[str, float] = field(default_factory=dict)
    turns: int = 1


@dataclass(frozen=True)
class TrainParams:
    """One training stage (section 4.2)."""

    init_from: str | None = None  # a training stage's name, a model folder, or nothing
    num_kept: int | None = None  # replaces the adapter's
    trainable: list[str] = field(default_factory=lambda: ["vision", "adapter", "text"])
    mixture: dict[str, MixtureSource] = field(default_factory=dict)
    steps: int = 100
    global_batch: int = 32
    micro_batch: int = 16
    optimizer: str = "adamw"  # or "muon", "adamw8bit"
    lr: float = 5e-5
    warmup_steps: int = 0
    gate_from: int = 0  # the first step in which a T-Selector's gate learns; until then only its projection does
    weight_decay: float = 0.0
    betas: list[float] = field(default_factory=lambda: [0.9, 0.95])
    clip_grad: float = 1.0
    frames_min: int = 2
    frames_max: int = 8
    interval_min: int = 1
    interval_max: int = 60
    max_length: int = 2048
    packing: bool = True  # several samples in a row instead of padding
    lora_rank: int = 0  # above 0 the LLM learns through low-rank updates, merged at the end
    gradient_checkpointing: bool = False
    save_every: int = 0  # steps between checkpoints; 0: none but on SIGTERM
    keep_checkpoints: int = 2
    log_every: int = 20
    draw_every: int = 0  # steps between pictures of true and predicted boxes; 0: none


@dataclass(frozen=True)
class EvalParams:
    """What is evaluated and how videos are cut (section 4.3)."""

    model: str = "finetune_long"
    tasks: list[str] = field(default_factory=lambda: ["rec", "sot", "rsot", "reg"])
    limit: int = 0
    clip: int = 8
    batch_size: int = 32
    frames: int = 0  # evaluate on so many evenly spaced frames of each video; 0: all
    render: int = 4
    csrt: bool = True  # the baseline OpenCV's CSRT: about 0.05 s per frame, object and tracking task


@dataclass(frozen=True)
class VisionPretrainingParams:
    """Dense pretraining of the small vision tower, the first half of the `backbones` stage."""

    images: int = 60000
    steps: int = 2500
    batch: int = 64
    lr: float = 3e-3


@dataclass(frozen=True)
class LauncherParams:
    """Where training processes run."""

    name: str = "local"  # local | hostfile | slurm
    processes: int = 2
    threads: int = 1
    loader_threads: int = 1  # prepare batches in each process; the order of samples does not depend on them
    hostfile: str = ""
    master_port: int = 0  # 0: any free port


@dataclass(frozen=True)
class MlflowParams:
    """The tracking store; the environment variable MLFLOW_TRACKING_URI wins over `tracking_uri`."""

    tracking_uri: str = "sqlite:///mlflow.db"
    experiment: str = "elysium"
    registered_model: str = "elysium"


@dataclass(frozen=True)
class Params:
    """Everything a stage may read."""

    preset: str = "tiny"
    seed: int = 0
    artifacts: str = "artifacts"
    world: WorldParams = field(default_factory=WorldParams)
    curation: CurationParams = field(default_factory=CurationParams)
    model: ModelParams = field(default_factory=ModelParams)
    adapter: AdapterParams = field(default_factory=AdapterParams)
    vision_pretraining: VisionPretrainingParams = field(default_factory=VisionPretrainingParams)
    train: dict[str, TrainParams] = field(default_factory=dict)
    eval: EvalParams = field(default_factory=EvalParams)
    deepspeed: dict[str, Any] = field(default_factory=dict)
    launcher: LauncherParams = field(default_factory=LauncherParams)
    mlflow: MlflowParams = field(default_factory=MlflowParams)

    def stage_dir(self, stage: str) -> Path:
        """The output folder of a stage."""
        return Path(self.artifacts) / stage


def load_params(path: Path) -> Params:
    """Read and check `params.yaml`. Raises UserError naming the file and the key that does not fit."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; write it with `elysium compose preset=tiny`")
    try:
        return check_params(OmegaConf.to_container(OmegaConf.load(path), resolve=True))
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: {reason}; compare with conf/ or run `elysium compose`") from error


def check_params(config: Any) -> Params:
    """The dataclasses of a resolved configuration (plain dicts and lists).

    Raises ValueError naming the key that is unknown, is missing or has a value of another type.
    """
    params = _build(Params, config, "")
    assert isinstance(params, Params)
    return params


def _build(kind: Any, value: Any, key: str) -> Any:
    """`value` as the annotated type `kind`; `key` is the dotted path for messages."""
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin is UnionType:  # X | None
        return None if value is None else _build(args[0], value, key)
    if origin is dict and isinstance(value, dict):
        return {str(name): _build(args[1], item, f"{key}.{name}") for name, item in value.items()}
    if origin is list and isinstance(value, list):
        return [_build(args[0], item, f"{key}.{i}") for i, item in enumerate(value)]
    if is_dataclass(kind) and isinstance(value, dict):
        known = get_type_hints(kind)
        prefix = f"{key}." if key else ""
        for name in value:
            if name not in known:
                raise ValueError(f"unknown key {prefix}{name} (known there: {', '.join(known)})")
        for item in fields(kind):
            if item.name not in value and item.default is MISSING and item.default_factory is MISSING:
                raise ValueError(f"{prefix}{item.name} is missing")
        values = {name: _build(known[name], item, prefix + name) for name, item in value.items()}
        return kind(**values)  # type: ignore[operator]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    plain = origin or kind
    if isinstance(value, plain) and not (plain is int and isinstance(value, bool)):
        return value
    raise ValueError(f"{key or 'the file'} should be of type {getattr(plain, '__name__', plain)}, not {value!r}")
