import zipfile

import numpy as np
import pytest
import torch

from eosin.bags.tensor_files import open_tensor_file
from eosin.core import ManifestError

FEATURES = np.arange(35, dtype=np.float32).reshape(7, 5)


@pytest.mark.parametrize(
    ("tensor", "dtype"),
    [
        (torch.from_numpy(FEATURES), np.float32),
        (torch.from_numpy(FEATURES).half(), np.float16),
        (torch.from_numpy(FEATURES).double(), np.float64),
        (torch.from_numpy(FEATURES)[None], np.float32),
        # A part of a longer tensor is saved with all of it.
        (torch.from_numpy(np.repeat(FEATURES, 2, axis=0))[::2].clone(), np.float32),
        (torch.cat([torch.zeros(3, 5), torch.from_numpy(FEATURES)])[3:], np.float32),
    ],
)
def test_what_pytorch_saved_is_read(tmp_path, tensor, dtype):
    torch.save(tensor, tmp_path / "S 1.pt")
    found = open_tensor_file(tmp_path / "S 1.pt")
    assert found.dtype == dtype
    assert np.array_equal(found, FEATURES)
    assert not found.flags.writeable
    torch.save(torch.zeros(0, 5), tmp_path / "a.pt")
    assert open_tensor_file(tmp_path / "a.pt").shape == (0, 5)


class Trap:
    def __reduce__(self):
        return (print, ("this must not run",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"features": torch.zeros(2, 2)}, "it holds something else"),
        (torch.zeros(3), "it holds one vector, as of a whole slide"),
        (torch.zeros(2, 3, 4), "does not lie plainly"),
        (torch.zeros(3, 4).T, "does not lie plainly"),
        (torch.zeros(3, 4, dtype=torch.int64), "torch.LongStorage in it"),
        (Trap(), "__builtin__.print in it"),
    ],
)
def test_anything_else_is_refused_and_nothing_is_run(
    tmp_path, capsys, content, message
):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(ManifestError, match=message):
        open_tensor_file(tmp_path / "a.pt")
    assert capsys.readouterr().out == ""


def test_a_file_that_is_missing_or_cut_short_says_so(tmp_path):
    torch.save(torch.zeros(3, 4), tmp_path / "a.pt")
    content = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "a.pt").write_bytes(content[: len(content) // 2])
    for name in ("a.pt", "none.pt"):
        with pytest.raises(
            ManifestError, match=r"(?s)1.6 or newer.*(No such|not a zip) file"
        ):
            open_tensor_file(tmp_path / name)


def test_a_file_with_too_few_numbers_says_so(tmp_path):
    torch.save(torch.zeros(3, 4), tmp_path / "a.pt")
    with (
        zipfile.ZipFile(tmp_path / "a.pt") as old,
        zipfile.ZipFile(tmp_path / "b.pt", "w") as new,
    ):
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content[:8] if name.endswith("data/0") else content)
    with pytest.raises(ManifestError, match="longer than the file"):
        open_tensor_file(tmp_path / "b.pt")


def rewrite(path, change):
    """Write a file anew, with each member as `change(name, content)` gives it."""
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in members.items():
            new.writestr(name, change(name, content))


def test_bfloat16_is_widened_exactly(tmp_path):
    numbers = torch.tensor([[0.1, -2.5e30, 3], [float("inf"), 1e-40, -0.0]])
    for tensor in (numbers.bfloat16(), numbers.bfloat16()[None]):
        torch.save(tensor, tmp_path / "a.pt")
        found = open_tensor_file(tmp_path / "a.pt")
        assert found.dtype == np.float32
        assert np.array_equal(found, numbers.bfloat16().float().numpy())


def test_the_order_of_bytes_is_the_files(tmp_path):
    torch.save(torch.from_numpy(FEATURES), tmp_path / "a.pt")
    big = {"byteorder": b"big", "0": FEATURES.astype(">f4").tobytes()}
    rewrite(tmp_path / "a.pt", lambda name, old: big.get(name.split("/")[-1], old))
    assert np.array_equal(open_tensor_file(tmp_path / "a.pt"), FEATURES)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.from_numpy(FEATURES).expand(2, 7, 5)[:1, ::2],
        # One row, of every second number.
        torch.from_numpy(FEATURES)[:1, ::2],
        torch.zeros(1).expand(2_000_000, 512),
    ],
)
def test_numbers_that_do_not_lie_side_by_side_are_refused(tmp_path, tensor):
    torch.save(tensor, tmp_path / "a.pt")
    with pytest.raises(ManifestError, match=r"a.pt: .* does not lie plainly"):
        open_tensor_file(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        # More than a description of one tensor has, however little it is on the disk.
        (b"\x80\x02" + b"N0" * (1 << 20) + b".", "more than one tensor"),
        # A name of number two thousand million in C takes memory for all before.
        (b"\x80\x02Nr\xff\xff\xff\x7f.", "something else"),
        (b"\x80\x02\x8a\xff" + b"\x7f" * 255 + b".", "something else"),
        (b"\x80\x02ctorch\nFloatStorage\n)R.", "not callable"),
        (b"\x80\x02ctorch\nFloat\xa3torage\n.", "UnicodeDecodeError"),
        (b"\x80\x02" + b"(" * 3000, "EOFError"),
        (b"", "EOFError"),
    ],
)
def test_a_pickle_of_any_other_kind_names_the_file(tmp_path, pickled, message):
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", pickled)
        archive.writestr("a/data/0", bytes(64))
    with pytest.raises(ManifestError, match=f"a.pt: .*{message}"):
        open_tensor_file(tmp_path / "a.pt")
