"""What each layout of patches says of its files, and what it refuses."""

import gzip
import re

import h5py
import numpy as np
import pytest

from eosin.cohorts import (
    PCAM_ADDRESS,
    PCAM_MD5,
    find_pcam_files,
    read_class_folders,
    read_kaggle,
    read_pcam,
)
from eosin.cohorts.class_folders import order_classes
from eosin.core import CohortError, ConfigError
from eosin.settings import ImportSettings

LABELS = {"aa": 0, "bb": 1, "cc": 0, "dd": 1}
SPLITS = {"train": [0, 1, 1], "valid": [1, 0], "test": [0]}
SLIDES = {"train": ["s1", "s1", "s2"], "valid": ["s3", "s3"], "test": ["s4"]}
STEM = "camelyonpatch_level_2_split_"


def kaggle(root, **settings):
    return read_kaggle(root, ImportSettings(layout="kaggle", **settings))


def folders(root, **settings):
    return read_class_folders(root, ImportSettings(layout="folder", **settings))


def pcam(root, **options):
    return read_pcam(root, find_pcam_files(root), unpack_to=root / "new", **options)


# One file per patch, labels in a table.


def test_files_and_labels_are_put_together(make_kaggle):
    rows = ["aa,0", "aa,0", "bb,1", "cc,0", "dd,1"]
    root = make_kaggle(LABELS, test=("ee", "ff"), rows=rows)
    (root / "train" / ".DS_Store").write_text("")
    found = kaggle(root)
    table = found.table
    assert table["tile_id"].tolist() == ["aa", "bb", "cc", "dd", "ee", "ff"]
    assert table["label"].tolist() == [0, 1, 0, 1, -1, -1]
    assert table["source"].tolist()[3:5] == ["train/dd.tif", "test/ee.tif"]
    assert table[["split", "slide_id", "patient_id"]].isna().all(axis=None)
    assert (found.class_names, found.mpp) == (("normal", "tumor"), 0.97)
    assert found.root == root.resolve()
    assert (found.notes["n_hidden"], found.notes["n_repeated_labels"]) == (1, 1)
    assert found.warnings == ()


