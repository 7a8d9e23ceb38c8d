"""The small tokenizer that ships with the project: byte-level BPE that splits digits one by one, as LLaMA's does.

`python -m elysium.model.tokenizer OUT` trains it anew on the prompts and on captions of the rendered world.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from elysium import prompts
from elysium.data.scenes import draw_scene
from elysium.data.world import caption, rng_of

SPECIAL = ("<unk>", "<s>", "</s>", "<pad>", prompts.IMAGE)
VOCABULARY = 1024
# Words with their leading space, single digits, single punctuation marks with theirs.
_SPLIT = Regex(r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]|\s+")


def train_tokenizer(texts: Iterator[str], vocabulary: int = VOCABULARY) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer whose every answer starts with `<s>`; "[23,45,46,72]" is 13 tokens."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_SPLIT, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[AddedToken(t, special=True, normalized=False) for t in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        padding_side="left",
        extra_special_tokens={"image_token": prompts.IMAGE},
    )


def corpus() -> Iterator[str]:
    """Every template of every task, the Vicuna conversation, and captions of the rendered world."""
    from elysium.model.processing import VICUNA_SYSTEM

    for task in ("sot", "rsot", "rsot_box", "reg", "rec", "detect", "caption"):
        for template in prompts.templates(task):
            yield from [template.replace("{", "").replace("}", "")] * 50
    yield from [f"{VICUNA_SYSTEM} USER: Frame 1: , Frame 2: ASSISTANT: none, yes, no"] * 50
    yield from [" Frame 1: [23,45,46,72], Frame 2: [0,1,98,99]"] * 50
    for index in range(1500):
        rng = rng_of(0, "backbones", index)
        scene = draw_scene(rng, 1, 16, 4)
        yield from caption(rng, scene)
        for thing in scene.things:
            yield from scene.references(thing, True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    train_tokenizer(corpus()).save_pretrained(parser.parse_args().out)
