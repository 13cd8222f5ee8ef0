import pytest

from eosin.cohorts import FolderRules, read_class_folders
from eosin.cohorts.class_folders import order_classes
from eosin.core import CohortError, ConfigError


def read(root, **rules):
    return read_class_folders(root, FolderRules(**rules))


def test_classes_are_folders_and_the_negative_one_comes_first(make_folders):
    root = make_folders("tumor/a.png", "Normal/b.jpg", "tumor/sub/c.tif", "readme.txt")
    found = read(root)
    assert found.class_names == ("Normal", "tumor")
    table = found.table
    assert table["tile_id"].tolist() == ["Normal/b", "tumor/a", "tumor/sub/c"]
    assert table["label"].tolist() == [0, 1, 1]
    assert (table["source_index"] == -1).all()
    assert table[["split", "slide_id", "patient_id"]].isna().all(axis=None)
    assert found.mpp is None
    assert found.notes["n_other_files"] == 1
    assert "1 files are no images" in found.warnings[0]


def test_split_folders_are_kept_whatever_they_are_called(make_folders):
    root = make_folders(
        "Training/a/1.png", "Training/b/2.png", "valid/a/3.png", "test/b/4.png"
    )
    table = read(root).table.set_index("tile_id")
    assert table["split"].to_dict() == {
        "Training/a/1": "train",
        "Training/b/2": "train",
        "valid/a/3": "val",
        "test/b/4": "test",
    }


def test_a_train_folder_alone_is_no_split(make_folders):
    table = read(make_folders("train/a/1.png", "train/b/2.png")).table
    assert table["split"].isna().all()


def test_other_folders_beside_splits_are_refused(make_folders):
    root = make_folders("train/a/1.png", "test/b/2.png", "extra/3.png")
    with pytest.raises(CohortError, match=r"others beside them \(extra\)"):
        read(root)


def test_an_empty_class_folder_is_named_or_left_out(make_folders):
    root = make_folders("a/1.png", "b/2.png", "empty/notes.txt")
    with pytest.raises(CohortError, match=r"1 class folder\(s\) hold no image \(empty"):
        read(root)
    found = read(root, allow_missing=True)
    assert found.class_names == ("a", "b")
    assert "left out: empty" in found.warnings[0]


def test_a_class_that_one_split_lacks_is_not_empty(make_folders):
    root = make_folders(
        "train/a/1.png", "train/b/2.png", "test/a/3.png", "test/b/x.txt"
    )
    assert read(root).class_names == ("a", "b")


def test_hidden_files_and_folders_are_passed_over(make_folders):
    root = make_folders(
        "a/1.png", "b/2.png", "a/.3.png", ".git/4.png", "__MACOSX/5.png", "a/Thumbs.db"
    )
    found = read(root)
    assert len(found.table) == 2
    assert found.notes["n_hidden"] == 4
    assert found.warnings == ()


def test_files_that_differ_in_their_suffix_only_keep_it(make_folders):
    root = make_folders("a/1.png", "a/1.jpg", "b/2.png")
    assert read(root).table["tile_id"].tolist() == ["a/1.jpg", "a/1.png", "b/2.png"]


@pytest.mark.parametrize(
    ("pattern", "slides", "patients"),
    [
        (r"(p\d)", ["p1", "p1", "p2"], ["p1", "p1", "p2"]),
        (r"(?P<patient>p\d)_(?P<slide>s\d)", ["p1_s1", "p1_s2", "p2_s1"], None),
        (r"(?P<slide>p\d_s)", ["p1_s", "p1_s", "p2_s"], ["p1_s", "p1_s", "p2_s"]),
        (r"(?P<patient>p\d)", ["p1", "p1", "p2"], None),
    ],
)  # fmt: skip
def test_groups_are_found_in_the_path(make_folders, pattern, slides, patients):
    root = make_folders("a/p1_s1_1.png", "a/p1_s2_1.png", "b/p2_s1_1.png")
    table = read(root, group_regex=pattern).table
    assert table["slide_id"].tolist() == slides
    assert table["patient_id"].tolist() == (patients or ["p1", "p1", "p2"])


