import shutil

import numpy as np
import pytest

from eosin.bags import FeatureFile
from eosin.core import ConfigError, ModelError, RunError
from eosin.inference import open_session
from eosin.tiles import apply_view
from eosin.workflows import embed as module
from eosin.workflows.embed import EmbedConfig, embed_tiles
from eosin.workflows.tile import TileConfig, tile_cohort
from eosin.workflows.tile_folder import open_tile_folder


def expect(run_folder, tile_folder, slide_id, view=0):
    """Encode a slide's tiles by the model alone."""
    folder = open_tile_folder(tile_folder)
    own = folder.tiles[folder.tiles["slide_id"] == slide_id].reset_index(drop=True)
    with folder.open_reader(own) as reader:
        pixels = reader.read(np.arange(len(own)))
    session = open_session(run_folder / "model.onnx")
    return own, session.run(apply_view(pixels, view))["features"]


@pytest.mark.parametrize("views", [1, 2])
def test_a_runs_encoder_gives_its_features(run_folder, tile_folder, tmp_path, views):
    config = EmbedConfig(encoder=str(run_folder), views=views)
    result = embed_tiles(tile_folder, config, tmp_path / "features")
    assert (result.n_slides, result.failures) == (10, ())
    own, expected = expect(run_folder, tile_folder, "slide-03")
    if views == 2:
        # A tile and its mirror image.
        expected = (expected + expect(run_folder, tile_folder, "slide-03", 4)[1]) / 2
    with FeatureFile(tmp_path / "features" / "slide-03.h5") as file:
        np.testing.assert_allclose(file[:], expected, rtol=1e-4, atol=1e-5)
        coords = file.read_dataset("coords")
        assert np.array_equal(coords, own[["x_px0", "y_px0"]].to_numpy())
        names = file.read_dataset("tile_id").astype(str).tolist()
        assert names == own["tile_id"].tolist()
        assert file.attributes["level0_width"] == 1024


def test_a_second_call_encodes_only_what_is_missing(run_folder, tile_folder, tmp_path):
    config = EmbedConfig(encoder=str(run_folder))
    first = embed_tiles(tile_folder, config, tmp_path / "features")
    assert embed_tiles(tile_folder, config, tmp_path / "features").n_tiles == 0
    (tmp_path / "features" / "slide-02.h5").unlink()
    again = embed_tiles(tile_folder, config, tmp_path / "features")
    assert 0 < again.n_tiles < first.n_tiles
    with pytest.raises(RunError, match="views was 1, is 2"):
        embed_tiles(
            tile_folder,
            EmbedConfig(encoder=str(run_folder), views=2),
            tmp_path / "features",
        )


def test_an_encoder_of_the_registry_is_exported_once(tile_folder, tmp_path):
    config = EmbedConfig(encoder="smallcnn", weights="none")
    result = embed_tiles(tile_folder, config, tmp_path / "features")
    assert result.dimension > 8
    assert (tmp_path / "features" / "encoder.onnx").exists()
    # The same weights again: nothing is encoded twice.
    assert embed_tiles(tile_folder, config, tmp_path / "features").n_tiles == 0


def test_a_bad_slide_stops_nothing(run_folder, cohort, tmp_path):
    shutil.copytree(cohort.table.parent, tmp_path / "cohort")
    tile_cohort(
        tmp_path / "cohort" / "slides.csv",
        TileConfig(mpp=1.0, tile_px=64),
        tmp_path / "tiles",
    )
    folder = open_tile_folder(tmp_path / "tiles")
    path = folder.slides["path"][1]
    with open(path, "r+b") as file:  # noqa: PTH123 - to cut it where it is
        file.truncate(5000)
    config = EmbedConfig(encoder=str(run_folder))
    result = embed_tiles(tmp_path / "tiles", config, tmp_path / "features")
    assert [failure.slide_id for failure in result.failures] == ["slide-02"]
    assert result.n_slides == 9
    assert not (tmp_path / "features" / "slide-02.h5").exists()


def test_tiles_of_another_kind_are_refused(run_folder, cohort, tmp_path):
    tiling = TileConfig(mpp=2.0, tile_px=32, context=2)
    tile_cohort(cohort.table, tiling, tmp_path / "tiles")
    with pytest.raises(ModelError, match="64 px, the tiles have 32; 1 mpp, the tiles"):
        embed_tiles(
            tmp_path / "tiles", EmbedConfig(encoder=str(run_folder)), tmp_path / "f"
        )


def test_an_ensemble_has_no_features_of_its_own(run_folder, tile_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    card = (tmp_path / "run" / "card.json").read_text()
    (tmp_path / "run" / "card.json").write_text(
        card.replace('"model.onnx"', '"model.onnx", "model.onnx"')
    )
    with pytest.raises(ModelError, match="an ensemble of 2 folds"):
        embed_tiles(
            tile_folder, EmbedConfig(encoder=str(tmp_path / "run")), tmp_path / "f"
        )


def test_a_batch_must_be_positive():
    with pytest.raises(ConfigError, match="batch must be 1 or more"):
        EmbedConfig(batch=0)
    assert module._find_size({}) is None
