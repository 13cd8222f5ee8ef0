import cv2
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from eosin.cli.main import app


@pytest.fixture
def folders(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(6):
        path = tmp_path / "set" / f"class{i % 2}" / f"case{i // 2}_{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    return tmp_path / "set"


def run(*arguments):
    return CliRunner().invoke(app, ["import", *map(str, arguments)])


def test_an_import_says_what_it_found_and_what_to_beware_of(folders, tmp_path):
    done = run(
        "folder", folders, "-o", tmp_path / "tiles", "--group-regex", r"(case\d)"
    )
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    assert "6 patches of 16 px of unknown mpp in 3 groups" in text
    assert "Caution: Nobody stated the resolution" in text
    slides = pd.read_csv(tmp_path / "tiles" / "slides.csv")
    assert slides["slide_id"].tolist() == ["case0", "case1", "case2"]


def test_a_patch_that_cannot_be_read_gives_exit_code_1(folders, tmp_path):
    (folders / "class0" / "bad.png").write_bytes(b"no image")
    done = run("folder", folders, "-o", tmp_path / "tiles", "--mpp", "0.5")
    assert done.exit_code == 1
    text = " ".join(done.output.split())
    assert "at 0.5 mpp" in text
    assert "Note: 1 patches cannot be read" in text
    assert "such as class0/bad" in text
    done = run("folder", folders, "-o", tmp_path / "other", "--allow-missing")
    assert done.exit_code == 0, done.output


def test_an_option_of_another_layout_is_refused(folders, tmp_path):
    done = run("folder", folders, "-o", tmp_path / "t", "--slide-map", "map.csv")
    assert done.exit_code == 1
    assert "slide_map is for 'import kaggle'" in str(done.exception)


def test_an_unknown_layout_is_wrong_usage(folders, tmp_path):
    assert run("imagenet", folders, "-o", tmp_path / "tiles").exit_code == 2
