import h5py
import numpy as np
import pytest
import torch

from eosin.bags import (
    FeatureFile,
    FeatureInfo,
    find_feature_files,
    open_features,
    read_slide_bag,
    write_features,
)
from eosin.core import ManifestError

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(7, 5)).astype(np.float32)
COORDS = RNG.integers(0, 9000, (7, 2))


def write_own(path):
    names = [f"tä{i}" for i in range(7)]
    info = FeatureInfo(slide_id="S1", encoder="e", tile_px=256, mpp=0.5, size_px0=512)
    write_features(path, FEATURES, COORDS, info, tile_ids=names)


def grow(file, name, value, *, chunk_rows=1):
    """As CLAM, TRIDENT and AtlasPatch write: data sets that can grow, in chunks."""
    chunks, most = (chunk_rows, *value.shape[1:]), (None, *value.shape[1:])
    return file.create_dataset(name, data=value, maxshape=most, chunks=chunks)


def write_clam(path):
    """As CLAM's `extract_features_fp.py`: places as int32, no attributes."""
    with h5py.File(path, "w") as file:
        grow(file, "features", FEATURES)
        grow(file, "coords", COORDS.astype(np.int32))


def write_clam_tensor(path):
    """As the same script afterwards: the features alone, as PyTorch saves them."""
    torch.save(torch.from_numpy(FEATURES), path)


def write_trident(path):
    """As TRIDENT's `save_h5`: one row per chunk, attributes on both."""
    places = {"patch_size": 256, "patch_size_level0": 512, "level0_magnification": 40}
    with h5py.File(path, "w") as file:
        grow(file, "features", FEATURES).attrs["encoder"] = "uni_v1"
        grow(file, "coords", COORDS).attrs.update(places)


def write_stamp(path, **attributes):
    """As STAMP's `extract_`: features as halves, places as float32 micrometres."""
    given = {"stamp_version": "2.3.0", "unit": "um", "tile_size_um": 128.0}
    with h5py.File(path, "w") as file:
        file["coords"] = (COORDS * 0.25).astype(np.float32)
        file["feats"] = FEATURES.astype(np.float16)
        file.attrs.update(attributes or {**given, "feat_type": "tile"})


def write_atlaspatch(path):
    """As AtlasPatch's `H5PatchWriter`, with what its slide encoders add."""
    sizes = np.tile([512, 512, 0], (7, 1))
    with h5py.File(path, "w") as file:
        places = np.concatenate([COORDS, sizes], axis=1).astype(np.int32)
        grow(file, "coords", places, chunk_rows=4)
        grow(file, "passports", np.full(7, b"S1__x0_y0"), chunk_rows=4)
        group = file.create_group("features")
        grow(group, "uni", FEATURES, chunk_rows=4)
        # What was not finished, and one vector of the whole slide.
        grow(group, "__tmp_other", FEATURES[:2], chunk_rows=4)
        file["slide_features/titan"] = np.zeros(3, np.float32)
        file.attrs.update({"patch_size": 256, "patch_size_level0": 512})


def test_clam_and_trident_files_give_the_identical_bag(tmp_path):
    for write in (write_own, write_clam, write_trident):
        write(tmp_path / "S1.h5")
        bag = read_slide_bag(tmp_path / "S1.h5")
        assert bag.read().tobytes() == FEATURES.tobytes()
        assert bag.read(np.array([1, 4])).tobytes() == FEATURES[[1, 4]].tobytes()
        assert bag.coords.dtype == np.int64
        assert bag.coords.tobytes() == COORDS.tobytes()
    write_own(tmp_path / "S1.h5")
    assert open_features(tmp_path / "S1.h5").tile_ids[6] == "tä6"


@pytest.mark.parametrize("write", [write_stamp, write_atlaspatch])
def test_other_layouts_give_the_same_places_and_features(tmp_path, write):
    write(tmp_path / "S1.h5")
    found = open_features(tmp_path / "S1.h5", slide_mpp=0.25)
    # STAMP keeps halves.
    np.testing.assert_allclose(found.features[:], FEATURES, atol=2e-3)
    assert np.array_equal(found.coords, COORDS)
    assert found.tile_ids is None


