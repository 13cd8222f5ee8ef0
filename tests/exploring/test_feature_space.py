import json
from dataclasses import replace

import numpy as np
import pytest

from eosin.core import ManifestError, Progress, SlideError
from eosin.exploring import feature_space as module
from eosin.exploring.feature_space import are_alike, make_feature_space
from eosin.exploring.held_out_tiles import open_held_out_tiles
from eosin.inference import open_session
from eosin.settings import InterpretSettings
from eosin.tiles import TileReader

SETTINGS = InterpretSettings(sample=0, clusters=2)


@pytest.fixture
def held_out(run_folder, evaluation_folder):
    return open_held_out_tiles(run_folder)


def make(held_out, place, **changes):
    failures, cautions = [], []
    space = make_feature_space(
        held_out,
        replace(SETTINGS, **changes),
        place / "state",
        failures=failures,
        cautions=cautions,
        progress=Progress(),
    )
    return space, cautions, failures


def test_the_space_is_of_the_runs_own_features(held_out, run_folder, tmp_path):
    space, cautions, failures = make(held_out, tmp_path)
    assert (cautions, failures) == ([], [])
    np.testing.assert_array_equal(space.rows, np.arange(len(held_out.rows)))
    assert space.dimension == 192
    assert space.clusters["tiles"].sum() == len(held_out.rows)
    assert np.isfinite(space.places).all()
    assert set(space.agreement) == {"class", "scanner", "site", "slide"}
    with held_out.folder.open_reader(held_out.tiles) as reader:
        tiles = reader.read(np.arange(len(held_out.rows)))
    expected = open_session(run_folder / "model.onnx").run(tiles)["features"]
    stored = np.load(tmp_path / "state" / "features.npy")[0]
    np.testing.assert_allclose(stored, expected, atol=1e-4)


def test_a_sample_is_drawn_at_random(held_out, tmp_path):
    space, _, _ = make(held_out, tmp_path, sample=12)
    assert space.is_sample
    assert len(space.rows) == 12
    again, _, _ = make(held_out, tmp_path / "again", sample=12)
    np.testing.assert_array_equal(space.rows, again.rows)
    space, cautions, _ = make(held_out, tmp_path, sample=9)
    assert space is None
    assert "Clusters need 10 held-out tiles or more; there are 9." in cautions


def test_features_of_another_encoder_are_taken(held_out, tmp_path):
    n = len(held_out.folder.tiles)
    # Two groups that lie far apart.
    features = np.zeros((n, 3)) + 9 * (np.arange(n) % 2)[:, None]
    features += np.random.default_rng(0).normal(size=features.shape)
    np.save(tmp_path / "f.npy", features)
    space, _, _ = make(held_out, tmp_path, features=str(tmp_path / "f.npy"))
    assert space.dimension == 3
    pairs = np.stack([held_out.rows % 2, space.clustering.numbers])
    assert len(np.unique(pairs, axis=1).T) == 2
    np.save(tmp_path / "f.npy", features[1:])
    with pytest.raises(ManifestError, match="one row for each of the"):
        make(held_out, tmp_path, features=str(tmp_path / "f.npy"))


def test_folds_with_encoders_of_their_own_show_the_first(
    held_out, tmp_path, monkeypatch
):
    card = replace(held_out.card, folds=2 * held_out.card.folds)
    folds = np.arange(len(held_out.rows)) % 2
    both = replace(held_out, model=replace(held_out.model, card=card), folds=folds)
    alike, cautions, _ = make(both, tmp_path)
    assert len(alike.rows) == len(folds)
    assert cautions == []
    monkeypatch.setattr(module, "are_alike", lambda *_: False)
    first, cautions, _ = make(both, tmp_path)
    np.testing.assert_array_equal(first.rows, np.flatnonzero(folds == 0))
    assert "feature space is that of fold 0" in cautions[0]


def test_tiles_that_cannot_be_read_are_left_out_also_after_a_break(
    held_out, tmp_path, monkeypatch
):
    real = TileReader.read

    def read(self, rows):
        if 3 in rows.tolist():
            raise SlideError("damaged")
        return real(self, rows)

    monkeypatch.setattr(TileReader, "read", read)
    space, _, failures = make(held_out, tmp_path)
    assert 3 not in space.rows
    assert len(space.rows) == len(held_out.rows) - 1
    assert failures[0].slide_id == held_out.tiles["tile_id"][3]
    assert failures[0].message == "damaged"
    known = json.loads((tmp_path / "state" / "unreadable.json").read_text())
    assert known["errors"] == {"3": "damaged"}
    # All are encoded by now, and nothing is read once more.
    monkeypatch.setattr(TileReader, "read", None)
    again, _, failures = make(held_out, tmp_path)
    np.testing.assert_array_equal(again.rows, space.rows)
    assert len(failures) == 1


def test_models_that_differ_are_told_apart(held_out):
    session = open_session(held_out.run / "model.onnx")
    assert are_alike([session], 64)
    assert are_alike([session, session], 64)

    class Other:
        def run(self, tiles):
            return {"features": session.run(tiles)["features"] + 1}

    assert not are_alike([session, Other()], 64)
