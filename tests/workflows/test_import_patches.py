import gzip
import json
from pathlib import Path

import cv2
import h5py
import numpy as np
import pandas as pd
import pytest
from tests.workflows.patch_sets import PX, make_classes, make_kaggle, paint, save

from eosin.core import CohortError, ManifestError, ModelError, RunError
from eosin.evaluation import read_predictions, select_level
from eosin.settings import ImportSettings, TileTraining
from eosin.studies.splits import say_left_out, split_tiles
from eosin.tiles import read_manifest, write_manifest
from eosin.tiles.folder import open_tile_folder
from eosin.workflows import import_patches as module
from eosin.workflows.evaluate import evaluate
from eosin.workflows.import_patches import import_patches
from eosin.workflows.train import train

STEM = "camelyonpatch_level_2_split_"


def make_pcam(root, counts=(("train", 12), ("valid", 6), ("test", 6)), *, slides=True):
    root.mkdir()
    seed = 0
    for split, n in counts:
        labels = np.arange(n) % 2
        images = np.stack([paint(seed + i, labels[i]) for i in range(n)])
        seed += n
        with h5py.File(root / f"{STEM}{split}_x.h5", "w") as file:
            file["x"] = images
        with h5py.File(root / f"{STEM}{split}_y.h5", "w") as file:
            file["y"] = labels.astype(np.uint8).reshape(-1, 1, 1, 1)
        if slides:
            rows = [f"{i},{split}_{i // 2}" for i in range(n)]
            (root / f"{STEM}{split}_meta.csv").write_text("\n".join([",wsi", *rows]))
    return root


def make_folders(root, sizes=((PX, PX),) * 6):
    for i, size in enumerate(sizes):
        image = cv2.resize(paint(i, i % 2, 64), size, interpolation=cv2.INTER_AREA)
        save(root / ("tumor" if i % 2 else "normal") / f"case{i // 2}_{i}.png", image)
    return root


def run(root, out, layout="folder", **options):
    return import_patches(root, out, ImportSettings(layout=layout, **options))


@pytest.fixture(scope="module")
def kaggle(tmp_path_factory) -> Path:
    train = [paint(i, i % 2) for i in range(80)]
    test = [paint(1000 + i) for i in range(3)]
    return make_kaggle(tmp_path_factory.mktemp("set with é") / "kaggle", train, test)


