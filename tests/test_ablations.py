"""The ablation's bookkeeping: which variants there are, what they keep, and how seeds become a row."""

import json
import math
from pathlib import Path

import pytest
import yaml

from elysium import ablations, table7
from elysium.compose import compose_config
from elysium.config import Params, check_params
from elysium.errors import UserError

ROOT = Path(__file__).parents[1]


@pytest.fixture
def params(tmp_path: Path) -> Params:
    from omegaconf import OmegaConf

    overrides = ["preset=tiny", "model.vision_init=null", f"artifacts={tmp_path}/artifacts"]
    return check_params(OmegaConf.to_container(compose_config(overrides)))


def test_shares_keep_the_papers_token_counts():
    curve = [v for name, v in ablations.variants().items() if name.startswith("tselector") and name.count("-") == 1]
    kept = [v.kept(576) for v in curve]
    assert kept == [1, 36, 72, 108, 144, 256, 288]
    assert ablations.variants()["none"].kept(576) == 576


def test_the_stages_of_dvc_are_the_variants():
    stage = yaml.safe_load((ROOT / "ablations" / "dvc.yaml").read_text())["stages"]["ablation"]
    assert stage["matrix"]["variant"] == list(ablations.variants())


def test_a_variant_changes_adapter_seed_and_folder_alone(params: Params):
    from dataclasses import replace

    params = with_stages(params, ablations.STAGES)
    own = ablations.variant_params(params, ablations.variants()["random-3_16"], 2)
    assert (own.adapter.name, own.adapter.num_kept, own.seed) == ("random", 12, 2)
    assert replace(own, adapter=params.adapter, seed=params.seed, artifacts=params.artifacts) == params
    assert own.train["pretrain"].mixture["images"].folder == params.train["pretrain"].mixture["images"].folder


def with_stages(params: Params, stages: tuple[str, ...]) -> Params:
    from dataclasses import replace

    return replace(params, train={stage: params.train[stage] for stage in stages})


def test_a_fixed_gate_and_other_bins_change_just_that(params: Params):
    from dataclasses import replace

    params = with_stages(params, ablations.STAGES)
    fixed = ablations.variant_params(params, ablations.variants()["tselector-3_16-fixed_gate"], params.seed)
    assert [fixed.train[stage].trainable for stage in ablations.STAGES] == [
        ["projection"],
        ["vision", "projection", "text"],
    ]
    fine = ablations.variant_params(params, ablations.variants()["tselector-3_16-1000_bins"], params.seed)
    assert replace(fine, model=params.model, artifacts=params.artifacts) == params
    assert fine.model.bins == 1000


def test_variants_that_track_are_finetuned_on_the_world_alone_and_differ_by_time_stamps_alone(params: Params):
    from dataclasses import replace

    stamped, bare = (
        ablations.variant_params(params, ablations.variants()[f"tselector-3_16-tracking{end}"], 1)
        for end in ("", "-no_timestamps")
    )
    assert list(stamped.train) == list(ablations.TRACKING_STAGES)
    assert set(stamped.train["finetune_short"].mixture) == {"images", "world"}
    assert "curated" in params.train["finetune_short"].mixture
    assert (stamped.model.timestamps, bare.model.timestamps) == (True, False)
    assert replace(bare, model=stamped.model, artifacts=stamped.artifacts) == stamped


def test_seeds_become_a_mean_and_students_interval():
    runs = [
        {"variant": "none", "seed": s, "tokens": 64, "gflops_8_frames": 1.0, "acc50": a, "loss": 0.5}
        for s, a in enumerate((70.0, 73.0, 76.0))
    ]
    (row,) = table7.rows(runs)
    assert row["acc50"] == 73.0 and row["seeds"] == 3
    assert row["acc50_interval"] == pytest.approx(4.303 * 3.0 / math.sqrt(3), abs=0.01)
    (single,) = table7.rows(runs[:1])
    assert math.isnan(single["acc50_interval"])


def test_the_table_and_the_picture_come_from_the_results_alone(params: Params):
    with pytest.raises(UserError, match="no result there"):
        table7.summarise(params)
    for name, accuracy in (("random-3_16", 40.0), ("tselector-3_16", 60.0), ("tselector-1_8", 55.0)):
        for seed in (0, 1):
            folder = params.stage_dir("ablations") / f"{name}-{seed}"
            folder.mkdir(parents=True)
            row = {"variant": name, "seed": seed, "tokens": 12, "gflops_8_frames": 1.0, "acc50": accuracy + seed}
            (folder / "result.json").write_text(json.dumps(row | {"loss": 0.9}))
    tracked = params.stage_dir("ablations") / "tselector-3_16-tracking-1"
    tracked.mkdir()
    row = {"variant": tracked.name[:-2], "seed": 1, "tokens": 12, "gflops_8_frames": 1.0, "sot_auc": 61.2}
    (tracked / "result.json").write_text(json.dumps(row | {"rsot_auc": 58.8, "loss": 0.5}))
    out = table7.summarise(params)
    table = (out / "table7.md").read_text()
    assert table.index("random-3_16") < table.index("tselector-1_8") < table.index("tselector-3_16")
    assert "60.5 ± 6.4" in table
    assert "| SOT AUC | RSOT AUC | seeds |" in table and "| 61.2 | 58.8 | 1 |" in table
    assert (out / "table7.png").stat().st_size > 10_000
    assert (out / "table7.csv").read_text().splitlines()[1].startswith("random-3_16,12,1.0,2,40.5")


def test_an_unknown_variant_is_named(params: Params):
    with pytest.raises(UserError, match="'tselector-9' is no variant; choose one of none"):
        ablations.run_variant(params, "tselector-9", 0)
