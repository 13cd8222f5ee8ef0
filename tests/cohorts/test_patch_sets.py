import os
import tracemalloc

import pandas as pd
import pytest

from eosin.cohorts import patch_sets as module
from eosin.cohorts.patch_sets import (
    Listing,
    fill_with_none,
    iter_images,
    read_patch_csv,
    say_examples,
    strip_suffix,
)
from eosin.core import CohortError


def test_images_are_listed_and_the_rest_is_counted(make_folders):
    root = make_folders(
        "a.png", "b.TIF".lower(), ".hidden.png", "notes.txt", "Thumbs.db", "sub/c.jpg"
    )
    listing = Listing()
    assert sorted(iter_images(root, listing)) == ["a.png", "b.tif"]
    assert (listing.n_hidden, listing.n_others) == (2, 1)
    assert listing.describe() == {"n_hidden": 2, "n_other_files": 1}
    found = iter_images(root, Listing(), recursive=True)
    assert sorted(found) == ["a.png", "b.tif", "sub/c.jpg"]


@pytest.mark.skipif(os.name == "nt", reason="links need rights")
def test_a_link_back_to_the_folder_does_not_go_on_forever(make_folders):
    root = make_folders("sub/a.png")
    (root / "sub" / "again").symlink_to(root / "sub", target_is_directory=True)
    found = list(iter_images(root, Listing(), recursive=True))
    assert len(found) <= 2
    assert "sub/a.png" in found
    with pytest.raises(CohortError, match="none: cannot be listed"):
        list(iter_images(root / "none", Listing()))


class _Entry:
    """What `os.scandir` yields, of a folder too large to be made."""

    def __init__(self, name):
        self.name = name

    def is_dir(self):
        return False

    def is_file(self):
        return True


class _Million:
    def __enter__(self):
        return (_Entry("0" * 40 + ".tif") for _ in range(1_000_000))

    def __exit__(self, *_):
        return None


def test_a_million_files_stream_through_little_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(module.os, "scandir", lambda _folder: _Million())
    listing = Listing()
    n = 0
    files = iter_images(tmp_path, listing)
    next(files)
    tracemalloc.start()
    for n, _ in enumerate(files, 2):
        if n == 20_000:
            # Tracing the rest would take long, and show the same.
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak < 1_000_000
    assert n == 1_000_000


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX")
def test_a_pipe_is_no_image_and_a_dead_link_is_one(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("pipe.png")
    (tmp_path / "dead.png").symlink_to("nowhere.png")
    listing = Listing()
    assert list(iter_images(tmp_path, listing)) == ["dead.png"]
    assert listing.n_others == 2


def test_names_are_shortened():
    assert strip_suffix("a/b.c/d.e.tif") == "a/b.c/d.e"
    assert say_examples("abc") == "a, b, c"
    assert say_examples(range(1005)) == "0, 1, 2, 3, 4 and 1,000 more"


def test_columns_are_found_whatever_their_case_and_order(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("\ufeff0,Label, ID \n7, 1 ,x\n", encoding="utf-8")
    columns = {"id": ("id",), "label": ("label",), "n": ("n",)}
    found = read_patch_csv(path, columns, optional=["n"])
    assert found[["id", "label"]].to_dict("records") == [{"id": "x", "label": "1"}]
    assert "n" not in found


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "no such file"),
        (b"", "needs a header line and one row"),
        (b"id,label\n\xff\xfe,1\n", "must be UTF-8 text .* line 2"),
        (b'id,label\n"a,1\n', "line 2: a field cannot be read"),
        (b"id,ID\nx,x\n\ny,z\n", "'id' and 'ID' contradict .* line 4"),
        (b"name,label\na,1\n", "needs a column 'id'; it has name, label"),
    ],
)
def test_what_is_no_such_table_is_refused(tmp_path, content, text):
    path = tmp_path / "a.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CohortError, match=text):
        read_patch_csv(path, {"id": ("id",)})


def test_a_packed_table_that_is_cut_short_is_refused(tmp_path):
    path = tmp_path / "a.csv.gz"
    pd.DataFrame({"id": [f"{i * 7919 % 10007}" for i in range(5000)]}).to_csv(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(CohortError, match=r"a\.csv\.gz: cannot be unpacked"):
        read_patch_csv(path, {"id": ("id",)})


def test_empty_texts_and_gaps_become_none():
    found = fill_with_none(pd.Series(["a", "", None, float("nan")], dtype="object"))
    assert found.tolist() == ["a", None, None, None]
    assert fill_with_none(pd.Series(["a", None])).tolist() == ["a", None]
