import json

import numpy as np
import tifffile

from eosin.slides import Slide, open_slide, write_pyramid
from eosin.workflows.predict import PredictConfig, predict_slides
from eosin.workflows.slide_prediction import find_part
from eosin.workflows.tile import TileConfig, tile_cohort
from eosin.workflows.train_tiles import TrainConfig, train_classifier


def test_a_slide_without_mpp_needs_one_to_be_given(run_folder, cohort, tmp_path):
    with open_slide(cohort.new_slides[0]) as slide:
        image = slide.read(0, 0, 512, 512)
    tifffile.imwrite(tmp_path / "bare.tif", image, tile=(256, 256), photometric="rgb")
    result = predict_slides(
        run_folder, [tmp_path / "bare.tif"], PredictConfig(), tmp_path / "out"
    )
    assert "--slide-mpp" in result.failures[0].message
    result = predict_slides(
        run_folder,
        [tmp_path / "bare.tif"],
        PredictConfig(slide_mpp=0.5),
        tmp_path / "given",
    )
    assert result.slides["mpp_source"][0] == "given"


def test_a_slide_coarser_than_the_model_is_refused(run_folder, cohort, tmp_path):
    image = np.full((256, 256, 3), 200, np.uint8)
    write_pyramid(tmp_path / "coarse.tif", image, mpp=2.0)
    result = predict_slides(
        run_folder, [tmp_path / "coarse.tif"], PredictConfig(), tmp_path / "out"
    )
    assert "needs a finer slide" in result.failures[0].message


def test_a_slide_without_tissue_is_done_and_says_so(run_folder, tmp_path):
    image = np.full((512, 512, 3), 244, np.uint8)
    write_pyramid(tmp_path / "blank.tif", image, mpp=0.5)
    result = predict_slides(
        run_folder, [tmp_path / "blank.tif"], PredictConfig(), tmp_path / "out"
    )
    assert list(result.slides["status"]) == ["no tissue"]
    content = json.loads((tmp_path / "out" / "blank.geojson").read_text())
    assert content["features"] == []


def test_overlap_views_threshold_and_tile_objects(run_folder, cohort, tmp_path):
    config = PredictConfig(overlap_px=32, views=2, threshold=0.0, tile_objects=True)
    result = predict_slides(run_folder, cohort.new_slides[:1], config, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "new-1.geojson").read_text())
    kinds = [f["properties"]["objectType"] for f in content["features"]]
    # At a threshold of 0 every tile is an object.
    assert kinds.count("tile") == result.slides["tiles"][0]
    assert kinds.count("annotation") >= 1


def test_the_rows_of_slides_are_kept_under_names_that_every_system_allows(tmp_path):
    assert find_part(tmp_path, "a/b") == tmp_path / "parts" / "a%2Fb.json"


def test_a_mpp_given_for_all_gives_way_to_what_a_slide_says(
    run_folder, cohort, tmp_path
):
    config = PredictConfig(slide_mpp=0.25)
    result = predict_slides(run_folder, cohort.new_slides[:1], config, tmp_path)
    assert list(result.slides["mpp_source"]) == ["tiff resolution"]


def test_a_model_with_context_is_shown_it(cohort, tmp_path, monkeypatch):
    tiling = TileConfig(mpp=1.0, tile_px=64, context=2)
    tile_cohort(cohort.table, tiling, tmp_path / "tiles")
    config = TrainConfig(encoder="smallcnn", weights="none", tune_epochs=1)
    train_classifier(tmp_path / "tiles", config, tmp_path / "run")
    read = Slide.read_tiles
    sides = set()

    def spy(self, boxes, out, **options):
        if out.shape[1] == 64:
            sides.update(boxes[:, 2].tolist())
        read(self, boxes, out, **options)

    monkeypatch.setattr(Slide, "read_tiles", spy)
    result = predict_slides(
        tmp_path / "run", cohort.new_slides[:1], PredictConfig(), tmp_path / "out"
    )
    assert not result.failures
    # Tiles of 64 px at 1.0 mpp are 128 px at 0.5, and twice that with context.
    assert sides == {256}
