"""The mixture: a pure function of seed and position, in the proportions asked for."""

from collections import Counter

import pytest
from transformers import AutoTokenizer

from elysium.config import MixtureSource, WorldParams
from elysium.data import world
from elysium.data.mixture import Mixture
from elysium.data.tasks import Clip
from elysium.errors import UserError
from elysium.model import ElysiumProcessor


@pytest.fixture(scope="module")
def processor() -> ElysiumProcessor:
    tokenizer = AutoTokenizer.from_pretrained("src/elysium/assets/tokenizer")
    return ElysiumProcessor(ElysiumProcessor.square_images(64), tokenizer, num_kept=12, system="")


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, MixtureSource]:
    out = tmp_path_factory.mktemp("world")
    world.build(WorldParams(images=40, train_videos=8, train_frames=16, eval_videos=1, raw_videos=0, workers=1), out)
    return {
        "images": MixtureSource(str(out), "images", 3.0, {"rec": 1, "reg": 1, "detect": 1}, turns=3),
        "videos": MixtureSource(str(out), "train", 1.0, {"sot": 1, "rsot": 1, "reg": 1}),
    }


def test_a_position_is_the_same_sample_whoever_asks(processor, sources) -> None:
    one, other = (Mixture(sources, processor, Clip(), 1024, seed=3) for _ in range(2))
    forward = [one[i] for i in range(30)]
    backward = {i: other[i] for i in reversed(range(30))}
    for i, sample in enumerate(forward):
        assert (sample.key, sample.input_ids, sample.labels) == (
            backward[i].key,
            backward[i].input_ids,
            backward[i].labels,
        )


def test_another_seed_is_another_order(processor, sources) -> None:
    a, b = (Mixture(sources, processor, Clip(), 1024, seed=s) for s in (0, 1))
    assert [a[i].key for i in range(20)] != [b[i].key for i in range(20)]


def test_sources_come_in_proportion(processor, sources) -> None:
    mixture = Mixture(sources, processor, Clip(), 1024, seed=0)
    counts = Counter(mixture[i].source for i in range(500))
    assert counts == {"images": 375, "videos": 125}


def test_an_epoch_shows_every_record_once(processor, sources) -> None:
    source = Mixture(sources, processor, Clip(), 1024, seed=0).sources[0]
    first, second = ([source.order(e * 40 + i) for i in range(40)] for e in (0, 1))
    assert sorted(first) == sorted(second) == list(range(40))
    assert first != second


def test_passes_count_what_was_drawn(processor, sources) -> None:
    """Over several of the blocks in which sources are apportioned, and in the middle of one."""
    mixture = Mixture(sources, processor, Clip(), 1024, seed=0)
    for position in (0, 37, 500, 1234):
        drawn = Counter(int(mixture._block(p // 500)[0][p % 500]) for p in range(position))
        sizes = {"images": 40, "videos": 8}
        assert mixture.passes(position) == {n: drawn[i] / sizes[n] for i, n in enumerate(("images", "videos"))}


def test_what_does_not_fit_is_counted_and_never_cut(processor, sources) -> None:
    mixture = Mixture(sources, processor, Clip((2, 8)), 200, seed=0)
    samples = [mixture[i] for i in range(60)]
    assert max(len(s.input_ids) for s in samples) <= 200
    assert all(s.labels[-1] == processor.tokenizer.eos_token_id for s in samples)
    assert mixture.refused["videos: too long"] > 0


def test_a_mixture_that_cannot_serve_stops(processor, sources) -> None:
    mixture = Mixture(sources, processor, Clip((8, 8)), 40, seed=0)
    with pytest.raises(UserError, match="max_length=40"):
        mixture[0]


def test_an_unknown_task_is_refused(processor, sources) -> None:
    bad = MixtureSource(sources["images"].folder, "images", 1.0, {"segment": 1})
    with pytest.raises(UserError, match="segment"):
        Mixture({"x": bad}, processor, Clip(), 100, 0)
