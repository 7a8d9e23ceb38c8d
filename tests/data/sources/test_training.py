"""What `elysium shard` makes is what the paper's mixture trains on: sources -> shards -> mixture -> batch."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from transformers import AutoTokenizer

from elysium.compose import compose_config
from elysium.config import Params, check_params
from elysium.data.mixture import Mixture
from elysium.data.sources import SOURCES
from elysium.data.sources.sharding import Settings, shard
from elysium.data.tasks import Clip
from elysium.model import ElysiumProcessor
from elysium.training.batches import collate
from tests.data.sources import official

VIDEOS = {"videochat", "elysiumtrack_1m"}
PICTURES = set(SOURCES) - VIDEOS


@pytest.fixture(scope="module")
def paper() -> Params:
    return check_params(OmegaConf.to_container(compose_config(["preset=elysium_7b"]), resolve=True))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All sources as `elysium shard NAME --out data/NAME` leaves them."""
    root = tmp_path_factory.mktemp("sources")
    for name, write in official.WRITERS.items():
        write(root / "official" / name)
        shard(Settings(name), root / "official" / name, root / "data" / name, progress=False)
    return root


@pytest.fixture(scope="module")
def processor() -> ElysiumProcessor:
    tokenizer = AutoTokenizer.from_pretrained("src/elysium/assets/tokenizer")
    return ElysiumProcessor(ElysiumProcessor.square_images(64), tokenizer, num_kept=2, system="")


@pytest.mark.parametrize(
    ("stage", "sets"),
    [
        ("warmup", {"llava_558k"}),
        ("pretrain", PICTURES),
        ("finetune_short", set(SOURCES) - {"grit_20m", "llava_558k"}),
        ("finetune_long", set(SOURCES) - {"grit_20m", "llava_558k"}),
    ],
)
def test_each_stage_trains_on_the_sets_that_the_paper_names(stage: str, sets: set[str], paper: Params) -> None:
    """Section 4.2; the trajectories curated from one's own videos come to the finetuning."""
    mixture = dict(paper.train[stage].mixture)
    own = mixture.pop("curated", None)
    assert (own is not None) == stage.startswith("finetune")
    assert {Path(source.folder).name for source in mixture.values()} == sets
    assert all(source.weight > 0 for source in mixture.values())


@pytest.mark.parametrize("stage", ["warmup", "pretrain", "finetune_short"])
def test_the_papers_mixture_is_fed_by_the_shards(
    stage: str, paper: Params, shards: Path, processor: ElysiumProcessor
) -> None:
    train = paper.train[stage]
    sources = {
        name: replace(source, folder=str(shards / source.folder))
        for name, source in train.mixture.items()
        if name != "curated"
    }
    clip = Clip((train.frames_min, train.frames_max), (train.interval_min, train.interval_max))
    mixture = Mixture(sources, processor, clip, train.max_length, seed=0)
    samples = [mixture[i] for i in range(240)]
    assert {s.source for s in samples} == set(sources)
    assert all(any(label != -100 for label in s.labels) for s in samples)
    assert not mixture.too_long
    for sample in samples:
        moving = sample.source in VIDEOS
        assert len(sample.images) > 1 if moving else len(sample.images) == 1
        assert sample.input_ids.count(processor.image_token_id) == 2 * len(sample.images)
    tasks = Counter((s.source, s.task) for s in samples)
    assert set(tasks) <= {(name, task) for name, source in sources.items() for task in source.tasks}
    batch = collate(samples[:6], processor)
    assert batch.inputs["pixel_values"].shape == (batch.frames, 3, 64, 64)
    assert (batch.inputs["labels"] != -100).any(1).all()


def test_answers_are_the_official_ones(shards: Path, paper: Params, processor: ElysiumProcessor) -> None:
    names = {"llava_558k": "llava_558k", "cocovqa": "cocovqa", "refcoco": "refcoco", "videochat": "videochat"}
    mixture = {**paper.train["pretrain"].mixture, **paper.train["finetune_short"].mixture}
    chosen = {name: replace(mixture[name], folder=str(shards / "data" / folder)) for name, folder in names.items()}
    answers: dict[str, set[str]] = {name: set() for name in names}
    feed = Mixture(chosen, processor, Clip(), 2048, seed=0)
    for i in range(80):
        sample = feed[i]
        kept = [label for label in sample.labels if label != -100]
        text = processor.tokenizer.decode(kept).replace(processor.tokenizer.eos_token, "|")
        answers[sample.source].update(part.strip() for part in text.split("|") if part.strip())
    assert answers["llava_558k"] == {"select luxury furniture 3-inch mattress"}
    assert answers["cocovqa"] == {"red", "2", "yes"}
    assert answers["videochat"] == {"It gets brighter.", "No.", "A grey area that brightens."}
    assert {"[10,10,50,50]", "[11,10,51,50]", "man in red", "thing 1"} == answers["refcoco"]
