"""conf/ composes into the dataclasses of params.yaml, and what does not fit is said in one line."""

from dataclasses import fields
from pathlib import Path

import pytest

from elysium.compose import compose_config, write_params
from elysium.config import STAGES, TRAINING_STAGES, Params, TrainParams, check_params, load_params
from elysium.errors import UserError

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
PRESETS = sorted(path.stem for path in (CONF / "preset").glob("*.yaml"))


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_composes_into_params(preset: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    written = write_params([f"preset={preset}"], path, CONF)
    params = load_params(path)
    assert params == written
    assert params.preset == preset
    assert set(params.train) == set(TRAINING_STAGES)
    for stage in STAGES[2:6]:
        assert params.train[stage].mixture, f"{stage} has nothing to train on"
        assert params.train[stage].global_batch % params.launcher.processes == 0


@pytest.mark.parametrize("preset", PRESETS)
def test_conf_says_every_training_value(preset: str) -> None:
    """No value of a training stage comes from a default that a reader of conf/ cannot see."""
    config = compose_config([f"preset={preset}"], CONF)
    for stage in TRAINING_STAGES:
        assert set(config.train[stage]) == {f.name for f in fields(TrainParams)}


def test_the_committed_params_are_those_of_the_tiny_preset(tmp_path: Path) -> None:
    write_params(["preset=tiny"], tmp_path / "params.yaml", CONF)
    assert (tmp_path / "params.yaml").read_text() == (ROOT / "params.yaml").read_text()


def test_the_7b_preset_has_the_papers_values() -> None:
    """Section 4.2 of the paper; batches are per GPU there and global here."""
    params = check_params(_plain(["preset=elysium_7b"]))
    train = params.train
    assert train["warmup"].trainable == ["adapter"]
    assert (train["warmup"].lr, train["warmup"].global_batch) == (2e-3, 32 * 8)
    assert (train["pretrain"].steps, train["pretrain"].lr, train["pretrain"].global_batch) == (30_000, 5e-5, 16 * 32)
    short, long = train["finetune_short"], train["finetune_long"]
    assert (short.steps, short.lr, short.global_batch) == (20_000, 5e-5, 16 * 32)
    assert (short.frames_min, short.frames_max, short.interval_min, short.interval_max) == (2, 8, 1, 60)
    assert (long.steps, long.frames_min, long.frames_max, long.micro_batch, long.global_batch) == (2_000, 32, 32, 1, 32)
    assert (params.model.image_size, params.model.vision_feature_layer, params.adapter.num_kept) == (336, -2, 108)
    assert params.launcher.processes == 32


def test_an_override_reaches_params() -> None:
    params = check_params(_plain(["preset=debug", "train.warmup.lr=0.25", "adapter=concat"]))
    assert params.train["warmup"].lr == 0.25
    assert params.adapter.name == "concat"


def test_composition_is_deterministic_and_leaves_an_equal_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    write_params(["preset=debug"], path, CONF)
    first, stamp = path.read_bytes(), path.stat().st_mtime_ns
    write_params(["preset=debug"], path, CONF)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (first, stamp)
    assert [p.name for p in tmp_path.iterdir()] == ["params.yaml"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("preset=nope", "preset/nope"),
        ("train.warmup.lrr=1", "train.warmup.lrr"),
        ("train.warmup.steps=many", "train.warmup.steps should be of type int"),
        ("train.warmup.steps=true", "train.warmup.steps should be of type int"),
        ("+train.warmup.stepz=1", "unknown key train.warmup.stepz"),
        ("nonsense", "nonsense"),
        ("===", "==="),
    ],
)
def test_a_bad_override_is_one_line_and_writes_nothing(override: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        write_params([override], tmp_path / "params.yaml", CONF)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("world: {imagez: 3}", "unknown key world.imagez"),
        ("world: {images: 1.5}", "world.images should be of type int"),
        ("curation: {inputs: {a: {videos: v, captions: c}}}", "curation.inputs.a.grounding is missing"),
        ("train: {warmup: {betas: [0.9, x]}}", "train.warmup.betas.1"),
        ("eval: {tasks: rec}", "eval.tasks should be of type list"),
        ("world: 3", "world should be of type WorldParams"),
        ("a: [", "params.yaml"),
    ],
)
def test_a_bad_params_file_names_the_file_and_the_key(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"params\.yaml") as caught:
        load_params(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_params_file_gives_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").touch()
    assert load_params(tmp_path / "params.yaml") == Params()


def test_a_missing_params_file_says_how_to_write_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="elysium compose"):
        load_params(tmp_path / "params.yaml")


def _plain(overrides: list[str]) -> object:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(compose_config(overrides, CONF))