STAMP_SLIDE = {"encoder": "titan", "precision": "torch.float32", "version": "2.3.0"}


@pytest.mark.parametrize(
    ("content", "attributes", "wanted"),
    [
        # TRIDENT's `extract_slide_features`: squeezed, beside the places of all tiles.
        ({"features": FEATURES[0], "coords": COORDS}, {}, "features_<patch encoder>/"),
        ({"features": FEATURES[:1], "coords": COORDS}, {}, "features_<patch encoder>/"),
        ({"features": FEATURES[0], "coords": COORDS[0]}, {}, "features_<patch"),
        # STAMP's `Encoder._save_features_`, of a slide and of a patient; then its
        # second version, without the kind, and its first, all slides in one file.
        ({"feats": FEATURES[:1]}, STAMP_SLIDE | {"feat_type": "slide"}, "its feat_dir"),
        ({"feats": FEATURES[0]}, STAMP_SLIDE | {"feat_type": b"patient"}, "STAMP"),
        ({"feats": FEATURES[:1]}, STAMP_SLIDE, "its feat_dir"),
        ({"S1": FEATURES[0], "S2": FEATURES[1]}, STAMP_SLIDE, "its feat_dir"),
        # AtlasPatch's slide encoders where no tile encoder wrote.
        ({"slide_features/titan": FEATURES[0], "coords": COORDS}, {}, "features/<enc"),
    ],
)
def test_one_vector_of_a_slide_is_no_bag(tmp_path, content, attributes, wanted):
    with h5py.File(tmp_path / "S1.h5", "w") as file:
        for name, value in content.items():
            file[name] = value
        file.attrs.update(attributes)
    with pytest.raises(ManifestError, match=f"whole slide or patient.*{wanted}"):
        open_features(tmp_path / "S1.h5", slide_mpp=0.25)


def test_a_slide_of_one_tile_is_a_bag(tmp_path):
    with h5py.File(tmp_path / "S1.h5", "w") as file:
        file["features"], file["coords"] = FEATURES[:1], COORDS[:1]
    assert open_features(tmp_path / "S1.h5").features.shape == (1, 5)
    with h5py.File(tmp_path / "S2.h5", "w") as file:
        file["feats"], file["coords"] = FEATURES[:1], COORDS[:1]
        file.attrs.update({"unit": "um", "feat_type": "tile"})
    assert open_features(tmp_path / "S2.h5", slide_mpp=1).features.shape == (1, 5)


def test_a_folder_of_slide_vectors_names_the_one_beside_it(tmp_path):
    (tmp_path / "slide_features_titan").mkdir()
    with pytest.raises(ManifestError, match=r"holds slide_features_titan.*features_<p"):
        find_feature_files(tmp_path)
    (tmp_path / "slide_features_titan").rmdir()
    with pytest.raises(ManifestError, match="no feature file"):
        find_feature_files(tmp_path)


def test_what_pytorch_saved_has_features_without_places(tmp_path):
    write_clam_tensor(tmp_path / "S1.pt")
    bag = read_slide_bag(tmp_path / "S1.pt")
    assert bag.read().tobytes() == FEATURES.tobytes()
    assert bag.coords is None


def test_micrometres_need_the_slides_mpp_and_a_known_unit(tmp_path):
    write_stamp(tmp_path / "S1.h5")
    with pytest.raises(ManifestError, match="its coords are in micrometres"):
        open_features(tmp_path / "S1.h5")
    write_stamp(tmp_path / "S1.h5", extractor="ctranspath")
    with pytest.raises(ManifestError, match="does not say what its coords"):
        open_features(tmp_path / "S1.h5", slide_mpp=0.25)