@pytest.mark.parametrize("name", ["patch_id_wsi_full.csv", "patch_id_wsi_full.csv.gz"])
def test_slides_are_taken_from_the_map_beside_the_labels(make_kaggle, name):
    root = make_kaggle(LABELS, test=("ee",))
    data = b"id,wsi\naa,s1\nbb,s1\ncc,s2\naa,s1\nzz,s9\n"
    (root / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    found = kaggle(root)
    for column in ("slide_id", "patient_id"):
        assert found.table[column].tolist() == ["s1", "s1", "s2", None, None]
    assert found.notes["n_slides_known"] == 2
    assert found.notes["n_labelled_without_slide"] == 1
    assert "1 labelled patches are not in" in found.warnings[0]


def test_a_map_may_be_given_and_know_patients(make_kaggle, tmp_path):
    path = tmp_path / "map.csv"
    path.write_text("id,slide,patient\naa,s1,p\nbb,s2,p\ncc,s3,\ndd,s3,\n")
    table = kaggle(make_kaggle(LABELS), slide_map=str(path)).table
    assert table["slide_id"].tolist() == ["s1", "s2", "s3", "s3"]
    assert table["patient_id"].tolist() == ["p", "p", None, None]


@pytest.mark.parametrize(
    ("files", "text", "ids", "count"),
    [
        (["aa", "bb"], r"2 of 4 ids .* in train \(cc, dd\)", ["aa", "bb"], (2, 0)),
        ([*LABELS, "xx"], r"1 of 5 files .* \(xx\)", [*LABELS, "xx"], (0, 1)),
    ],
)
def test_what_lacks_its_other_half_stops_or_is_let_pass(
    make_kaggle, files, text, ids, count
):
    root = make_kaggle(LABELS, files=files)
    with pytest.raises(CohortError, match=text + ".*--allow-missing"):
        kaggle(root)
    found = kaggle(root, allow_missing=True)
    assert re.search(text, found.warnings[0])
    assert found.table["tile_id"].tolist() == ids
    assert (found.table["label"] < 0).sum() == count[1]
    names = ("n_labels_without_file", "n_files_without_label")
    assert tuple(found.notes[name] for name in names) == count


@pytest.mark.parametrize("label", ["2", "-1", "0.5", "tumor", ""])
def test_a_label_that_is_not_0_or_1_is_named(make_kaggle, label):
    rows = [f"{name},{label}" for name in "abcdefg"]
    root = make_kaggle(LABELS, rows=["aa,1.0", *rows])
    with pytest.raises(CohortError, match=rf"7 are not \(a has '{label}'.* 2 more"):
        kaggle(root, allow_missing=True)


# Class folders.


def test_classes_are_folders_and_the_negative_one_comes_first(make_folders):
    root = make_folders("tumor/a.png", "Normal/b.jpg", "tumor/sub/c.tif", "readme.txt")
    found = folders(root)
    assert found.class_names == ("Normal", "tumor")
    assert found.table["tile_id"].tolist() == ["Normal/b", "tumor/a", "tumor/sub/c"]
    assert found.table["label"].tolist() == [0, 1, 1]
    assert (found.table["source_index"] == -1).all()
    assert found.table[["split", "slide_id", "patient_id"]].isna().all(axis=None)
    assert found.mpp is None
    assert found.notes["n_other_files"] == 1
    assert "1 files are no images" in found.warnings[0]


def test_split_folders_are_kept_whatever_they_are_called(make_folders):
    places = ("Training/a/1", "Training/b/2", "valid/a/3", "test/b/4")
    table = folders(make_folders(*(f"{place}.png" for place in places))).table
    assert dict(zip(table["tile_id"], table["split"], strict=True)) == dict(
        zip(places, ("train", "train", "val", "test"), strict=True)
    )


def test_a_train_folder_alone_is_no_split(make_folders):
    table = folders(make_folders("train/a/1.png", "train/b/2.png")).table
    assert table["split"].isna().all()
    # A class that one split lacks is not empty.
    paths = ("train/a/1.png", "train/b/2.png", "test/a/3.png", "test/b/x.txt")
    assert folders(make_folders(*paths)).class_names == ("a", "b")


def test_an_empty_class_folder_is_named_or_left_out(make_folders):
    root = make_folders("a/1.png", "b/2.png", "empty/notes.txt")
    with pytest.raises(CohortError, match=r"1 class folder\(s\) hold no image \(empty"):
        folders(root)
    found = folders(root, allow_missing=True)
    assert found.class_names == ("a", "b")
    assert "left out: empty" in found.warnings[0]


def test_hidden_files_and_folders_are_passed_over(make_folders):
    hidden = ("a/.3.png", ".git/4.png", "__MACOSX/5.png", "a/Thumbs.db")
    found = folders(make_folders("a/1.png", "b/2.png", *hidden))
    assert len(found.table) == 2
    assert found.notes["n_hidden"] == 4
    assert found.warnings == ()


def test_files_that_differ_in_their_suffix_only_keep_it(make_folders):
    table = folders(make_folders("a/1.png", "a/1.jpg", "b/2.png")).table
    assert table["tile_id"].tolist() == ["a/1.jpg", "a/1.png", "b/2.png"]


@pytest.mark.parametrize(
    ("pattern", "slides", "patients"),
    [
        (r"(p\d)", "p1 p1 p2", "p1 p1 p2"),
        (r"(?P<patient>p\d)_(?P<slide>s\d)", "p1_s1 p1_s2 p2_s1", "p1 p1 p2"),
        (r"(?P<slide>p\d_s)", "p1_s p1_s p2_s", "p1_s p1_s p2_s"),
        (r"(?P<patient>p\d)", "p1 p1 p2", "p1 p1 p2"),
        # Known ids have their patient in them.
        (r"(TCGA.*A)_", "TCGA-B0-4710-01A TCGA-B0-4710-11A", "TCGA-B0-4710 " * 2),
    ],
)
def test_groups_are_found_in_the_path(make_folders, pattern, slides, patients):
    names = ("a/p1_s1_1", "a/p1_s2_1", "b/p2_s1_1")
    if "TCGA" in pattern:
        names = ("a/TCGA-B0-4710-01A_1", "b/TCGA-B0-4710-11A_1")
    root = make_folders(*(f"{name}.png" for name in names))
    table = folders(root, group_regex=pattern).table
    assert table["slide_id"].tolist() == slides.split()
    assert table["patient_id"].tolist() == patients.split()


def test_classes_may_stand_in_file_names(make_folders):
    root = make_folders("x___1.png", "deep/y___2.png", "x___3.png")
    found = folders(root, class_regex="^(.+?)___", group_regex="___(.)")
    assert found.class_names == ("x", "y")
    assert found.table["label"].tolist() == [1, 0, 0]
    named = folders(root, class_regex="^(?P<class>.+?)_(_)_", negative="y")
    assert named.class_names == ("y", "x")


@pytest.mark.parametrize(
    ("names", "negative", "expected"),
    [
        (["b", "a", "a"], None, ("a", "b")),
        (["a", "Benign"], None, ("Benign", "a")),
        (["1", "0"], None, ("0", "1")),
        (["a", "b", "c"], "c", ("c", "a", "b")),
        (["IDC", "non-IDC"], None, ("non-IDC", "IDC")),
        (["class10", "class2"], None, ("class2", "class10")),
    ],
)
def test_the_negative_class_has_label_0(names, negative, expected):
    assert order_classes(names, negative) == expected


@pytest.mark.parametrize(
    ("paths", "classes", "patients"),
    [
        # The IDC breast set: a folder a patient, one with one class only.
        ("8863/0/a 8863/1/b 8864/0/c", "0 1", "8863 8863 8864"),
        ("P1/benign/a P2/malignant/b P3/benign/c", "benign malignant", "P1 P2 P3"),
        ("train/P1/neg/a train/P2/pos/b test/P3/neg/c", "neg pos", "P3 P1 P2"),
        ("0/0/a 0/1/b 1/0/c 2/1/d", "0 1", "0 0 1 2"),
        ("all/tumor/a all/no_tumor/b", "no_tumor tumor", None),
        ("7/s1/benign/a 7/s2/malignant/b 8/s3/benign/c", "benign malignant", "7 7 8"),
        # Classes first, with slides or magnifications below.
        ("LUAD/P1/a LUAD/P2/b LUSC/P3/c", "LUAD LUSC", None),
        ("benign/1/a benign/2/b malignant/1/c malignant/2/d", "benign malignant", None),
        ("A/40X/a A/100X/b B/40X/c", "A B", None),
        ("grade1/S1/a grade2/S1/b grade2/S2/c", "grade1 grade2", None),
    ],
)
def test_what_a_folder_means_shows_in_the_structure(
    make_folders, paths, classes, patients
):
    found = folders(make_folders(*(f"{path}.png" for path in paths.split())))
    assert found.class_names == tuple(classes.split())
    names = found.table["patient_id"]
    assert names.tolist() == (patients.split() if patients else [None] * len(names))
    assert bool(found.warnings) == (patients is not None or "/" in paths)


@pytest.mark.parametrize(
    "paths",
    [
        (
            "internal/normal/a",
            "internal/tumor/b",
            "external/normal/c",
            "external/tumor/d",
        ),
        ("Smith/0/a", "Smith/1/b", "Jones/0/c", "Jones/1/d", "Ng/0/e"),
        ("P1/LUAD/a", "P2/LUSC/b", "P3/LUAD/c", "P4/LUSC/d"),
        ("P1/G2/a", "P1/G3/b", "P2/G2/c", "P3/G3/d"),
    ],
)
def test_folders_of_unclear_meaning_are_asked_about(make_folders, paths):
    root = make_folders(*(f"{path}.png" for path in paths))
    with pytest.raises(
        CohortError, match=r"--set class_depth=1 takes .* class_depth=2"
    ):
        folders(root)
    firsts = tuple(sorted({path.split("/")[0] for path in paths}))
    assert set(folders(root, class_depth=1).class_names) == set(firsts)
    below = folders(root, class_depth=2)
    assert len(below.class_names) == 2
    assert set(below.table["patient_id"]) == set(firsts)
    with pytest.raises(CohortError, match="class_depth 3 needs"):
        folders(root, class_depth=3)


def test_an_image_beside_patients_classes_is_named(make_folders):
    root = make_folders("7/0/a.png", "7/1/b.png", "8/0/c.png", "8/overview.png")
    with pytest.raises(CohortError, match=r"beside these in 8; move them away"):
        folders(root)


def test_splits_below_the_classes_are_kept(make_folders):
    paths = ("neg/train/a", "neg/Test Set/b", "pos/train/c", "pos/Test Set/d")
    table = folders(make_folders(*(f"{path}.png" for path in paths))).table
    assert dict(zip(table["tile_id"], table["split"], strict=True)) == dict(
        zip(paths, ("train", "test") * 2, strict=True)
    )


@pytest.mark.parametrize(
    ("paths", "text"),
    [
        (("valid/a/1", "test/b/2"), r"\(test, valid\), and none for training"),
        (("Normal/1", "Tumor/2", "test/3"), r"\(test\) and others beside .*Normal"),
    ],
)
def test_a_split_is_no_class(make_folders, paths, text):
    with pytest.raises(CohortError, match=text):
        folders(make_folders(*(f"{path}.png" for path in paths)))


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Normal Tumor", "normal TUMOR"),
        ("non_tumor tumor", "Non-Tumor tumour"),
        ("Benign Malignant_Cells", "benigns malignant cell"),
    ],
)
def test_classes_are_one_however_a_split_spells_them(make_folders, train, test):
    names = [f"train/{name}/1.png" for name in train.split(" ")]
    first, _, second = test.partition(" ")
    root = make_folders(*names, f"test/{first}/2.png", f"test/{second}/3.png")
    found = folders(root)
    assert found.class_names == tuple(train.split())
    labels = found.table.set_index("source")["label"]
    assert labels[f"test/{first}/2.png"] == 0
    assert labels[f"test/{second}/3.png"] == 1
    assert f"'{first}' is taken for '{train.split()[0]}'" in " ".join(found.warnings)


