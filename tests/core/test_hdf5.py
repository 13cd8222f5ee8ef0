import h5py
import numpy as np
import pytest

from eosin.core import ManifestError
from eosin.core.hdf5 import can_map, open_hdf5

NUMBERS = np.arange(24, dtype=np.float32).reshape(6, 4)


def find(path, name="x"):
    with open_hdf5(path, ManifestError, "not of HDF5") as file:
        found = file.find(name)
        return None if found is None else np.asarray(found)


def link_outside(file):
    file["x"] = h5py.ExternalLink("other.h5", "/x")


def link_outside_by_a_group(file):
    file["group"] = h5py.ExternalLink("other.h5", "/")
    file["x"] = h5py.SoftLink("/group/x")


def link_in_a_circle(file):
    file["x"], file["y"] = h5py.SoftLink("/y"), h5py.SoftLink("x")


def keep_outside(file):
    file.create_dataset("x", (6, 4), "f4", external=[("other.h5", 0, 96)])


def map_outside(file):
    layout = h5py.VirtualLayout((6, 4), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (6, 4))
    file.create_virtual_dataset("x", layout)


def say_much_of_nothing(file):
    file.create_dataset("x", (2_000_000_000, 8), "f4", chunks=(1000, 8))


def say_much_in_one_piece(file):
    file.create_dataset("x", (2_000_000_000, 8), "f4")


def leave_a_chunk_out(file):
    file.create_dataset("x", (6, 4), "f4", chunks=(2, 4))[:3] = 1


def make_one_chunk(file):
    data = file.create_dataset("x", (1 << 28, 4), "f4", chunks=(1 << 26, 4))
    data.id.write_direct_chunk((0, 0), b"1234")


def squeeze(file):
    how = {"chunks": (1 << 20, 16), "compression": "gzip"}
    data = file.create_dataset("x", (5 << 20, 16), "f4", **how)
    for start in range(0, len(data), 1 << 20):
        data.id.write_direct_chunk((start, 0), b"1234")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (link_outside, "lies in another file \\(other.h5\\)"),
        (link_outside_by_a_group, "lies in another file"),
        (link_in_a_circle, "leads round in a circle"),
        (keep_outside, "takes its numbers from other files"),
        (map_outside, "takes its numbers from other files"),
        (say_much_of_nothing, "only a part was ever written"),
        (say_much_in_one_piece, "nothing was ever written"),
        (leave_a_chunk_out, "only a part was ever written"),
        (make_one_chunk, "has chunks of 1.1 GB"),
        (squeeze, "0.3 GB, and stores 20 bytes"),
    ],
)
def test_what_is_not_in_the_file_itself_is_refused(tmp_path, spoil, message):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = NUMBERS
    with h5py.File(tmp_path / "a.h5", "w") as file:
        spoil(file)
    with pytest.raises(ManifestError, match=f"a.h5: its 'x' .*{message}"):
        find(tmp_path / "a.h5")


def test_links_within_the_file_are_followed(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["deep/below/numbers"] = NUMBERS
        file["deep/near"] = h5py.SoftLink("below/numbers")
        file["x"] = h5py.SoftLink("/deep/./near")
        file["y"] = h5py.SoftLink("/nowhere")
    assert np.array_equal(find(tmp_path / "a.h5"), NUMBERS)
    assert find(tmp_path / "a.h5", "y") is None
    assert find(tmp_path / "a.h5", "deep/near/more") is None


@pytest.mark.parametrize("damage", ["heap", "tree", "cut", "text"])
def test_damage_of_any_kind_names_the_file(tmp_path, damage):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = NUMBERS
    content = path.read_bytes()
    spoiled = {
        "heap": content.replace(b"HEAP", b"HEAQ"),
        "tree": content.replace(b"TREE", b"\xff\xff\xff\xff"),
        "cut": content[:-20],
        "text": b"slide,label\n",
    }
    path.write_bytes(spoiled[damage])
    with pytest.raises(ManifestError, match=r"a.h5: not of HDF5 \("):
        find(path)


def write_bfloat16(file):
    """A type of HDF5's that NumPy has not; HDF5 turns it into float32."""
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_fields(15, 7, 8, 0, 7)
    kind.set_size(2)
    kind.set_ebias(127)
    space = h5py.h5s.create_simple(NUMBERS.shape)
    data = h5py.h5d.create(file.id, b"x", kind, space)
    data.write(h5py.h5s.ALL, h5py.h5s.ALL, NUMBERS)


def test_only_numbers_as_numpy_has_them_are_mapped(tmp_path):
    """The lower the file lies under a block of the user's, the further the numbers."""
    with h5py.File(tmp_path / "a.h5", "w", userblock_size=512) as file:
        write_bfloat16(file)
        file["plain"] = NUMBERS.astype(">f8")
        file.create_dataset("chunks", data=NUMBERS, chunks=(2, 4))
    with open_hdf5(tmp_path / "a.h5", ManifestError, "") as file:
        mapped = {name: can_map(file.find(name)) for name in file.names}
        assert np.array_equal(file.find("x"), NUMBERS)
        place = file.find("plain").id.get_offset()
    assert mapped == {"chunks": False, "plain": True, "x": False}
    numbers = np.memmap(tmp_path / "a.h5", ">f8", "r", place, NUMBERS.shape)
    assert np.array_equal(numbers, NUMBERS)


def test_attributes_are_values_of_python(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        given = {"one": np.float32([0.5]), "text": np.bytes_(b"uni"), "two": [1, 2]}
        file.attrs.update({**given, "none": h5py.Empty("f4"), "long": np.zeros(2000)})
        file.attrs["link"] = file.ref
        # No type of NumPy's.
        kind = h5py.h5t.UNIX_D32LE
        h5py.h5a.create(file.id, b"bits", kind, h5py.h5s.create_simple((1,)))
    with open_hdf5(tmp_path / "a.h5", ManifestError, "") as file:
        found = file.read_attributes()
        assert file.read_attributes("nothing") == {}
    assert (found["one"], found["text"]) == (0.5, "uni")
    assert found["two"].tolist() == [1, 2]
    assert {"long", "bits"}.isdisjoint(found)
