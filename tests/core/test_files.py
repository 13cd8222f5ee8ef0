import errno
import hashlib
import os
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.annotations import read_annotations
from eosin.bags import FeatureFile
from eosin.bags.tensor_files import open_tensor_file
from eosin.core import (
    CohortError,
    EosinError,
    RunError,
    atomic_path,
    fingerprint_file,
    from_file_name,
    hash_file,
    hash_object,
    load_config,
    match_file_name,
    read_csv_text,
    read_json,
    require_free_space,
    require_other_file,
    require_own_files,
    to_file_name,
    write_json,
    write_text,
)
from eosin.settings import TileTraining
from eosin.tiles import read_manifest


def test_a_file_appears_whole_with_its_suffix_and_usual_rights(tmp_path):
    target = tmp_path / "new folder" / "a.csv"
    with atomic_path(target) as temporary:
        assert temporary.suffix == ".csv"
        assert temporary.parent == target.parent
        temporary.write_text("x")
        assert not target.exists()
    assert target.read_text() == "x"
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_block_that_fails_leaves_the_older_and_nothing_else(tmp_path, is_folder):
    def write(path, text):
        if is_folder:
            path.mkdir()
        (path / "part" if is_folder else path).write_text(text)

    target = tmp_path / "a.x"
    for text in ("first", "old"):
        with atomic_path(target) as temporary:
            write(temporary, text)

    def fail():
        with atomic_path(target) as temporary:
            write(temporary, "half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    # Nothing was written at all.
    with pytest.raises(RunError, match="cannot be written"), atomic_path(target):
        pass
    assert list(tmp_path.iterdir()) == [target]
    assert (target / "part" if is_folder else target).read_text() == "old"


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_move_that_fails_keeps_the_older_file(tmp_path, monkeypatch, is_folder):
    write_text(tmp_path / "a.txt", "old")

    def fill(self, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", fill)
    with (
        pytest.raises(RunError, match=r"a\.txt: cannot be written .No space left"),
        atomic_path(tmp_path / "a.txt") as temporary,
    ):
        temporary.mkdir() if is_folder else temporary.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_file_does_not_replace_a_folder(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(RunError, match="cannot be written"):
        write_text(tmp_path / "a", "x")
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "b"]


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        write_text(tmp_path / "file" / "below.txt", "x")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RunError, match="cannot be written"):
            require_free_space(folder, 1, "a test")


def test_json_round_trips_and_refuses_what_json_cannot_say(tmp_path):
    write_json(tmp_path / "a.json", {"a": [1, None, "ä"]})
    assert read_json(tmp_path / "a.json") == {"a": [1, None, "ä"]}
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "b.json", {"a": float("nan")})
    with pytest.raises(RunError, match="no such file"):
        read_json(tmp_path / "b.json")
    (tmp_path / "c.json").write_text("{")
    for text in (
        *("{", "[" * 100_000, '{"a": NaN}', '{"a": -Infinity}', "\0"),
        *('{"a": -1e999}', "9" * 5000, "\udcff"),
    ):
        (tmp_path / "c.json").write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(RunError, match=r"c\.json: cannot be read as JSON"):
            read_json(tmp_path / "c.json")
    (tmp_path / "c.json").write_text("[1]")
    assert read_json(tmp_path / "c.json", list) == [1]
    with pytest.raises(
        RunError, match=r"c\.json: must hold a JSON object, holds a list"
    ):
        read_json(tmp_path / "c.json")


def test_hashes_are_those_of_hashlib_and_of_content(tmp_path):
    data = os.urandom(3 << 20)
    (tmp_path / "a").write_bytes(data)
    assert hash_file(tmp_path / "a") == hashlib.sha256(data).hexdigest()
    assert hash_object({"a": 1, "b": 2}) == hash_object({"b": 2, "a": 1})
    assert hash_object([1]) != hash_object([2])


def test_a_fingerprint_sees_size_start_and_end(tmp_path):
    data = bytearray(3 << 20)
    seen = set()
    for place in (0, len(data) - 1):
        data[place] ^= 1
        (tmp_path / "a").write_bytes(data)
        seen.add(fingerprint_file(tmp_path / "a"))
    (tmp_path / "a").write_bytes(data[:-1])
    seen.add(fingerprint_file(tmp_path / "a"))
    (tmp_path / "a").write_bytes(b"short")
    seen.add(fingerprint_file(tmp_path / "a"))
    assert len(seen) == 4


def test_a_small_disk_stops_before_the_write(tmp_path):
    require_free_space(tmp_path / "new", 1000, "a test")
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(RunError, match="a test needs"):
        require_free_space(tmp_path, free, "a test")


TEXTS = st.text() | st.text("./ ~%con1\udc80a")


@given(TEXTS, TEXTS)
def test_two_ids_never_share_a_file_name(first, second):
    names = to_file_name(first), to_file_name(second)
    assert names[0]
    assert (names[0] == names[1]) == (first == second)
    assert not set(names[0]) & set('<>:"/\\|?*')
    assert not names[0].startswith(".")
    assert not names[0].endswith((".", " "))


# Names that Windows keeps for devices, of which it takes any suffix off: Microsoft's
# "Naming Files, Paths, and Namespaces".
DEVICES = ("con", "PRN", "Aux", "nul.svs", "NUL.tar.gz", "com1", "LPT9.x", "COM\u00b2")