@pytest.mark.parametrize(
    ("train", "test", "others"),
    [
        (("tumor", "normal"), ("tumor", "benign"), "benign"),
        (("0", "1"), ("00", "1"), "00"),
        (("no", "yes"), ("0_no", "1_yes"), "0_no, 1_yes"),
    ],
)
def test_a_class_that_no_training_folder_teaches_is_named(
    make_folders, train, test, others
):
    paths = [f"train/{name}/a.png" for name in train]
    paths += [f"test/{name}/b.png" for name in test]
    with pytest.raises(CohortError, match=rf"class\(es\) {others} are in no training"):
        folders(make_folders(*paths))


def test_magnifications_are_no_patients_and_not_mixed_in_silence(make_folders):
    paths = [f"{p}/{c}/a.png" for p in ("40X", "100X") for c in ("benign", "malignant")]
    with pytest.raises(CohortError, match="100X, 40X are magnifications"):
        folders(make_folders(*paths))


def test_magnifications_below_the_classes_are_told(make_folders):
    paths = [f"{c}/s1/{p}/a.png" for p in ("5x", "mag_10x") for c in ("0", "1")]
    (warning,) = folders(make_folders(*paths)).warnings
    assert "several magnifications (5x, mag_10x) are imported as of one" in warning


def test_a_plural_beside_its_class_is_asked_about(make_folders):
    with pytest.raises(CohortError, match="'gland' and 'glands' lie side by side"):
        folders(make_folders("gland/1.png", "glands/2.png", "stroma/3.png"))


