import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tests.workflows.patch_sets import make_classes, paint, save

from eosin.bags import FeatureFile
from eosin.core import RunError, read_json
from eosin.inference import encoding, open_session
from eosin.models import TorchEncoder, TorchEncoderSpec
from eosin.settings import EmbedSettings, ImportSettings, TilingSettings
from eosin.slides import fingerprint_slide
from eosin.tiles import TileReader, apply_view, read_manifest, write_manifest
from eosin.tiles.folder import open_tile_folder
from eosin.workflows.embed import embed_tiles
from eosin.workflows.import_patches import import_patches
from eosin.workflows.tile import tile_cohort


@pytest.fixture
def embed(run_folder, tile_folder, tmp_path):
    """Encode tiles into `features`, by the run's encoder if no other is named."""

    def go(tiles=tile_folder, name="features", **settings):
        settings = EmbedSettings(**{"encoder": str(run_folder)} | settings)
        return embed_tiles(tiles, tmp_path / name, settings)

    return go


@pytest.fixture
def own_tiles(cohort, tmp_path):
    """Tiles of a copy of the cohort, and the path of each slide."""
    shutil.copytree(cohort.table.parent, tmp_path / "cohort")
    table, settings = tmp_path / "cohort" / "slides.csv", TilingSettings
    tile_cohort(table, tmp_path / "tiles", settings(mpp=1.0, tile_px=64))
    slides = open_tile_folder(tmp_path / "tiles").slides
    return tmp_path / "tiles", slides.set_index("slide_id")["path"]


def cut_short(path):
    with open(path, "r+b") as file:  # noqa: PTH123 - to cut it where it is
        file.truncate(5000)


def expect(run_folder, tile_folder, slide_id, view=0):
    """Encode a slide's tiles by the model alone."""
    folder = open_tile_folder(tile_folder)
    own = folder.tiles[folder.tiles["slide_id"] == slide_id].reset_index(drop=True)
    with folder.open_reader(own) as reader:
        pixels = reader.read(np.arange(len(own)))
    session = open_session(run_folder / "model.onnx")
    return own, session.run(apply_view(pixels, view))["features"]


@pytest.mark.parametrize("views", [1, 2])
def test_a_runs_encoder_gives_its_features(embed, run_folder, tile_folder, views):
    result = embed(views=views)
    assert (result.n_slides, result.failures) == (10, ())
    own, expected = expect(run_folder, tile_folder, "slide-03")
    if views == 2:
        # A tile and its mirror image.
        expected = (expected + expect(run_folder, tile_folder, "slide-03", 4)[1]) / 2
    with FeatureFile(result.folder / "slide-03.h5") as file:
        np.testing.assert_allclose(file[:], expected, rtol=1e-4, atol=1e-5)
        coords = file.read_dataset("coords")
        assert np.array_equal(coords, own[["x_px0", "y_px0"]].to_numpy())
        names = file.read_dataset("tile_id").tolist()
        assert names == own["tile_id"].tolist()
        told = file.attributes
    assert (told["tile_px"], told["mpp"]) == (64, 1.0)
    assert told["encoder"] == "smallcnn of run"
    assert told["level0_width"] == 1024
    # 0.5 mpp made slides.
    assert told["level0_magnification"] == 20


def test_a_second_call_encodes_only_what_is_missing(embed):
    first = embed()
    assert embed().n_tiles == 0
    (first.folder / "slide-02.h5").unlink()
    assert 0 < embed().n_tiles < first.n_tiles
    with pytest.raises(RunError, match="views was 1, is 2"):
        embed(views=2)


def test_an_encoder_of_the_registry_is_exported_once(embed):
    result = embed(encoder="smallcnn", weights="none")
    assert result.dimension > 8
    assert (result.folder / "encoder.onnx").exists()
    assert "encoder_learnt_from" not in read_json(result.folder / "run.json")["notes"]
    # The same weights again: nothing is encoded twice.
    assert embed(encoder="smallcnn", weights="none").n_tiles == 0


def test_a_bad_slide_stops_nothing(embed, own_tiles):
    tiles, paths = own_tiles
    cut_short(paths["slide-02"])
    result = embed(tiles)
    assert [failure.slide_id for failure in result.failures] == ["slide-02"]
    assert result.n_slides == 9
    assert not (result.folder / "slide-02.h5").exists()


def test_a_slide_that_was_replaced_is_refused_until_it_is_back(embed, own_tiles):
    """Its places and labels are those of the slide that was tiled."""
    tiles, paths = own_tiles
    out = embed(tiles).folder
    before = FeatureFile(out / "slide-02.h5")
    own, told = before[:], before.attributes["slide_fingerprint"]
    assert told == fingerprint_slide(paths["slide-02"])
    kept = shutil.move(paths["slide-02"], f"{paths['slide-02']}.kept")
    shutil.copy(paths["slide-03"], paths["slide-02"])
    (failure,) = embed(tiles).failures
    assert failure.slide_id == "slide-02"
    assert "slide-02.tif: was replaced by another file" in failure.message
    # What the slide was before is not trained on.
    assert not (out / "slide-02.h5").exists()
    # A copy of it is as good.
    shutil.copy(kept, paths["slide-02"])
    result = embed(tiles)
    assert result.failures == ()
    np.testing.assert_array_equal(FeatureFile(out / "slide-02.h5")[:], own)


