import shutil

import cv2
import numpy as np
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
    for name in ("class0/copy", "class1/copy"):
        shutil.copy(tmp_path / "set/class0/0.png", tmp_path / f"set/{name}.png")
    import_patches(tmp_path / "set", ImportConfig(layout="folder"), tmp_path / "tiles")
    return tmp_path / "tiles"


def run(*arguments):
    done = CliRunner().invoke(app, ["explore", *map(str, arguments)])
    return done, " ".join(done.output.split())


def test_an_exploration_says_what_it_found(tiles, tmp_path):
    np.save(tmp_path / "f.npy", np.random.default_rng(0).normal(size=(10, 4)))
    words = ["--features", tmp_path / "f.npy", "--sample", 9, "--set", "shown=2"]
    done, text = run(tiles, "-o", tmp_path / "out", *words)
    assert done.exit_code == 0, done.output
    assert "10 patches in 8 groups of look-alikes: 5 class0, 5 class1" in text
    assert "Outliers of 9 looked at: 0 blank" in text
    assert "Exact duplicates: 3 in 1 groups, 3 with another label" in text
    assert "Caution: Nobody stated the resolution" in text
    assert (tmp_path / "out" / "report.html").exists()


def test_a_tile_that_cannot_be_read_gives_exit_code_1(tiles, tmp_path):
    (tmp_path / "set" / "class1" / "3.png").unlink()
    done, text = run(tiles, "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert "such as class1/3" in text
    assert (tmp_path / "out" / "report.html").exists()


def test_an_unknown_setting_is_refused(tiles, tmp_path):
    done, _ = run(tiles, "-o", tmp_path / "out", "--set", "colour=red")
    assert "unknown setting: colour" in str(done.exception)