@pytest.mark.parametrize(
    ("names", "joined"), [("p1 p1.0", None), ("tcga-b0-4710 TCGA_B0_4710", 1)]
)
def test_patients_in_paths_are_written_in_one_way(make_folders, names, joined):
    first, second = names.split()
    root = make_folders(f"a/x_{first}_.png", f"b/x_{second}_.png")
    found = folders(root, group_regex="x_(?P<patient>.*)_")
    assert found.table["patient_id"].nunique() == (joined or 2)
    assert any("more than one way" in text for text in found.warnings) == bool(joined)


def test_patients_that_may_be_one_stop_an_import(make_folders, make_kaggle, make_pcam):
    root = make_folders("a/pt07_1.png", "b/PT7_2.png")
    with pytest.raises(CohortError, match="'PT7' and 'pt07'"):
        folders(root, group_regex=r"(?i)(pt\d+)_")
    root = make_kaggle(LABELS)
    text = "id,wsi,patient_id\naa,s1,9\nbb,s2,09\ncc,s3,nan\ndd,s4,8\n"
    (root / "patch_id_wsi_full.csv").write_text(text)
    with pytest.raises(CohortError, match="'09' and '9'"):
        kaggle(root)
    (root / "patch_id_wsi_full.csv").write_text(text.replace("09", "9.0"))
    found = kaggle(root)
    assert found.table["patient_id"].tolist() == ["9", "9", None, "8"]
    assert "names no patient of 1 slides (s3)" in found.warnings[0]
    slides = {"train": ["S1"] * 3, "valid": ["s1"] * 2, "test": ["s4"]}
    with pytest.raises(CohortError, match="'S1' and 's1'"):
        pcam(make_pcam(SPLITS, slides=slides))


