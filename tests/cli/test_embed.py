import json

import pandas as pd
from typer.testing import CliRunner

from eosin.bags import FeatureFile
from eosin.cli import main
from eosin.workflows.demo import make_phantom_cohort
from eosin.workflows.tile import TileConfig, tile_cohort


def test_features_are_written_and_counted(tmp_path):
    cohort = make_phantom_cohort(
        tmp_path / "cohort", n_patients=2, n_new=1, size_px=(512, 512)
    )
    tile_cohort(cohort.table, TileConfig(mpp=1.0, tile_px=64), tmp_path / "tiles")
    words = ["embed", str(tmp_path / "tiles"), "-o", str(tmp_path / "f")]
    words += ["--encoder", "smallcnn", "--weights", "none"]
    done = CliRunner().invoke(main.app, words)
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "f" / "run.json").read_text())
    assert record["status"] == "done"
    files = sorted((tmp_path / "f").glob("*.h5"))
    assert f"{len(files)} files of" in done.output
    assert (
        f"Next     eosin mil train {tmp_path / 'f'} "
        f"{tmp_path / 'tiles' / 'slides.csv'} -o run/ --class normal --class tumor"
    ) in done.output
    table = tmp_path / "cohort" / "slides.csv"
    pd.read_csv(table).drop(columns="label").to_csv(table, index=False)
    tile_cohort(table, TileConfig(mpp=1.0, tile_px=64), tmp_path / "bare")
    words[1], words[3] = str(tmp_path / "bare"), str(tmp_path / "g")
    done = CliRunner().invoke(main.app, words)
    assert f"Next     eosin mil limit {tmp_path / 'g'} {tmp_path / 'bare'} -o" in (
        done.output
    )
    with FeatureFile(files[0]) as file:
        assert file.shape[0] > 0
