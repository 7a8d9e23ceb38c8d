"""Drift and shot cuts: what real things do passes, what they cannot do is found."""

from itertools import pairwise

import numpy as np
import pytest

from elysium.config import CurationParams
from elysium.curation.motion import drift, find_cuts
from elysium.data.scenes import draw_scene

GATE = CurationParams().max_drift


def _path(xs, ys, side=0.1):
    return [(x - side / 2, y - side / 2, x + side / 2, y + side / 2) for x, y in zip(xs, ys, strict=True)]


def test_a_thing_at_rest_or_at_constant_speed_does_not_drift():
    still = drift(_path([0.5] * 20, [0.5] * 20))
    steady = drift(_path(np.linspace(0.1, 0.9, 20), np.linspace(0.2, 0.6, 20)))
    assert still.max() < 1e-9
    assert steady[3:].max() < 0.05
    assert steady.max() < GATE


def test_true_paths_of_the_rendered_world_pass_the_gate():
    worst = []
    for seed in range(30):
        scene = draw_scene(np.random.default_rng([6, seed]), 24, 48, 3)
        worst += [drift(boxes).max() for boxes in scene.boxes if all(b is not None for b in boxes)]
    assert len(worst) > 30
    assert np.mean(np.array(worst) <= GATE) >= 0.97


def test_a_jump_to_another_thing_is_extreme_drift():
    boxes = _path([0.2 + 0.01 * i for i in range(20)], [0.5] * 20)
    boxes[12:] = _path([0.7 - 0.01 * i for i in range(8)], [0.5] * 8)
    values = drift(boxes)
    assert int(values.argmax()) == 12
    assert values.max() > 2 * GATE


def test_a_box_that_suddenly_swallows_the_frame_is_extreme_drift():
    boxes = _path([0.5] * 20, [0.5] * 20)
    boxes[10:] = [(0.05, 0.05, 0.95, 0.95)] * 10
    assert drift(boxes)[10] > 2 * GATE


@pytest.mark.parametrize("n", [0, 1])
def test_drift_of_nothing(n):
    assert drift(_path([0.5] * n, [0.5] * n)).tolist() == [0.0] * n


def test_cuts_between_rendered_worlds_are_found_and_none_within():
    scenes = [draw_scene(np.random.default_rng([7, i]), 12, 96, 3).frames for i in range(13)]
    found = [find_cuts([*a, *b]) for a, b in pairwise(scenes)]
    assert sum(cuts == [12] for cuts in found) >= 11
    assert all(set(cuts) <= {12} for cuts in found)


def test_a_slow_fade_is_no_cut():
    frame = draw_scene(np.random.default_rng([8, 0]), 1, 96, 3).frames[0]
    assert find_cuts([(frame * (1 - i / 30)).astype(np.uint8) for i in range(25)]) == []
