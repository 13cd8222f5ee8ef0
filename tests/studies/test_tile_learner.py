from dataclasses import replace

import numpy as np
import pytest

from eosin.core import ModelError, Progress
from eosin.inference import open_session, scoring
from eosin.inference.scoring import score_rows
from eosin.runs.run import find_logits
from eosin.settings import TileTraining
from eosin.studies import tile_learner
from eosin.studies.sources import open_source
from eosin.studies.tile_learner import Augmentation
from eosin.tiles import apply_view, open_tile_folder

FROZEN = TileTraining(
    encoder="smallcnn", weights="none", fine_tune="none", epochs=2, cached_views=1
)


def make_learner(tile_folder, out, settings=FROZEN):
    source = open_source(tile_folder, None, None, settings)
    return source.prepare(out, Progress())[1]


def test_an_export_that_differs_stops_the_run(tile_folder, tmp_path, monkeypatch):
    real = tile_learner.open_session

    class Shifted:
        def __init__(self, session):
            self._session, self.tile_px = session, session.tile_px

        def run(self, tiles, **options):
            found = self._session.run(tiles, **options)
            return {name: value + 0.01 for name, value in found.items()}

    monkeypatch.setattr(
        tile_learner, "open_session", lambda *a, **how: Shifted(real(*a, **how))
    )
    with pytest.raises(ModelError, match=r"differ by up to 0\.01"):
        make_learner(tile_folder, tmp_path).fit(0, 0, tmp_path / "state")


@pytest.mark.parametrize(
    ("changes", "n_full"),
    [
        ({}, 0),
        ({"cached_views": 8, "views": 4}, 0),
        ({"cached_views": 4, "views": 8}, 0),
        ({"cached_views": 2, "views": 2, "stain_jitter": 0.1}, 0),
        ({"fine_tune": "last", "tune_epochs": 1}, 2),
    ],
    ids=["one view", "four views", "more views", "stained views", "a trained encoder"],
)
def test_what_is_held_out_is_scored_as_by_the_exported_model(
    tile_folder, tmp_path, monkeypatch, changes, n_full
):
    heard = []

    def listen(*arguments, **options):
        heard.append(options["views"])
        return score_rows(*arguments, **options)

    monkeypatch.setattr(scoring, "score_rows", listen)
    settings = replace(FROZEN, **changes)
    held = make_learner(tile_folder, tmp_path, settings).fit(0, 0, tmp_path / "state")
    held = held.held_out[held.held_out["split"] == "val"]
    # Only an encoder that was trained runs over tiles again.
    assert heard == [settings.views] * n_full
    folder = open_tile_folder(tile_folder)
    tiles = folder.tiles.set_index("tile_id").loc[held["id"]].reset_index()
    session = open_session(tmp_path / "model.onnx")
    expected = score_rows(folder, tiles, [session], views=settings.views)
    np.testing.assert_allclose(find_logits(held), expected.logits, atol=1e-6)


def test_augmentation_turns_tiles_and_depends_on_its_generator_alone():
    tiles = np.random.default_rng(0).integers(0, 255, (16, 8, 8, 3), dtype=np.uint8)
    first, second = (Augmentation(0)(tiles, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    for before, after in zip(tiles, first, strict=True):
        views = [apply_view(before[None], view)[0] for view in range(8)]
        assert any(np.array_equal(after, view) for view in views)
    stained = Augmentation(0.2)(tiles, np.random.default_rng(3))
    assert not np.array_equal(stained, first)
