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
        with pytest.raises(ManifestError, match="missing, cut short, or very old"):
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