def test_slides_of_patients_with_known_ids_have_their_patient(make_folders):
    root = make_folders("a/TCGA-B0-4710-01A_1.png", "b/TCGA-B0-4710-11A_1.png")
    table = read(root, group_regex=r"(TCGA[^_]*)_").table
    assert table["patient_id"].unique().tolist() == ["TCGA-B0-4710"]
    assert table["slide_id"].nunique() == 2


def test_a_path_without_its_group_is_named(make_folders):
    root = make_folders("a/p1.png", "b/other.png")
    with pytest.raises(CohortError, match=r"does not in 1 of 2 \(b/other\.png\)"):
        read(root, group_regex=r"(p\d)")


def test_classes_may_stand_in_file_names(make_folders):
    root = make_folders("x___1.png", "deep/y___2.png", "x___3.png")
    found = read(root, class_regex="^(.+?)___", group_regex="___(.)")
    assert found.class_names == ("x", "y")
    assert found.table["label"].tolist() == [1, 0, 0]
    named = read(root, class_regex="^(?P<class>.+?)_(_)_", negative="y")
    assert named.class_names == ("y", "x")


def test_a_name_without_its_class_is_named(make_folders):
    root = make_folders("x___1.png", "plain.png")
    with pytest.raises(CohortError, match=r"no class in 1 file\(s\) \(plain\.png\)"):
        read(root, class_regex="^(.+?)___")


@pytest.mark.parametrize(
    ("paths", "text"),
    [
        (("a.png",), "holds no class folder, only 1 file.*class_regex"),
        ((), "holds no class folder; where"),
        (("a/1.png",), "needs 2 to 127 classes, got 1"),
        (("a/1.png", "tissue/2.png"), "'tissue'|called tissue"),
    ],
)
def test_what_are_no_class_folders_is_refused(make_folders, paths, text):
    with pytest.raises(CohortError, match=text):
        read(make_folders(*paths))


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(CohortError, match="no such folder"):
        read(tmp_path / "none")


@pytest.mark.parametrize(
    ("names", "negative", "expected"),
    [
        (["b", "a", "a"], None, ("a", "b")),
        (["a", "Benign"], None, ("Benign", "a")),
        (["1", "0"], None, ("0", "1")),
        (["a", "b", "c"], "c", ("c", "a", "b")),
    ],
)
def test_the_negative_class_has_label_0(names, negative, expected):
    assert order_classes(names, negative) == expected


def test_a_negative_class_that_is_none_is_refused():
    with pytest.raises(CohortError, match="must be one of a, b, got 'c'"):
        order_classes(["a", "b"], "c")


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        ({"group_regex": "("}, "no regular expression"),
        ({"class_regex": "abc"}, "needs a group in parentheses"),
    ],
)
def test_wrong_patterns_are_refused(rules, text):
    with pytest.raises(ConfigError, match=text):
        FolderRules(**rules)


@pytest.mark.realdata
def test_real_folders_and_names_are_read(data_folder):
    found = read(data_folder / "oral")
    assert found.class_names == ("Normal", "OSCC")
    assert found.table["label"].value_counts().to_dict() == {1: 705, 0: 219}
    cases = read(
        data_folder / "osteosarcoma",
        class_regex="^(.+?)___",
        group_regex=r"___(Case-\d+|P\d+)",
    )
    assert cases.class_names == ("Non-Tumor", "Non-Viable-Tumor", "Viable")
    assert cases.table["label"].value_counts().to_dict() == {0: 20, 1: 20, 2: 20}
    assert set(cases.table["patient_id"]) == {"Case-3", "Case-4", "Case-48", "P9"}


def test_other_layouts_are_pointed_to(make_folders):
    root = make_folders("train/a1.tif", "train_labels.csv")
    with pytest.raises(CohortError, match=f"Kaggle .*'eosin import kaggle {root}'"):
        read(root)
    # Class folders are class folders, whatever lies beside them.
    (root / "train" / "normal").mkdir()
    with pytest.raises(CohortError, match="hold no image"):
        read(root)


def test_files_of_pcam_are_pointed_to(make_folders):
    root = make_folders("camelyonpatch_level_2_split_train_x.h5")
    with pytest.raises(CohortError, match=f"_train_x.h5.*'eosin import pcam {root}'"):
        read(root)
    (root / "normal").mkdir()
    with pytest.raises(CohortError, match="hold no image"):
        read(root)