# HDF5 files.


def test_the_official_files_are_nine_with_a_checksum_each():
    assert len(set(PCAM_MD5.values())) == len(PCAM_MD5) == 9
    assert all(re.fullmatch("[0-9a-f]{32}", md5) for md5 in PCAM_MD5.values())
    assert PCAM_ADDRESS.startswith("https://zenodo.org/")


def test_splits_labels_and_slides_are_kept(make_pcam):
    found = pcam(make_pcam(SPLITS, slides=SLIDES))
    table = found.table
    assert table["split"].tolist() == ["train"] * 3 + ["val"] * 2 + ["test"]
    assert table["label"].tolist() == [0, 1, 1, 1, 0, 0]
    assert table["source_index"].tolist() == [0, 1, 2, 0, 1, 0]
    assert table["source"].iloc[3] == f"{STEM}valid_x.h5"
    assert table["slide_id"].tolist() == ["s1", "s1", "s2", "s3", "s3", "s4"]
    assert table["tile_id"].iloc[1] == "train_000001"
    assert table["tile_id"].is_unique
    assert (found.mpp, found.class_names) == (0.97, ("normal", "tumor"))
    assert found.notes == {"n_slides_known": 4}


def pack(root, name):
    path = root / f"{STEM}{name}.h5"
    path.with_suffix(".h5.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    return path


def test_packed_files_are_unpacked_and_packed_labels_read(make_pcam):
    root = make_pcam(SPLITS)
    packed = pack(root, "train_x")
    pack(root, "valid_y")
    found = pcam(root)
    assert found.table["label"].tolist() == [0, 1, 1, 1, 0, 0]
    assert found.table["source"].iloc[0] == f"new/{packed.name}"
    assert found.table["slide_id"].isna().all()
    (note,) = found.notes["unpacked"].items()
    assert note[0] == f"{packed.name}.gz"
    assert note[1]["is_official"] is False
    # Patches that lie elsewhere are named in full, and an unpacked file comes first.
    elsewhere = read_pcam(root / "b", find_pcam_files(root), unpack_to=root / "new")
    assert elsewhere.table["source"].iloc[0] == str(root / "new" / packed.name)
    packed.write_bytes((root / "new" / packed.name).read_bytes())
    assert "unpacked" not in pcam(root).notes


def test_labels_that_are_elsewhere_or_never_written_are_refused(make_pcam, tmp_path):
    root = make_pcam(SPLITS)
    path = root / f"{STEM}test_y.h5"
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["y"] = np.ones(1, np.uint8)
    with h5py.File(path, "w") as file:
        file["y"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "y")
    with pytest.raises(CohortError, match=r"test_y\.h5: its 'y' lies in another file"):
        pcam(root)
    with h5py.File(path, "w") as file:
        file.create_dataset("y", (1 << 32,), np.uint8, chunks=(1 << 20,))
    pack(root, "test_y")
    with pytest.raises(CohortError, match=r"only a part was ever written"):
        pcam(root)


def test_patches_without_labels_are_refused_or_unlabelled(make_pcam):
    root = make_pcam(SPLITS)
    (root / f"{STEM}test_y.h5").unlink()
    with pytest.raises(CohortError, match=r"test_x\.h5 has no label file"):
        pcam(root)
    found = pcam(root, allow_missing=True)
    assert found.table["label"].tolist() == [0, 1, 1, 1, 0, -1]
    assert found.warnings == ("test: no label file (..._y.h5)",)
    # Labels may be texts.
    with h5py.File(root / f"{STEM}test_y.h5", "w") as file:
        file["y"] = np.array([b"1"])
    assert pcam(root).table["label"].tolist() == [0, 1, 1, 1, 0, 1]


# What is wrong is named, all of it at once, and another layout is pointed to.


def spoil_files(root):
    (root / "train" / "aa.png").write_bytes((root / "train" / "aa.tif").read_bytes())
    (root / "test").mkdir()
    (root / "test" / "bb.tif").write_bytes(b"")
    (root / "train_labels.csv").write_text("id,label\naa,0\naa,1\nbb,1\ncc,0\ndd,1\n")
    (root / "patch_id_wsi_full.csv").write_text("id,wsi\naa,s1\naa,s2\n")


def divide_patch(root):
    (root / "patch_id_wsi_full.csv").write_text("id,wsi\naa,s1\naa,s2\n")


def empty_train(root):
    for path in (root / "train").iterdir():
        path.unlink()


def rename_files(root):
    for path in (root / "train").iterdir():
        path.rename(path.with_name(f"x{path.name}"))


@pytest.mark.parametrize(
    ("spoil", "texts"),
    [
        (
            spoil_files,
            [
                r"3 problem\(s\)",
                r"train: 1 id\(s\) have more than one file \(aa\)",
                r"1 id\(s\) have two labels \(aa\)",
                r"1 id\(s\) are in train and in test \(bb\)",
            ],
        ),
        (empty_train, ["train: holds no image"]),
        (divide_patch, [r"1 id\(s\) stand there with two \(aa\)"]),
        (rename_files, ["not one id in train_labels.csv has a file"]),
        (lambda root: (root / "train_labels.csv").unlink(), ["'eosin import folder'"]),
    ],
)
def test_a_spoilt_kaggle_set_is_refused(make_kaggle, spoil, texts):
    root = make_kaggle(LABELS)
    spoil(root)
    with pytest.raises(CohortError) as caught:
        kaggle(root, allow_missing=True)
    assert all(re.search(text, str(caught.value)) for text in texts), caught.value


@pytest.mark.parametrize(
    ("paths", "settings", "text"),
    [
        (("a.png",), {}, "holds no class folder, only 1 file.*class_regex"),
        ((), {}, "holds no class folder; where"),
        (("a/1.png",), {}, "needs 2 to 127 classes, got 1"),
        (("a/1.png", "tissue/2.png"), {}, "called tissue"),
        (("a/1.png", "b/2.png"), {"negative": "c"}, "one of a, b, got 'c'"),
        (
            ("train/a/1.png", "test/b/2.png", "extra/3.png"),
            {},
            r"others beside them \(extra\)",
        ),
        (
            ("a/p1.png", "b/other.png"),
            {"group_regex": r"(p\d)"},
            r"does not in 1 of 2 \(b/other\.png\)",
        ),
        (
            ("x___1.png", "plain.png"),
            {"class_regex": "^(.+?)___"},
            r"no class in 1 file\(s\) \(plain\.png\)",
        ),
        (
            ("train/a1.tif", "train_labels.csv"),
            {},
            "Kaggle .*'eosin import kaggle .*folders'",
        ),
        ((f"{STEM}train_x.h5",), {}, "_train_x.h5.*'eosin import pcam .*folders'"),
        # Class folders are class folders, whatever lies beside them.
        (("train/n/", "train/a1.tif", "train_labels.csv"), {}, "hold no image"),
        (("n/", f"{STEM}train_x.h5"), {}, "hold no image"),
    ],
)
def test_what_are_no_class_folders_is_refused(make_folders, paths, settings, text):
    with pytest.raises(CohortError, match=text):
        folders(make_folders(*paths), **settings)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"group_regex": "("}, "group_regex .* no regular expression"),
        ({"class_regex": "abc"}, "class_regex .* needs a group in parentheses"),
    ],
)
def test_wrong_patterns_are_refused(tmp_path, settings, text):
    with pytest.raises(ConfigError, match=text):
        folders(tmp_path, **settings)
    with pytest.raises(CohortError, match="no such folder"):
        folders(tmp_path / "none")


