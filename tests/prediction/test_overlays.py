import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from eosin.core import Progress
from eosin.evaluation import (
    Classes,
    Thresholds,
    evaluate_predictions,
    read_predictions,
    select_level,
)
from eosin.prediction.overlays import (
    choose_class,
    map_attention,
    map_probabilities,
    write_overlays,
)
from eosin.runs.run import read_run
from eosin.tiles import open_tile_folder


def evaluate(folder, split="test"):
    table, target = read_predictions(folder / "predictions.parquet")
    thresholds = Thresholds(0.5, 0.5)
    result = evaluate_predictions(
        table, target=target, thresholds=thresholds, split=split, n_bootstrap=0
    )
    return table, result


def test_the_slides_called_most_wrongly_are_drawn(
    evaluation_folder, tile_folder, tmp_path
):
    table, result = evaluate(evaluation_folder)
    folder, tiles = open_tile_folder(tile_folder), select_level(table, "tile")
    mapped = map_probabilities(folder, tiles, result, 0.4)
    assert [own.slide_id for own in mapped] == result.calls["id"].tolist()[:12]
    assert mapped[0].quantity == f"probability of {result.class_names[1]}"
    own = tiles[tiles["slide_id"] == mapped[0].slide_id]
    np.testing.assert_array_equal(mapped[0].values, own[result.target.columns[1]])
    cautions: list[str] = []
    paths = write_overlays(mapped[:2], tmp_path, Progress(), cautions)
    assert not cautions
    assert [path.name for path in paths.values()] == ["00.jpg", "01.jpg"]
    with Image.open(paths[mapped[0].slide_id]) as image:
        assert min(image.size) > 300


def test_a_slide_that_is_gone_costs_its_picture_and_is_told(
    evaluation_folder, tile_folder, tmp_path
):
    table, result = evaluate(evaluation_folder)
    folder = open_tile_folder(tile_folder)
    folder.slides.loc[folder.slides["slide_id"] == result.calls["id"][0], "path"] = "no"
    mapped = map_probabilities(folder, select_level(table, "tile"), result, None)
    cautions: list[str] = []
    paths = write_overlays(mapped[:2], tmp_path, Progress(), cautions)
    assert list(paths) == [mapped[1].slide_id]
    (caution,) = cautions
    assert f"slide {mapped[0].slide_id}" in caution


def test_held_out_attention_is_mapped_by_its_rank(
    mil_study, tile_folder, evaluation_folder, tmp_path
):
    _, result = evaluate(evaluation_folder)
    shutil.copytree(mil_study / "run", tmp_path / "run")
    run, folder = read_run(tmp_path / "run"), open_tile_folder(tile_folder)
    first, second, *_ = result.calls["id"]
    places = folder.tiles[folder.tiles["slide_id"] == second][["x_px0", "y_px0"]]
    table = places.assign(attention=np.arange(1.0, len(places) + 1))
    for slide_id, columns in ((first, ["attention"]), (second, list(table))):
        path = run.path / "attention" / f"{slide_id}.csv"
        table[columns].to_csv(path, index=False)
    # Where tiles lie is not known of the first.
    (mapped,) = map_attention(run, folder, result)
    assert mapped.slide_id == second
    assert np.max(mapped.values) == 1
    assert np.argmax(mapped.values) == len(places) - 1
    assert mapped.quantity.endswith("by the fold that held it out")
    assert map_attention(run, None, result) == []


def test_patches_have_no_pictures(odd_patches, evaluation_folder, mil_study):
    table, result = evaluate(evaluation_folder)
    folder = open_tile_folder(odd_patches)
    assert map_probabilities(folder, table, result, 0.5) == []
    assert map_attention(read_run(mil_study / "run"), folder, result) == []


@pytest.mark.parametrize(
    ("label", "shown"),
    [(2, "carcinoma"), (1, "adenoma"), (0, "adenoma"), (pd.NA, "adenoma")],
)
def test_a_slide_shows_its_own_class_or_the_positive_one_found_most(label, shown):
    target = Classes(("normal", "adenoma", "carcinoma"))
    call = dict(zip(target.columns, (0.7, 0.2, 0.1), strict=True))
    assert target.class_names[choose_class(call | {"label": label}, target)] == shown
