import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from eosin.cli.main import app
from eosin.workflows.import_patches import ImportConfig, import_patches


@pytest.fixture
def tiles(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(8):
        path = tmp_path / "set" / f"class{i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    shutil.copy(tmp_path / "set/class0/0.png", tmp_path / "set/class1/copy.png")
    import_patches(tmp_path / "set", ImportConfig(layout="folder"), tmp_path / "tiles")
    return tmp_path / "tiles"


def run(*arguments):
    done = CliRunner().invoke(app, ["clean", *map(str, arguments)])
    return done, " ".join(done.output.split())


def test_what_was_dropped_is_counted_by_rule(tiles, tmp_path):
    done, text = run(tiles, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "Dropped 2 of 9 tiles: 0 blank, 0 unreadable, 2 conflicting" in text
    assert "Left 7: 4 class1, 3 class0" in text
    assert "Note: 1 slides or groups have no tile left" in text
    assert len(pd.read_csv(tmp_path / "out" / "dropped.csv")) == 2


def test_rules_are_named_and_tiles_kept(tiles, tmp_path):
    (tmp_path / "keep.csv").write_text("tile_id\nclass0/0\n")
    words = ["--rules", "conflicting,duplicates", "--keep", tmp_path / "keep.csv"]
    done, text = run(tiles, "-o", tmp_path / "out", *words)
    assert done.exit_code == 0, done.output
    assert "Dropped 1 of 9 tiles: 1 conflicting, 0 duplicates" in text


def test_an_unknown_rule_is_refused_with_those_there_are(tiles, tmp_path):
    done, _ = run(tiles, "-o", tmp_path / "out", "--rules", "ugly")
    assert done.exit_code == 1
    assert "saturated, blurred; got ugly" in str(done.exception)


def test_a_tile_that_stays_and_cannot_be_read_gives_exit_code_1(tiles, tmp_path):
    (tmp_path / "set" / "class1" / "3.png").unlink()
    done, text = run(tiles, "-o", tmp_path / "out", "--rules", "blank")
    assert done.exit_code == 1
    assert "such as class1/3" in text
    done, text = run(tiles, "-o", tmp_path / "other")
    assert done.exit_code == 0, done.output
    assert "1 unreadable" in text