@pytest.mark.parametrize(
    ("attributes", "scale"),
    [
        # Its second version, then its first: 224 px of 256 um, named nowhere.
        ({"unit": "um", "tile_size": 256.0}, 4.0),
        ({"extractor": "ctranspath"}, 4.0 * 256 / 224),
    ],
)
def test_older_stamp_files_are_read(tmp_path, attributes, scale):
    grid = np.stack(np.meshgrid(np.arange(4), np.arange(2)), -1).reshape(-1, 2)[:7]
    write_stamp(tmp_path / "S1.h5", **attributes)
    with h5py.File(tmp_path / "S1.h5", "a") as file:
        file["coords"][:] = grid * 224
    found = open_features(tmp_path / "S1.h5", slide_mpp=0.25)
    assert np.array_equal(found.coords, np.rint(grid * 224 * scale))


def test_one_of_several_encoders_must_be_named(tmp_path):
    write_atlaspatch(tmp_path / "S1.h5")
    with h5py.File(tmp_path / "S1.h5", "a") as file:
        file["features/other"] = FEATURES[:, :2]
    with pytest.raises(ManifestError, match="features of other, uni; name one"):
        open_features(tmp_path / "S1.h5")
    found = open_features(tmp_path / "S1.h5", encoder="other")
    assert found.features.shape == (7, 2)


@pytest.mark.parametrize(
    ("coords", "message"),
    [
        (COORDS[:3], "as many coords as features are needed, got 3 \\(of"),
        (COORDS[:, 0], "coords must be"),
        (np.zeros((7, 3)), "coords must be"),
        (np.full((7, 2), np.nan), "coords must be finite"),
        (COORDS[None], None),
        (None, None),
    ],
)
def test_coords_must_fit_or_be_absent(tmp_path, coords, message):
    write_trident(tmp_path / "S1.h5")
    with h5py.File(tmp_path / "S1.h5", "a") as file:
        del file["coords"]
        if coords is not None:
            file["coords"] = coords
    if message:
        with pytest.raises(ManifestError, match=message):
            open_features(tmp_path / "S1.h5")
    else:
        found = open_features(tmp_path / "S1.h5")
        assert (found.coords is None) == (coords is None)


def test_a_file_cut_short_says_so(tmp_path):
    for write in (write_own, write_clam):
        write(tmp_path / "S1.h5")
        content = (tmp_path / "S1.h5").read_bytes()
        (tmp_path / "S1.h5").write_bytes(content[:-40])
        with pytest.raises(ManifestError, match="cut short"):
            open_features(tmp_path / "S1.h5")


@pytest.mark.parametrize("place", ["", "h5_files", "features_uni_v1", "features"])
def test_files_are_found_where_each_tool_puts_them(tmp_path, place):
    (tmp_path / place).mkdir(exist_ok=True)
    # CLAM and TRIDENT keep places without features beside them.
    (tmp_path / "patches").mkdir()
    with h5py.File(tmp_path / "patches" / "S1_patches.h5", "w") as file:
        file["coords"] = COORDS
    write_clam(tmp_path / place / "S1.h5")
    # A killed run left this.
    (tmp_path / place / ".S2-abcdefgh.part.h5").write_bytes(b"")
    assert find_feature_files(tmp_path) == {"S1": tmp_path / place / "S1.h5"}


def test_atlaspatch_files_are_found_among_its_patches(tmp_path):
    (tmp_path / "patches").mkdir()
    write_atlaspatch(tmp_path / "patches" / "S1.h5")
    assert find_feature_files(tmp_path) == {"S1": tmp_path / "patches" / "S1.h5"}


def test_tensor_files_serve_where_there_is_nothing_better(tmp_path):
    (tmp_path / "pt_files").mkdir()
    write_clam_tensor(tmp_path / "pt_files" / "S1.pt")
    assert find_feature_files(tmp_path) == {"S1": tmp_path / "pt_files" / "S1.pt"}
    (tmp_path / "h5_files").mkdir()
    write_clam(tmp_path / "h5_files" / "S1.h5")
    assert find_feature_files(tmp_path) == {"S1": tmp_path / "h5_files" / "S1.h5"}


