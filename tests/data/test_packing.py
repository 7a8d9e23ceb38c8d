"""Packing: every sample once, no padding, and the loss and gradients of the padded batch."""

from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elysium.data.mixture import TrainingSample
from elysium.data.packing import deal, pack
from elysium.model.varlen import packed_attention
from elysium.training.batches import collate
from tests.model.tiny import CONV, frames, tiny_config, tiny_model, tiny_processor

LENGTHS = st.one_of(
    st.lists(st.integers(1, 4096), min_size=1, max_size=64),
    # As the mixture: many short conversations about pictures, a few long ones about videos.
    st.lists(st.one_of(st.integers(40, 250), st.integers(900, 4500)), min_size=2, max_size=64),
    st.lists(st.just(137), min_size=1, max_size=64),
)


@settings(max_examples=100, deadline=None)
@given(LENGTHS, st.integers(1, 8))
def test_bins_get_equal_loads_and_none_is_empty(lengths: list[int], bins: int) -> None:
    if bins > len(lengths):
        with pytest.raises(ValueError, match="cannot fill"):
            deal(lengths, bins)
        return
    dealt = deal(lengths, bins)
    loads = [sum(lengths[i] for i in part) for part in dealt]
    assert sorted(i for part in dealt for i in part) == list(range(len(lengths)))
    assert min(loads) > 0 and max(loads) - min(loads) <= max(lengths)


def conversations() -> list[TrainingSample]:
    processor, samples = tiny_processor(), []
    for i, n in enumerate((1, 3, 0, 2, 1)):
        shown = ", ".join(f"Frame {k + 1}: <image>" for k in range(n))
        turns = [(f"{shown}\nWhere is the red ball?" if n else "What is a ball?", "Frame 1: [1,2,3,4]" + ", 5" * i)]
        ids, labels = processor.training_sample(turns, 400)
        samples.append(TrainingSample("test", str(i), "rec", ids, labels, frames(n, seed=i) if n else []))
    return samples


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_loss_and_gradients_are_those_of_the_padded_batch(attention: str) -> None:
    results = []
    for packing in (False, True):
        model = tiny_model(tiny_config(CONV))
        model.language_model.set_attn_implementation(attention)
        batch = collate(conversations(), tiny_processor(), packing)
        with packed_attention(model.language_model) if packing else nullcontext():
            output = model(**batch.inputs, use_cache=False)
            output.loss.backward()
        assert model.language_model.config._attn_implementation == attention
        results.append((output.loss.item(), {n: q.grad for n, q in model.named_parameters() if q.grad is not None}))
        assert ("attention_mask" in batch.inputs) is not packing
    (padded, padded_grads), (packed, packed_grads) = results
    assert packed == pytest.approx(padded, rel=1e-5)
    assert padded_grads.keys() == packed_grads.keys()
    for name, grad in padded_grads.items():
        assert torch.allclose(packed_grads[name], grad, rtol=1e-3, atol=1e-5 * float(grad.abs().max())), name


def test_no_sample_sees_another() -> None:
    """The logits of the last sample in a row do not change with the samples before it."""
    model = tiny_model(tiny_config(CONV))
    ids, other = [5, 6, 7, 8], [9, 10, 11, 12, 13]
    with torch.no_grad():
        alone = model(torch.tensor([ids]), use_cache=False).logits[0]
        for before in (other, other[::-1]):
            batch = pack([before, ids], [before, ids])
            assert batch["labels"][0, len(before)] == -100
            for attention in (packed_attention(model.language_model), nullcontext()):
                with attention:
                    packed = model(batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits[0]
                assert torch.allclose(packed[len(before) :], alone, atol=1e-5)


def test_packed_attention_takes_one_row() -> None:
    model = tiny_model(tiny_config(CONV))
    with packed_attention(model.language_model), pytest.raises(ValueError, match="one row"):
        model(torch.tensor([[5, 6], [7, 8]]), use_cache=False)
