"""The tracker follows what is there, and its confidence falls when the box is no longer right."""

import numpy as np
import pytest

from elysium.boxes import iou
from elysium.config import CurationParams
from elysium.curation import calibrate, trackers
from elysium.curation.trackers import Appearance, load_tracker
from elysium.data.scenes import draw_scene
from elysium.errors import UserError

THRESHOLD = CurationParams().tracking_threshold


def _moving_square(n=14, size=160, step=4):
    """A checkered red square that moves right over a textured ground; frames and true boxes."""
    rng = np.random.default_rng(0)
    ground = rng.normal(120, 12, (size, size, 1)).repeat(3, axis=2)
    side = 36
    yy, xx = np.mgrid[0:side, 0:side]
    pattern = np.where(((xx // 9 + yy // 9) % 2 == 0)[..., None], (215, 45, 40), (90, 20, 16))
    frames, boxes = [], []
    for i in range(n):
        frame = ground.copy()
        x, y = 20 + step * i, 60
        frame[y : y + side, x : x + side] = pattern
        frames.append(np.clip(frame, 0, 255).astype(np.uint8))
        boxes.append((x / size, y / size, (x + side) / size, (y + side) / size))
    return frames, boxes


def test_csrt_follows_a_moving_thing_with_confidence():
    frames, boxes = _moving_square()
    found = list(load_tracker("csrt").track(frames, boxes[0]))
    assert len(found) == len(frames)
    assert found[0] == (boxes[0], 1.0)
    assert iou(np.array([b for b, _ in found]), np.array(boxes)).mean() > 0.8
    assert min(confidence for _, confidence in found) > THRESHOLD


def test_confidence_falls_when_the_thing_is_gone():
    frames, boxes = _moving_square()
    empty = frames[0].copy()
    empty[55:100, 15:60] = empty[5:50, 15:60]
    confidences = [c for _, c in load_tracker("csrt").track([*frames[:6], *[empty] * 3], boxes[0])]
    assert min(confidences[:6]) > THRESHOLD
    assert confidences[6] < 0.5


@pytest.mark.parametrize("shift", [0.6, 1.0, -0.8])
def test_confidence_of_a_drifted_box_is_low(shift):
    frames, boxes = _moving_square()
    appearance = Appearance(frames[0], boxes[0])
    x1, y1, x2, y2 = boxes[1]
    away = shift * (y2 - y1)
    assert Appearance(frames[0], boxes[0]).confidence(frames[1], boxes[1]) > THRESHOLD
    assert appearance.confidence(frames[1], (x1, y1 + away, x2, y2 + away)) < 0.5


def test_it_can_be_ended_early():
    seen = []

    def frames():
        for i, frame in enumerate(_moving_square()[0]):
            seen.append(i)
            yield frame

    for number, _ in enumerate(load_tracker("csrt").track(frames(), _moving_square()[1][0])):
        if number == 4:
            break
    assert seen == [0, 1, 2, 3, 4]


def test_confident_boxes_on_rendered_worlds_are_right():
    overlaps, confidences = [], []
    for seed in range(6):
        scene = draw_scene(np.random.default_rng([9, seed]), 12, 160, 2)
        for i, boxes in enumerate(scene.boxes):
            if boxes[0] is None or scene.visible[i][0] < 0.9:
                continue
            for f, (box, confidence) in enumerate(load_tracker("csrt").track(scene.frames, boxes[0])):
                truth = boxes[f]
                overlaps.append(0.0 if truth is None else float(iou(np.array(box), np.array(truth))))
                confidences.append(confidence)
    sure = np.array(confidences) > THRESHOLD
    right = np.array(overlaps) >= 0.5
    assert sure.mean() > 0.5
    assert right[sure].mean() >= 0.95


def test_a_box_too_small_to_track_gives_nothing():
    frames, _ = _moving_square()
    assert list(load_tracker("csrt").track(frames, (0.5, 0.5, 0.51, 0.51))) == []


def test_an_unknown_tracker_is_one_clear_error():
    with pytest.raises(UserError, match="csrt"):
        load_tracker("clairvoyant")


@pytest.fixture(scope="module")
def tiny_sam2(tmp_path_factory):
    """A whole SAM 2 video model with random weights and few layers, for pictures of 128 pixels, as a checkpoint."""
    import torch
    from transformers import Sam2HieraDetConfig, Sam2VideoConfig, Sam2VideoModel, Sam2VisionConfig

    torch.manual_seed(0)
    backbone = Sam2HieraDetConfig(
        hidden_size=16, image_size=[128, 128], blocks_per_stage=[1, 1, 2, 1], embed_dim_per_stage=[16, 32, 64, 128],
        num_attention_heads_per_stage=[1, 1, 1, 1], global_attention_blocks=[3],
    )  # fmt: skip
    config = Sam2VideoConfig(
        vision_config=Sam2VisionConfig(
            backbone_config=backbone, backbone_channel_list=[128, 64, 32, 16],
            backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
        ),
        prompt_encoder_config={"image_size": 128},
        mask_decoder_config={"num_hidden_layers": 1, "mlp_dim": 64},
        image_size=128,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=64,
        memory_attention_rope_feat_sizes=[8, 8],
        memory_fuser_num_layers=1,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("sam2")
    Sam2VideoModel(config).save_pretrained(folder)
    return str(folder)


def test_sam2_gives_a_box_and_a_confidence_per_frame_and_can_be_ended_early(tiny_sam2):
    frames, boxes = _moving_square(6)
    tracker = load_tracker("sam2", tiny_sam2)
    found = list(tracker.track(frames, boxes[0]))
    assert len(found) == 6 and found[0] == (boxes[0], 1.0)
    for (x1, y1, x2, y2), confidence in found:
        assert 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1 and 0 <= confidence <= 1
    again = [next(step) for step in [tracker.track(frames, boxes[0])] for _ in range(3)]
    assert again == found[:3]


def test_the_box_of_a_mask():
    from elysium.curation.sam2 import _mask_box

    mask = np.zeros((10, 20), bool)
    assert _mask_box(mask) is None
    mask[2:5, 4:10] = True
    assert _mask_box(mask) == (0.2, 0.2, 0.5, 0.5)


def test_a_missing_sam2_is_one_clear_error(tmp_path):
    with pytest.raises(UserError, match=r"curation\.sam2"):
        load_tracker("sam2", str(tmp_path / "nothing"))


def test_the_reliability_curve_of_the_report_is_that_of_the_shipped_weights() -> None:
    shown = calibrate.shipped_reliability()
    assert tuple(shown["weights"]) == trackers.WEIGHTS and shown["bias"] == trackers.BIAS
    assert sum(count for _, _, count in shown["bins"]) == shown["frames"]
    assert max(abs(mean - share) for mean, share, count in shown["bins"] if count >= 200) < 0.15  # as sure as right
