import gzip
import re

import h5py
import numpy as np
import pytest

from eosin.cohorts import PCAM_ADDRESS, PCAM_MD5, find_pcam_files, read_pcam
from eosin.core import CohortError

LABELS = {"train": [0, 1, 1], "valid": [1, 0], "test": [0]}
SLIDES = {"train": ["s1", "s1", "s2"], "valid": ["s3", "s3"], "test": ["s4"]}


def read(root, **options):
    return read_pcam(root, find_pcam_files(root), **options)


def test_the_official_files_are_nine_with_a_checksum_each():
    assert len(PCAM_MD5) == 9
    assert all(re.fullmatch("[0-9a-f]{32}", md5) for md5 in PCAM_MD5.values())
    assert len(set(PCAM_MD5.values())) == 9
    assert PCAM_ADDRESS.startswith("https://zenodo.org/")


def test_splits_labels_and_slides_are_kept(make_pcam):
    root = make_pcam(LABELS, slides=SLIDES)
    found = read(root)
    table = found.table
    assert table["split"].tolist() == ["train"] * 3 + ["val"] * 2 + ["test"]
    assert table["label"].tolist() == [0, 1, 1, 1, 0, 0]
    assert table["source_index"].tolist() == [0, 1, 2, 0, 1, 0]
    assert table["source"].iloc[3] == "camelyonpatch_level_2_split_valid_x.h5"
    assert table["slide_id"].tolist() == ["s1", "s1", "s2", "s3", "s3", "s4"]
    assert table["tile_id"].iloc[1] == "train_000001"
    assert table["tile_id"].is_unique
    assert (found.mpp, found.class_names) == (0.97, ("normal", "tumor"))
    assert found.notes["n_slides_known"] == 4


def test_slides_are_unknown_without_meta(make_pcam):
    assert read(make_pcam(LABELS)).table["slide_id"].isna().all()


def test_packed_files_are_found_and_packed_labels_read(make_pcam):
    root = make_pcam(LABELS)
    for name in ("train_x", "valid_y"):
        path = root / f"camelyonpatch_level_2_split_{name}.h5"
        path.with_suffix(".h5.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    files = find_pcam_files(root)
    assert [f.is_packed for f in files] == [True, False, False]
    assert read_pcam(root, files[1:]).table["label"].tolist() == [1, 0, 0]


def test_an_unpacked_file_comes_before_a_packed_one(make_pcam):
    root = make_pcam(LABELS)
    (root / "camelyonpatch_level_2_split_train_x.h5.gz").write_bytes(b"whatever")
    assert not find_pcam_files(root)[0].is_packed


def test_patches_elsewhere_are_named_in_full(make_pcam, tmp_path):
    root = make_pcam(LABELS)
    files = find_pcam_files(root)
    found = read_pcam(tmp_path / "pcam" / "deeper", files)
    assert found.table["source"].iloc[0] == files[0].images.resolve().as_posix()


def test_a_folder_without_such_files_is_refused_with_advice(tmp_path):
    (tmp_path / "x.h5").write_bytes(b"")
    (tmp_path / "train_x.h5").mkdir()
    with pytest.raises(CohortError, match="'eosin fetch pcam'"):
        find_pcam_files(tmp_path)


def test_labels_without_patches_are_refused(make_pcam):
    root = make_pcam(LABELS)
    (root / "camelyonpatch_level_2_split_test_x.h5").unlink()
    with pytest.raises(CohortError, match="test: there are labels or slides, but no"):
        find_pcam_files(root)


def test_patches_without_labels_are_refused_or_unlabelled(make_pcam):
    root = make_pcam(LABELS)
    (root / "camelyonpatch_level_2_split_test_y.h5").unlink()
    with pytest.raises(CohortError, match="has no label file"):
        read(root)
    found = read(root, allow_missing=True)
    assert found.table["label"].tolist() == [0, 1, 1, 1, 0, -1]
    assert found.warnings == ("test: no label file (..._y.h5)",)


@pytest.mark.parametrize("part", ["x", "y"])
def test_a_file_that_is_cut_short_is_named(make_pcam, part):
    root = make_pcam(LABELS)
    path = root / f"camelyonpatch_level_2_split_train_{part}.h5"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CohortError, match=rf"train_{part}\.h5: cannot be read .*cut"):
        read(root)


def test_packed_labels_that_are_cut_short_are_named(make_pcam):
    root = make_pcam(LABELS)
    path = root / "camelyonpatch_level_2_split_train_y.h5"
    path.with_suffix(".h5.gz").write_bytes(gzip.compress(path.read_bytes())[:-20])
    path.unlink()
    with pytest.raises(CohortError, match="cut short"):
        read(root)


def test_x_and_y_of_different_length_are_refused(make_pcam):
    root = make_pcam(LABELS)
    with h5py.File(root / "camelyonpatch_level_2_split_train_y.h5", "w") as file:
        file["y"] = np.zeros((2, 1, 1, 1), np.uint8)
    with pytest.raises(CohortError, match=r"has 2 labels, but .* has 3 patches"):
        read(root)


def test_labels_that_are_not_0_or_1_are_named(make_pcam):
    root = make_pcam({"train": [0, 3, 1]})
    with pytest.raises(CohortError, match=r"row 1 has '3'"):
        read(root)


def test_text_labels_are_read_or_named(make_pcam):
    root = make_pcam({"train": [0, 1]})
    path = root / "camelyonpatch_level_2_split_train_y.h5"
    with h5py.File(path, "w") as file:
        file["y"] = np.array([b"1", b"0"])
    assert read(root).table["label"].tolist() == [1, 0]
    with h5py.File(path, "w") as file:
        file["y"] = np.array([b"1", b"tumor"])
    with pytest.raises(CohortError, match="row 1 has 'tumor'"):
        read(root)


def test_a_meta_table_of_another_length_or_with_gaps_is_refused(make_pcam):
    root = make_pcam({"train": [0, 1]}, slides={"train": ["s1"]})
    with pytest.raises(CohortError, match=r"has 1 rows, but .* has 2 patches"):
        read(root)
    root = make_pcam({"train": [0, 1]}, slides={"train": ["s1", ""]})
    with pytest.raises(CohortError, match="'wsi' is empty"):
        read(root)


def test_another_key_is_named(make_pcam):
    root = make_pcam({"train": [0, 1]})
    with h5py.File(root / "camelyonpatch_level_2_split_train_x.h5", "w") as file:
        file["images"] = np.zeros((2, 8, 8, 3), np.uint8)
    with pytest.raises(CohortError, match="needs a data set 'x'; it holds images"):
        read(root)


@pytest.mark.parametrize(
    ("shape", "kind"), [((8, 8), np.uint8), ((8, 6, 3), np.uint8), ((8, 8, 3), "f4")]
)
def test_what_holds_no_patches_is_refused(make_pcam, shape, kind):
    with pytest.raises(CohortError, match="must hold square patches"):
        read(make_pcam({"train": [0, 1]}, shape=shape, kind=kind))
