import pandas as pd
import pytest
from typer.testing import CliRunner

from eosin.cli import main
from eosin.workflows.make_bags import MakeBagsConfig, make_bags
from eosin.workflows.train_mil_pixels import PixelMILConfig, train_pixel_mil


@pytest.fixture(scope="module")
def pixels(tile_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pixels")
    bags = MakeBagsConfig(n_bags=10, size=4, witnesses=(2,))
    make_bags(tile_folder, bags, folder / "bags")
    config = PixelMILConfig(epochs=1, n_bootstrap=0)
    train_pixel_mil(tile_folder, folder / "bags", config, folder / "run")
    return folder


def run(*words):
    return CliRunner().invoke(main.app, ["mil", "predict", *map(str, words)])


def test_slides_are_called_by_a_run_from_pixels(pixels, cohort, tmp_path):
    done = run(pixels / "run", *cohort.new_slides, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    assert "Caution: The models learnt from drawn bags of 4 tiles" in text
    assert "A slide is called tumor from a probability" in text
    assert "attention.html" in done.output
    slides = pd.read_csv(tmp_path / "out" / "slides.csv")
    assert slides["status"].tolist() == ["done"] * len(cohort.new_slides)


def test_drawn_bags_are_called_by_a_run_from_pixels(pixels, tile_folder, tmp_path):
    bags = ["--bags", pixels / "bags", "-o", tmp_path / "out"]
    done = run(pixels / "run", tile_folder, *bags)
    assert done.exit_code == 0, done.output
    assert "Bags called: " in done.output
    text = " ".join(done.output.split())
    assert "bags hold tiles of patients that training has seen" in text
    assert len(pd.read_csv(tmp_path / "out" / "bags.csv")) == 10


def test_what_does_not_go_together_is_wrong_usage(pixels, tile_folder, tmp_path):
    words = [pixels / "run", tile_folder, "-o", tmp_path / "out"]
    done = run(*words, "--slides", "slides.csv")
    assert done.exit_code == 2
    assert "goes with features" in " ".join(done.output.split())
    done = run(*words, tile_folder, "--bags", pixels / "bags")
    assert done.exit_code == 2
    assert "one folder is needed" in " ".join(done.output.split())
