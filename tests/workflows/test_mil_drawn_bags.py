import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from eosin.bags import read_bag_table
from eosin.workflows.mil_drawn_bags import DrawnBagPredictor, DrawnJob
from eosin.workflows.mil_prediction_config import MILPredictConfig
from eosin.workflows.mil_run import EnsemblePrediction, open_mil_run
from eosin.workflows.tile_folder import open_tile_folder


class Fixed:
    """An ensemble that attends to one tile, and keeps the pixels that it was shown."""

    def predict(self, bags):
        self.pixels = bags[0].read()
        attention = np.full(6, 0.1)
        attention[4] = 0.5
        folds = np.array([[0.2, 0.8]])
        return [EnsemblePrediction(folds[0], folds, attention, None)]


@pytest.fixture
def scored(pixel_study, tile_folder, tmp_path):
    folder = open_tile_folder(tile_folder)
    table, _ = read_bag_table(pixel_study / "bags" / "bags.parquet")
    rows = table[table["bag_id"] == "train-00001"]
    place = pd.Series(np.arange(len(folder.tiles)), index=folder.tiles["tile_id"])
    rows = rows.assign(place=place.loc[rows["tile_id"]].to_numpy())
    ensemble = Fixed()
    with folder.open_reader() as reader:
        predictor = DrawnBagPredictor(
            open_mil_run(pixel_study / "run"),
            ensemble,
            reader,
            MILPredictConfig(gallery_tiles=2),
            tmp_path,
        )
        predictor.predict(DrawnJob("train-00001", rows, "key"))
        pixels = reader.read(rows["place"].to_numpy())
    part = json.loads((tmp_path / "parts" / "train-00001.json").read_text())
    return part, rows, pixels, ensemble


def test_a_bag_is_shown_its_own_tiles_in_order(scored):
    _, _, pixels, ensemble = scored
    np.testing.assert_array_equal(ensemble.pixels, pixels.reshape(6, -1))


def test_a_bag_keeps_what_was_drawn_and_what_was_found(scored):
    part, rows, _, _ = scored
    row = part["row"]
    assert part["key"] == "key"
    assert (row["true_label"], row["witnesses"], row["tiles"]) == ("tumor", 3, 6)
    assert row["seen_in_training"]
    assert row["highest_attention"] == pytest.approx(3)
    assert row["tiles_with_half"] == 1
    # The attended tile ties with none: it stands before 3 or 2 others.
    is_witness = rows["is_witness"].to_numpy()
    assert row["witness_auc"] == pytest.approx(2 / 3 if is_witness[4] else 1 / 3)
    tiles = pd.DataFrame(part["tiles"])
    assert tiles["attention"].tolist() == pytest.approx([0.6] * 4 + [3, 0.6])
    assert tiles["rank"].tolist()[4] == 1
    assert tiles["tile_id"].tolist() == rows["tile_id"].tolist()


def test_the_gallery_begins_with_the_most_attended_tile(scored, tmp_path):
    part, rows, pixels, _ = scored
    first, second = part["row"]["gallery"]
    assert first.startswith("3")
    assert second.startswith("0.6")
    assert first.endswith("(witness)") == rows["is_witness"].iloc[4]
    sheet = np.asarray(Image.open(tmp_path / "train-00001.gallery.png"))
    small = Image.fromarray(sheet[6 : 6 + 128, 6 : 6 + 128]).resize((64, 64))
    assert np.abs(np.asarray(small).astype(int) - pixels[4]).mean() < 12
