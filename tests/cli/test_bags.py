import json

from typer.testing import CliRunner

from eosin.bags import read_bag_table
from eosin.cli import main
from eosin.workflows.demo import make_phantom_cohort
from eosin.workflows.tile import TileConfig, tile_cohort


def test_bags_are_made_and_counted(tmp_path):
    cohort = make_phantom_cohort(
        tmp_path / "cohort", n_patients=6, n_new=1, size_px=(1024, 896)
    )
    tile_cohort(cohort.table, TileConfig(mpp=1.0, tile_px=32), tmp_path / "tiles")
    words = ["bags", "make", str(tmp_path / "tiles"), "-o", str(tmp_path / "bags")]
    words += ["--n-bags", "20", "--size", "6", "--witnesses", "3,1", "--seed", "4"]
    done = CliRunner().invoke(main.app, words)
    assert done.exit_code == 0, done.output
    table, info = read_bag_table(tmp_path / "bags" / "bags.parquet")
    assert table["bag_id"].nunique() == 20
    assert (info.size, info.witnesses, info.seed) == (6, (3, 1), 4)
    assert "witness_tiles" in done.output
    assert (
        f"Next eosin mil train {tmp_path / 'tiles'} {tmp_path / 'bags'} -o run/ "
        "--encoder densenet121"
    ) in done.output
    record = json.loads((tmp_path / "bags" / "run.json").read_text())
    assert record["status"] == "done"


def test_help_has_an_example():
    text = CliRunner().invoke(main.app, ["bags", "make", "--help"]).output
    assert "Example: eosin bags make" in " ".join(text.split())