@pytest.mark.parametrize("name", [*DEVICES, "conin$", "CONOUT$.txt", "con .x", "aux "])
def test_no_name_is_a_device_of_windows(name):
    # Taken off are suffixes, and blanks and dots at the end of what is left.
    stem = to_file_name(name).partition(".")[0].rstrip(" ").upper()
    assert stem != name.partition(".")[0].rstrip(" ").upper()
    assert from_file_name(to_file_name(name)) == name
    assert to_file_name("x" + name[:3]) == "x" + name[:3]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("", "%"),
        ("..", "%2E%2E"),
        ("a\0b\n", "a%00b%0A"),
        ("a\x7f\x85", "a%7F%C2%85"),
        # Turns the direction of writing: it would read as aexe.svs.
        ("a\u202esvs.exe", "a%E2%80%AEsvs.exe"),
        # A byte that is no UTF-8, as Linux allows in a file's name.
        ("a\udcff", "a%ED%B3%BF"),
        ("/etc/../x ", "%2Fetc%2F..%2Fx%20"),
        ("C:\\x|y?", "C%3A%5Cx%7Cy%3F"),
    ],
)
def test_what_systems_forbid_is_written_by_its_bytes(tmp_path, name, file):
    assert to_file_name(name) == file
    assert from_file_name(file) == name
    (tmp_path / f"{file}.csv").write_text("")
    assert [path.stem for path in tmp_path.iterdir()] == [file]


def test_a_file_that_another_tool_named_is_found_by_its_id():
    for name in ("S1", "a/b", "con", "100%", "a" * 300, "\u00e9t\u00e9."):
        assert match_file_name(to_file_name(name)) == to_file_name(name)
    for stem in ("con", "100%", "a%zz"):
        assert match_file_name(stem) == to_file_name(stem) != stem


@pytest.mark.parametrize(
    "names", [("a1", "A1"), ("\u00e9", "e\u0301"), ("x", "y", "X")]
)
def test_names_that_are_one_file_elsewhere_stop(names):
    with pytest.raises(RunError, match=r"Windows and macOS"):
        require_own_files(names, "slides")
    require_own_files([*names[:-1], names[0], "a 1", "e"], "slides")


def test_ordinary_ids_stay_as_they_are():
    assert to_file_name("Fall 12-ä (b)") == "Fall 12-ä (b)"
    assert to_file_name("S1.ome") == "S1.ome"
    assert to_file_name("a/b") == "a%2Fb"
    assert to_file_name("../x.") == "%2E.%2Fx%2E"
    assert to_file_name(".") == "%2E"


def test_many_threads_leave_the_umask_as_it_was(tmp_path):
    before = os.umask(0o027)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda i: write_text(tmp_path / f"{i}", "x"), range(400)))
        after = os.umask(0o027)
        assert after == 0o027
        assert (tmp_path / "7").stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(before)


def test_a_very_long_id_is_cut_and_stays_its_own():
    first, second = "ä" * 200, "ä" * 199 + "b"
    assert len(to_file_name(first).encode()) <= 180
    assert to_file_name(first) != to_file_name(second)
    assert to_file_name(first) == to_file_name(first)
    assert to_file_name("a" * 180) == "a" * 180
    # Not even that of a name that was cut.
    cut = to_file_name("a" * 5000)
    assert to_file_name(cut) != cut
    assert len(to_file_name(cut)) == 180


def test_what_is_moved_is_on_the_disk_before(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(os, "fsync", lambda handle: done.append(os.fstat(handle)))
    write_text(tmp_path / "a", "xyz")
    file, folder = done
    assert file.st_size == 3
    assert stat.S_ISDIR(folder.st_mode)
    with atomic_path(tmp_path / "b") as temporary:
        temporary.mkdir()
        (temporary / "c").write_text("1234")
    assert [s.st_size for s in done[2:] if stat.S_ISREG(s.st_mode)] == [4]


@pytest.mark.parametrize(("code", "stops"), [(errno.EIO, True), (errno.EINVAL, False)])
def test_a_disk_that_fails_at_the_last_moment_is_told(
    tmp_path, monkeypatch, code, stops
):
    def fail(_handle):
        raise OSError(code, "no")

    monkeypatch.setattr(os, "fsync", fail)
    if stops:
        with pytest.raises(RunError, match="cannot be written"):
            write_text(tmp_path / "a", "x")
        assert not list(tmp_path.iterdir())
    else:
        # A network disk that knows no fsync.
        write_text(tmp_path / "a", "x")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX")
@pytest.mark.parametrize(
    "read",
    [
        read_json,
        read_manifest,
        open_tensor_file,
        FeatureFile,
        read_annotations,
        lambda path: read_csv_text(path, CohortError, noun="table"),
        lambda path: load_config(TileTraining, path=path),
    ],
)
def test_no_reader_waits_for_a_pipe(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(EosinError, match=r"pipe: .*(a pipe|not a file|no file)"):
        read(tmp_path / "pipe")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX")
def test_a_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(RunError, match=f"{name}: is a pipe or a device"):
            write_text(tmp_path / name, "x")
    assert stat.S_ISFIFO((tmp_path / "link").stat().st_mode)


def test_an_input_is_not_written_over(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text("")
    (tmp_path / "link").symlink_to("a")
    require_other_file(tmp_path / "new", ["http://x/y", tmp_path / "new"])
    require_other_file(tmp_path / "b", [tmp_path / "a"])
    for name in ("a", "link"):
        with pytest.raises(RunError, match=r"is an input of this command"):
            require_other_file(tmp_path / name, ["http://x/y", str(tmp_path / "a")])


def test_half_a_character_is_told_by_name(tmp_path):
    with pytest.raises(RunError, match=r"a\.txt: cannot hold '\\udcff'"):
        write_text(tmp_path / "a.txt", "S1\udcff")
    assert not list(tmp_path.iterdir())