def test_of_several_encoders_folders_one_must_be_named(tmp_path):
    for name in ("uni_v1", "conch_v15"):
        (tmp_path / f"features_{name}").mkdir()
        write_trident(tmp_path / f"features_{name}" / "S1.h5")
    with pytest.raises(ManifestError, match="features of conch_v15, uni_v1; name one"):
        find_feature_files(tmp_path)
    files = find_feature_files(tmp_path, encoder="uni_v1")
    assert files == {"S1": tmp_path / "features_uni_v1" / "S1.h5"}
    # One that holds files itself is taken at its word.
    write_own(tmp_path / "S1.h5")
    assert find_feature_files(tmp_path) == {"S1": tmp_path / "S1.h5"}


@pytest.mark.realdata
def test_real_clam_places_are_read(data_folder, tmp_path):
    source = next((data_folder / "annotations" / "clam_patch_coords").glob("*.h5"))
    with h5py.File(source) as file, h5py.File(tmp_path / source.name, "w") as new:
        coords = file["coords"][()]
        file.copy("coords", new)
        new["features"] = np.ones((len(coords), 4), np.float32)
    bag = read_slide_bag(tmp_path / source.name)
    # 1,481 patches of 512 px on a slide of 39,839 x 45,988 px.
    assert len(bag) == 1481
    assert bag.coords[0].tolist() == [23480, 34386]
    assert (bag.coords + 512 <= [39839 + 512, 45988 + 512]).all()
    # Those without features are not taken for feature files.
    with pytest.raises(ManifestError, match="holds no 'features', but coords"):
        FeatureFile(source)


@pytest.mark.parametrize("write", [write_clam, write_stamp, write_atlaspatch])
def test_a_place_that_stands_twice_is_told(tmp_path, write):
    write(tmp_path / "S1.h5")
    with h5py.File(tmp_path / "S1.h5", "a") as file:
        file["coords"][4] = file["coords"][1]
    with pytest.raises(ManifestError, match=r"S1.h5: .* once, and 1 of 7 stand where"):
        open_features(tmp_path / "S1.h5", slide_mpp=0.25)


def test_names_tell_tiles_of_one_place_apart(tmp_path):
    write_own(tmp_path / "S1.h5")
    with h5py.File(tmp_path / "S1.h5", "a") as file:
        file["coords"][...] = 0
    assert open_features(tmp_path / "S1.h5").coords.tolist() == [[0, 0]] * 7


@pytest.mark.parametrize(
    ("place", "width", "message"),
    [
        (
            (9100, 5),
            9100,
            r"tiles lie off the slide of 9100 x 9100 px, .* \(9100",
        ),
        ((-1, 5), 9100, r"such as at \(-1, 5\)"),
        # Whole numbers of 32 bits that ran over, in a file that says no size.
        ((5, -2_147_483_000), None, "1 of 7 tiles lie off the slide, such"),
        ((9099, 9099), 9100, None),
        ((1, 1), "wide", "level0_width must be a number, got 'wide'"),
    ],
)
def test_tiles_off_the_slide_are_told(tmp_path, place, width, message):
    write_trident(tmp_path / "S1.h5")
    with h5py.File(tmp_path / "S1.h5", "a") as file:
        file["coords"][3] = place
        if width is not None:
            size = {"level0_width": width, "level0_height": 9100}
            file["coords"].attrs.update(size)
    if message is None:
        assert open_features(tmp_path / "S1.h5").coords[3].tolist() == list(place)
    else:
        with pytest.raises(ManifestError, match=f"S1.h5: .*{message}"):
            open_features(tmp_path / "S1.h5")


@pytest.mark.parametrize("kind", ["S4", "c8", [("a", "f4")], bool])
def test_features_that_are_no_real_numbers_are_told(tmp_path, kind):
    with h5py.File(tmp_path / "S1.h5", "w") as file:
        file["features"] = np.zeros((7, 5), kind)
        file["coords"] = COORDS
    with pytest.raises(ManifestError, match=r"S1.h5: features must be real numbers"):
        open_features(tmp_path / "S1.h5")
