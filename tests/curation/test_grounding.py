"""Grounders on real pictures, rendered pictures, and a tiny Grounding DINO with random weights."""

from pathlib import Path

import numpy as np
import pytest

from elysium.boxes import iou
from elysium.config import CurationParams
from elysium.curation.grounders.coco import CocoGrounder, phrase_class
from elysium.curation.grounders.shapes import ShapesGrounder
from elysium.curation.grounding import load_grounder
from elysium.data.scenes import draw_scene
from elysium.data.video import read_frames
from elysium.errors import UserError

REAL = Path(__file__).parents[2] / "data" / "real"


def test_nouns_find_their_coco_class():
    phrases = ["young woman", "man with a dog", "mountain bike", "traffic light", "red hoodie", "", "Student"]
    assert [phrase_class(p) for p in phrases] == ["person", "person", "bicycle", "trafficlight", None, None, "person"]


def test_coco_grounds_a_single_walker_and_refuses_a_crowd():
    grounder = CocoGrounder()
    frame = read_frames(REAL / "road-man.mp4", limit=1)[0][0]
    man, coat = grounder.ground([frame], ["bald man", "raincoat"])[0]
    assert man.score > 0.8 and man.label == "person"
    assert man.box is not None and 0.35 < man.box[3] - man.box[1] < 0.6  # he is half as tall as the frame
    assert coat.box is None and "vocabulary" in coat.note
    crowd = read_frames(REAL / "busy-square.mp4", limit=1)[0][0]
    walker, truck = grounder.ground([crowd], ["pedestrian", "white truck"])[0]
    assert walker.box is None and "of class person" in walker.note
    assert truck.box is not None and truck.box[0] > 0.8


def test_shapes_are_found_by_colour_and_outline():
    right = wrong = could = 0
    for seed in range(24):
        scene = draw_scene(np.random.default_rng([5, seed]), 1, 192, 3, moving=False)
        answers = ShapesGrounder().ground([scene.frames[0]], [t.name for t in scene.things])[0]
        for i, answer in enumerate(answers):
            box = scene.boxes[i][0]
            if box is None or scene.visible[i][0] < 0.9:
                continue
            could += 1
            if answer.box is not None and answer.score > CurationParams().grounding_threshold:
                hit = float(iou(np.array(answer.box), np.array(box))) > 0.6
                right, wrong = right + hit, wrong + (not hit)
    assert could > 20
    assert right >= 0.65 * could
    assert wrong <= 0.05 * could


def test_an_unknown_grounder_is_one_clear_error():
    with pytest.raises(UserError, match="coco, grounding_dino, shapes"):
        load_grounder("clairvoyant")


@pytest.fixture(scope="module")
def tiny_dino(tmp_path_factory):
    """A whole Grounding DINO with random weights, a few hundred thousand parameters, saved as a checkpoint is."""
    import torch
    from transformers import (
        BertConfig,
        BertTokenizerFast,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessorPil,
        GroundingDinoProcessor,
        SwinConfig,
    )

    folder = tmp_path_factory.mktemp("dino")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", "red", "ball", "small", "star", "dog"]
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizerFast(vocab_file=str(folder / "vocab.txt"), vocab={w: i for i, w in enumerate(words)})
    torch.manual_seed(0)
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4,
            out_features=["stage2", "stage3", "stage4"],
        ),
        text_config=BertConfig(
            vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
        ),
        num_queries=12, d_model=32, encoder_layers=1, encoder_ffn_dim=16, encoder_attention_heads=2,
        decoder_layers=2, decoder_ffn_dim=16, decoder_attention_heads=2, max_text_len=16,
    )  # fmt: skip
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    images = GroundingDinoImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96})
    GroundingDinoProcessor(image_processor=images, tokenizer=tokenizer).save_pretrained(folder)
    return str(folder)


def test_grounding_dino_answers_each_frame_and_phrase_whatever_the_batch(tiny_dino):
    from elysium.curation.grounders.grounding_dino import GroundingDino

    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (60, 80, 3), dtype=np.uint8) for _ in range(3)]
    phrases = ["Red ball", "small star."]
    together = load_grounder("grounding_dino", tiny_dino).ground(frames, phrases)
    assert [len(row) for row in together] == [2, 2, 2]
    for row in together:
        for answer in row:
            assert 0 <= answer.score <= 1
            assert answer.box is None or all(0 <= v <= 1 for v in answer.box)
    one_by_one = GroundingDino(tiny_dino, batch=1).ground(frames, phrases)
    for row, alone in zip(together, one_by_one, strict=True):
        assert [a.score for a in row] == pytest.approx([a.score for a in alone], abs=1e-3)


def test_a_missing_grounding_dino_is_one_clear_error(tmp_path):
    with pytest.raises(UserError, match=r"curation\.grounding_dino"):
        load_grounder("grounding_dino", str(tmp_path / "nothing"))