@pytest.fixture(scope="module")
def imported(kaggle, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("imported") / "tiles"
    run(kaggle, out, "kaggle")
    return out


def test_a_kaggle_set_becomes_a_tile_folder(kaggle, imported):
    folder = open_tile_folder(imported)
    assert folder.info.class_names == ("normal", "tumor")
    assert (folder.info.mpp, folder.info.tile_px) == (0.97, PX)
    assert (folder.info.grouping, folder.info.resampling) == ("estimated", "none")
    tiles = folder.tiles.set_index("tile_id")
    assert tiles["label"]["p001"] == 1
    assert tiles["tumor_fraction"]["p001"] == 1
    assert tiles[["label", "tumor_fraction"]].loc["q0"].isna().all()
    assert tiles["split"].isna().all()
    with folder.open_reader() as reader:
        got = reader.read(np.array([5, 81]))
    assert np.array_equal(got, np.stack([paint(5, 1), paint(1001)]))
    assert tiles["mean_blue"]["p005"] == pytest.approx(got[0][..., 2].mean())
    record = json.loads((imported / "run.json").read_text())
    assert (record["command"], record["status"]) == ("import", "done")
    assert record["notes"]["grouping"] == "estimated"
    assert any("cannot be proven" in text for text in record["notes"]["cautions"])
    # No pixel is copied.
    names = {path.name for path in imported.iterdir()}
    assert names == {"tiles.parquet", "slides.csv", "run.json"}
    assert folder.slides["path"].unique().tolist() == [str(kaggle.resolve())]
    assert folder.slides["n_tiles"].sum() == 83


def test_a_test_sets_patches_are_in_no_split_of_a_training(imported):
    folder = open_tile_folder(imported)
    config = TileTraining(encoder="smallcnn", weights="none")
    splits = split_tiles(folder, config)
    is_test = folder.tiles["tile_id"].str.startswith("q")
    bare = set(folder.tiles.loc[is_test, "slide_id"])
    assert len(bare) == 3
    assert not bare & set(splits["slide_id"])
    (said,) = say_left_out(folder, splits)
    assert said == "3 patches without a label are in no split."
    assert len(folder.studied_tiles) == 80


def test_the_same_import_is_reused_and_another_is_refused(
    kaggle, imported, monkeypatch
):
    monkeypatch.setattr(module, "scan_tiles", lambda *a, **k: pytest.fail("read"))
    result = run(kaggle, imported, "kaggle")
    assert result.n_tiles == 83
    assert result.label_counts == {"normal": 40, "tumor": 40, "unlabelled": 3}
    assert result.mpp == 0.97
    with pytest.raises(RunError, match=r"similarity was 0\.95, is 0\.9"):
        run(kaggle, imported, "kaggle", similarity=0.9)
    new = kaggle / "test" / "new.tif"
    save(new, paint(7))
    with pytest.raises(RunError, match="input patches changed"):
        run(kaggle, imported, "kaggle")
    new.unlink()


def test_pcam_is_read_where_it_is_with_its_splits_and_slides(tmp_path):
    root, out = make_pcam(tmp_path / "pcam"), tmp_path / "tiles"
    packed = root / f"{STEM}valid_x.h5"
    packed.with_suffix(".h5.gz").write_bytes(gzip.compress(packed.read_bytes()))
    packed.unlink()
    result = run(root, out, "pcam")
    folder = open_tile_folder(out)
    counts = {"train": 12, "val": 6, "test": 6}
    assert folder.tiles["split"].value_counts().to_dict() == counts
    assert result.n_groups == 12
    assert result.cautions == ()
    with folder.open_reader() as reader:
        assert np.array_equal(reader.read(np.array([13]))[0], paint(13, 1))
        assert np.array_equal(reader.read(np.array([19]))[0], paint(19, 1))
    notes = json.loads((out / "run.json").read_text())["notes"]
    assert notes["unpacked"][f"{packed.name}.gz"]["is_official"] is False
    # What was unpacked is unpacked once.
    unpacked = out / "unpacked" / packed.name
    written = unpacked.stat().st_mtime_ns
    config = ImportSettings(layout="pcam", measures=False)
    import_patches(root, out, config, overwrite=True)
    assert unpacked.stat().st_mtime_ns == written
    assert open_tile_folder(out).tiles["sharpness"].isna().all()


def test_pcam_without_slides_keeps_its_splits_and_says_what_crosses_them(tmp_path):
    root = make_pcam(tmp_path / "pcam", (("train", 8), ("test", 8)), slides=False)
    with h5py.File(root / f"{STEM}test_x.h5", "r+") as file:
        file["x"][1] = paint(3, 1)
    result = run(root, tmp_path / "tiles", "pcam")
    text = " ".join(result.cautions)
    assert "1 groups of near-duplicates lie in more than one" in text
    assert "2 patches have an identical copy in another split" in text
    assert "there is no val split" in " ".join(result.warnings)
    counts = open_tile_folder(tmp_path / "tiles").tiles["split"].value_counts()
    assert counts["test"] == 8
    assert counts["train"] + counts["val"] == 8


def test_features_unite_what_looks_do_not(tmp_path):
    root = make_folders(tmp_path / "set")
    features = np.eye(6, dtype=np.float32)
    features[5] = features[0]
    np.save(tmp_path / "features.npy", features)
    assert run(root, tmp_path / "a").n_groups == 6
    found = run(root, tmp_path / "b", features=str(tmp_path / "features.npy"))
    assert found.n_groups == 5


def test_folders_have_no_resolution_unless_it_is_given(tmp_path):
    root = make_folders(tmp_path / "set")
    result = run(root, tmp_path / "a", group_regex=r"(case\d)")
    assert result.mpp is None
    (said,) = result.cautions
    assert said.startswith("Nobody stated the resolution of these patches")
    assert read_manifest(tmp_path / "a" / "tiles.parquet")[1].mpp is None
    assert run(root, tmp_path / "b", mpp=0.5).mpp == 0.5
    # Read at half the size, a pixel is twice as wide.
    assert run(root, tmp_path / "c", mpp=0.5, tile_px=PX // 2).mpp == 1.0


def test_training_and_evaluation_take_patches_as_they_take_tiles(tmp_path):
    run(make_classes(tmp_path / "set", range(60)), tmp_path / "tiles")
    tune = {"tune_epochs": 4, "tune_learning_rate": 2e-3}
    training = TileTraining(encoder="smallcnn", weights="none", **tune)
    result = train(tmp_path / "tiles", tmp_path / "run", training)
    assert result.validation_aucs[0] > 0.8
    card = result.card
    assert (card.sees.mpp, card.sees.tile_px) == (None, PX)
    with pytest.raises(ModelError, match="nobody stated it; import patches with --mpp"):
        _ = card.sees.spec
    evaluated = evaluate(tmp_path / "run", n_bootstrap=10)
    assert evaluated.metrics["tile"]["roc_auc"]["value"] > 0.8
    for text in ("cannot be proven", "Nobody stated the resolution"):
        assert sum(text in caution for caution in card.cautions) == 1
        assert sum(text in caution for caution in evaluated.cautions) == 1
    # Of another set the patches with a label are scored, and no others.
    run(make_classes(tmp_path / "other", range(100, 108)), tmp_path / "new")
    tiles, info = read_manifest(tmp_path / "new" / "tiles.parquet")
    tiles.loc[[0, 4], "label"] = pd.NA
    write_manifest(tmp_path / "new" / "tiles.parquet", tiles, info)
    words = {"on": tmp_path / "new", "n_bootstrap": 10}
    evaluate(tmp_path / "run", out=tmp_path / "e", **words)
    scored, _ = read_predictions(tmp_path / "e" / "predictions.parquet")
    expected = set(tiles["tile_id"]) - set(tiles["tile_id"][[0, 4]])
    assert set(select_level(scored, "tile")["id"]) == expected
    tiles["label"] = pd.array([pd.NA] * 8, "Int8")
    write_manifest(tmp_path / "new" / "tiles.parquet", tiles, info)
    with pytest.raises(ManifestError, match="needs patches with a label, got none"):
        evaluate(tmp_path / "run", out=tmp_path / "e2", **words)


@pytest.mark.parametrize(
    ("sizes", "name"),
    [
        ([(48, 48)], "area"),
        ([(24, 24), (PX, 40)], "linear"),
        ([(48, 48), (24, 24)], "area and linear"),
    ],
)
def test_mixed_sizes_are_read_at_one_with_the_filter_recorded(tmp_path, sizes, name):
    root = make_folders(tmp_path / "set", [(PX, PX)] * 4 + sizes)
    result = run(root, tmp_path / "tiles", mpp=0.5)
    n_other = sum(min(size) != PX for size in sizes)
    n_all = 4 + len(sizes)
    assert result.tile_px == PX
    text = " ".join((*result.cautions, *result.warnings))
    assert f"{n_other} of {n_all} patches have another size" in text
    assert f"{n_other} patches are resampled to 32 px" in text
    assert ("1 patches are not square" in text) == ((PX, 40) in sizes)
    folder = open_tile_folder(tmp_path / "tiles")
    assert folder.info.resampling == name
    with folder.open_reader() as reader:
        assert reader.read(np.arange(n_all)).shape == (n_all, PX, PX, 3)


def test_grey_transparent_and_deep_patches_are_told(tmp_path):
    root = make_folders(tmp_path / "set")
    cv2.imwrite(str(root / "normal" / "grey.png"), paint(50)[..., 0])
    clear = np.dstack([paint(51), np.full((PX, PX), 255, np.uint8)])
    cv2.imwrite(str(root / "normal" / "clear.png"), clear)
    cv2.imwrite(str(root / "tumor" / "deep.png"), paint(52).astype(np.uint16) * 256)
    text = " ".join(run(root, tmp_path / "tiles").warnings)
    for kind in ("grey", "transparent", "of 16 bit"):
        assert f"1 patches are {kind}" in text


def test_patches_that_cannot_be_read_are_left_out_and_listed(tmp_path):
    root = make_folders(tmp_path / "set")
    (root / "normal" / "bad.png").write_bytes(b"no image")
    result = run(root, tmp_path / "tiles")
    assert result.n_tiles == 6
    assert [failure.slide_id for failure in result.failures] == ["normal/bad"]
    listed = pd.read_csv(tmp_path / "tiles" / "unreadable.csv")
    assert listed["source"].tolist() == ["normal/bad.png"]
    record = json.loads((tmp_path / "tiles" / "run.json").read_text())
    assert record["status"] == "incomplete"
    passed = run(root, tmp_path / "passed", allow_missing=True)
    assert passed.failures == ()
    assert "1 patches cannot be read" in passed.warnings[0]
    for path in root.rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(ManifestError, match="not one of 7 patches can be read"):
        run(root, tmp_path / "a", tile_px=8)
    with pytest.raises(ManifestError, match="not one of the patches that were tried"):
        run(root, tmp_path / "b")


def test_given_splits_are_kept_or_ignored(tmp_path):
    for i in range(12):
        split = ("train", "val", "test")[i % 3]
        name = "tumor" if i // 3 % 2 else "normal"
        save(tmp_path / "set" / split / name / f"case{i // 3}_{i}.png", paint(i))
    root = tmp_path / "set"
    run(root, tmp_path / "kept")
    kept = open_tile_folder(tmp_path / "kept").tiles["split"]
    assert kept.value_counts().to_dict() == {"train": 4, "val": 4, "test": 4}
    run(root, tmp_path / "ignored", given_splits="ignore")
    assert open_tile_folder(tmp_path / "ignored").tiles["split"].isna().all()
    with pytest.raises(CohortError, match="all patches of a patient must be in one"):
        run(root, tmp_path / "cases", group_regex=r"(case\d)")


def test_a_slide_has_the_split_of_its_labelled_patches(tmp_path):
    table = pd.DataFrame({"label": [-1, 0, 1], "split": [None, "train", "train"]})
    table = table.assign(slide_id="s", patient_id="p")
    slides = module._make_slides(table, tmp_path, 0.5)
    assert slides[["split", "n_tiles"]].to_numpy().tolist() == [["train", 3]]


@pytest.mark.realdata
def test_real_sets_are_imported(data_folder, tmp_path):
    oral = run(data_folder / "oral", tmp_path / "oral")
    assert oral.label_counts == {"OSCC": 705, "Normal": 219}
    assert (oral.n_groups, oral.tile_px, oral.mpp) == (911, 224, None)
    kaggle = run(data_folder / "pcam_kaggle", tmp_path / "kaggle", "kaggle")
    assert (kaggle.n_tiles, kaggle.tile_px, kaggle.mpp) == (26, 96, 0.97)


def test_classes_that_tell_no_finding_are_cautioned_about(tmp_path):
    root = make_folders(tmp_path / "set")
    (root / "normal").rename(root / "LUSC")
    (root / "tumor").rename(root / "LUAD")
    result = run(root, tmp_path / "tiles", mpp=1.0)
    assert "LUAD, LUSC do not say which class is the finding" in result.cautions[0]
    assert "'LUSC' is looked for (positive), 'LUAD' is the n" in result.warnings[-1]
    stated = run(root, tmp_path / "stated", mpp=1.0, negative="LUSC")
    assert not any("finding" in text for text in stated.cautions)
    assert "'LUAD' is looked for" in stated.warnings[-1]
