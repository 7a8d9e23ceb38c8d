"""The shipped model: the trained folder with a card of its own figures, or one line that says what is missing."""

import json

import pytest

from elysium.errors import UserError
from elysium.model import ship
from elysium.model.loading import load_model
from tests.model.tiny import tiny_model, tiny_processor

RESULTS = "# Results\n\nn = 122\n\n## Tracking\n\n| set | AUC |\n| --- | --- |\n| world | 52.9 |\n"


@pytest.fixture
def trained(tmp_path):
    model, evaluated = tmp_path / "model", tmp_path / "evaluate"
    tiny_model().save_pretrained(model)
    tiny_processor().save_pretrained(model)
    (evaluated / "predictions").mkdir(parents=True)
    (evaluated / "results.md").write_text(RESULTS)
    about = {"preset": "tiny_full", "sets": {"world": {"videos": 200}}}
    (evaluated / "predictions" / "about.json").write_text(json.dumps(about))
    return model, evaluated


def test_the_folder_loads_and_its_card_has_the_figures(trained, tmp_path) -> None:
    out = tmp_path / "models" / "elysium-tiny"
    for _ in range(2):  # the second replaces the first
        ship.ship(*trained, out)
    load_model(out)
    card = (out / "README.md").read_text()
    assert "### Tracking" in card and "| world | 52.9 |" in card and "`tiny_full`" in card and "200 videos" in card
    assert [p.name for p in out.parent.iterdir()] == ["elysium-tiny"]


def test_missing_figures_and_a_large_model_are_refused(trained, tmp_path, monkeypatch) -> None:
    model, evaluated = trained
    with pytest.raises(UserError, match="not there; run the whole pipeline"):
        ship.ship(model, tmp_path, tmp_path / "out")
    monkeypatch.setattr(ship, "LIMIT", 1000)
    with pytest.raises(UserError, match="at most"):
        ship.ship(model, evaluated, tmp_path / "out")
    assert not (tmp_path / "out").exists()