def test_a_folder_without_pcam_files_is_refused_with_advice(tmp_path):
    (tmp_path / "x.h5").write_bytes(b"")
    (tmp_path / "train_x.h5").mkdir()
    with pytest.raises(CohortError, match="'eosin fetch pcam'"):
        find_pcam_files(tmp_path)


def write_h5(key, values):
    def write(path):
        with h5py.File(path, "w") as file:
            file[key] = values

    return write


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def cut_packed(path):
    data = gzip.compress(path.read_bytes())
    path.with_suffix(".h5.gz").write_bytes(data[:-20])
    path.unlink()


@pytest.mark.parametrize(
    ("part", "change", "text"),
    [
        ("x.h5", lambda path: path.unlink(), "train: there are labels or slides, but"),
        ("x.h5", cut, r"train_x\.h5: cannot be read .*cut"),
        ("y.h5", cut, r"train_y\.h5: cannot be read .*cut"),
        ("x.h5", cut_packed, "cut short"),
        ("y.h5", cut_packed, "cut short"),
        ("y.h5", write_h5("y", np.zeros(1)), r"has 1 labels, but .* has 2 patches"),
        ("y.h5", write_h5("y", np.array([0, 3])), r"row 1 has '3'"),
        ("y.h5", write_h5("y", np.array([b"1", b"tumor"])), "row 1 has 'tumor'"),
        ("x.h5", write_h5("images", np.zeros(2)), "data set 'x'; it holds images"),
        ("x.h5", write_h5("x", np.zeros((2, 8, 8), "u1")), "must hold square patches"),
        ("x.h5", write_h5("x", np.zeros((2, 8, 6, 3), "u1")), r"\(2, 8, 6, 3\)"),
        ("x.h5", write_h5("x", np.zeros((2, 8, 8, 3), "f4")), "float32"),
        ("meta.csv", lambda p: p.write_text("a,wsi\n0,s"), r"1 rows, but .* 2 patches"),
        ("meta.csv", lambda p: p.write_text("a,wsi\n0,s\n1,\n"), "'wsi' is empty"),
    ],
)
def test_a_spoilt_pcam_set_is_refused(make_pcam, part, change, text):
    root = make_pcam({"train": [0, 1]}, slides={"train": ["s", "s"]})
    change(root / f"{STEM}train_{part}")
    with pytest.raises(CohortError, match=text):
        pcam(root)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (gzip.compress(bytes(65 << 20), mtime=0), "may have 64 MB, unpacked"),
        (gzip.compress(b"no HDF5", mtime=0), "cannot be read as HDF5"),
        (gzip.compress(bytes(1000), mtime=0)[:-20], "cannot be read as HDF5"),
        (
            gzip.compress(bytes(range(256)), mtime=0)[:10] + b"\xff" * 40,
            "cannot be read as HDF5",
        ),
    ],
)
def test_packed_labels_that_are_none_are_refused(make_pcam, data, text):
    root = make_pcam({"train": [0, 1]})
    (root / f"{STEM}train_y.h5").unlink()
    (root / f"{STEM}train_y.h5.gz").write_bytes(data)
    with pytest.raises(CohortError, match=text):
        pcam(root)


@pytest.mark.realdata
def test_real_sets_are_read(data_folder):
    found = kaggle(data_folder / "pcam_kaggle")
    assert found.table["label"].value_counts().to_dict() == {-1: 11, 0: 10, 1: 5}
    found = folders(data_folder / "oral")
    assert found.class_names == ("Normal", "OSCC")
    assert found.table["label"].value_counts().to_dict() == {1: 705, 0: 219}
    cases = folders(
        data_folder / "osteosarcoma",
        class_regex="^(.+?)___",
        group_regex=r"___(Case-\d+|P\d+)",
    )
    assert cases.class_names == ("Non-Tumor", "Non-Viable-Tumor", "Viable")
    assert cases.table["label"].value_counts().to_dict() == {0: 20, 1: 20, 2: 20}
    assert set(cases.table["patient_id"]) == {"Case-3", "Case-4", "Case-48", "P9"}