def test_what_is_kept_of_another_slide_is_not_taken_for_it(embed, own_tiles, tmp_path):
    """Slides of equal places took turns under one name, and the other was encoded."""
    tiles, paths = own_tiles
    kept = Path(shutil.move(paths["slide-02"], f"{paths['slide-02']}.kept"))
    other = kept.with_suffix(".other")
    other.write_bytes(kept.read_bytes() + b"\0")
    table = tmp_path / "cohort" / "slides.csv"
    settings = TilingSettings(mpp=1.0, tile_px=64)
    shutil.copy(other, paths["slide-02"])
    tile_cohort(table, tiles, settings)
    assert embed(tiles).failures == ()
    shutil.copy(kept, paths["slide-02"])
    tile_cohort(table, tiles, settings)
    shutil.copy(other, paths["slide-02"])
    (failure,) = embed(tiles).failures
    assert "slide-02.tif: was replaced by another file" in failure.message


def test_tiles_that_are_known_to_be_damaged_are_left_out(embed, tile_folder, tmp_path):
    shutil.copytree(tile_folder, tmp_path / "tiles")
    tiles, info = read_manifest(tmp_path / "tiles" / "tiles.parquet")
    tiles.loc[tiles.index[:3], "flags"] = ["damaged", "pen;damaged", "pen"]
    tiles.loc[tiles["slide_id"] == "slide-02", "flags"] = "damaged"
    write_manifest(tmp_path / "tiles" / "tiles.parquet", tiles, info)
    result = embed(tmp_path / "tiles")
    own = tiles.loc[tiles["slide_id"] == "slide-01", "tile_id"].tolist()
    names = FeatureFile(result.folder / "slide-01.h5").read_dataset("tile_id")
    assert names.tolist() == own[2:]
    assert result.n_slides == 9
    notes = read_json(result.folder / "run.json")["notes"]
    assert notes["n_damaged_tiles"] == 2 + (tiles["slide_id"] == "slide-02").sum()
    assert notes["slides_without_tiles"] == ["slide-02"]
    assert {"callers", "threads", "batch"} < notes["model_calls"].keys()


class KilledError(BaseException):
    """Stands for whatever ends the process."""


def test_a_killed_run_goes_on_within_the_slide(
    embed, tile_folder, tmp_path, monkeypatch
):
    tiles = tmp_path / "tiles"
    # Without what an earlier command has encoded.
    for place in (tiles, tmp_path / "same"):
        shutil.copytree(tile_folder, place, ignore=shutil.ignore_patterns("cache"))
    whole = embed(tmp_path / "same", "whole", batch=8).folder
    monkeypatch.setattr(encoding, "_SAVE_EVERY_S", -1.0)
    monkeypatch.setattr(encoding, "_CHUNK", 8)
    asked = []
    read = TileReader.read

    def read_until_killed(reader, rows):
        asked.extend(rows.tolist())
        if is_killed and 20 in rows:
            raise KilledError
        return read(reader, rows)

    monkeypatch.setattr(TileReader, "read", read_until_killed)
    is_killed = True
    with pytest.raises(KilledError):
        embed(tiles, batch=8)
    assert not list((tmp_path / "features").glob("*.h5"))
    is_killed = False
    asked.clear()
    embed(tiles, batch=8)
    # The first 16 tiles of the first slide had been encoded and kept.
    assert asked[0] == 16
    for path in whole.glob("*.h5"):
        other = FeatureFile(tmp_path / "features" / path.name)
        assert other[:].tobytes() == FeatureFile(path)[:].tobytes()
    assert not (tmp_path / "features" / "state").exists()


class Colours(torch.nn.Module):
    def forward(self, pixels):
        return pixels.mean((2, 3))


def test_a_pytorch_module_of_ones_own_encodes_tiles(tile_folder, tmp_path):
    spec = TorchEncoderSpec(
        name="colours",
        source="",
        tile_px=64,
        mpp=1.0,
        dimension=3,
        licence="CC0-1.0",
        mean=(0.0, 0.0, 0.0),
        deviation=(1.0, 1.0, 1.0),
    )
    encoder = TorchEncoder(Colours(), spec)
    result = embed_tiles(
        tile_folder, tmp_path / "f", EmbedSettings(views=2), encoder=encoder
    )
    assert result.dimension == 3
    folder = open_tile_folder(tile_folder)
    own = folder.tiles[folder.tiles["slide_id"] == "slide-04"]
    file = FeatureFile(tmp_path / "f" / "slide-04.h5")
    colours = own[["mean_red", "mean_green", "mean_blue"]].to_numpy() / 255
    np.testing.assert_allclose(file[:], colours, atol=1e-4)
    assert file.attributes["licence"] == "CC0-1.0"
    settings = read_json(tmp_path / "f" / "run.json")["settings"]
    assert (settings["encoder"], settings["weights"]) == ("colours", "given")


def test_whom_a_fine_tuned_encoder_knows_is_noted(embed, run_folder):
    notes = read_json(embed().folder / "run.json")["notes"]
    splits = pd.read_csv(run_folder / "splits.csv")
    held_out = set(splits.loc[splits["split"] == "test", "patient_id"])
    known = set(notes["encoder_learnt_from"]["patients"])
    assert known == set(splits["patient_id"]) - held_out
    assert held_out


def test_patches_go_into_one_file_without_a_slides_size(embed, tmp_path):
    make_classes(tmp_path / "set", range(6))
    layout = ImportSettings(layout="folder")
    import_patches(tmp_path / "set", tmp_path / "tiles", layout)
    words = {"tiles": tmp_path / "tiles", "encoder": "smallcnn", "weights": "none"}
    result = embed(**words)
    assert (result.n_slides, result.n_tiles) == (1, 6)
    file = FeatureFile(result.folder / "patches.h5")
    assert file.shape == (6, 192)
    assert "level0_width" not in file.attributes
    assert embed(**words).n_tiles == 0
    # One file has become another.
    save(tmp_path / "set" / "normal" / "2.png", paint(9))
    assert embed(**words).n_tiles == 6
