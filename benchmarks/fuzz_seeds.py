"""Sound files of every kind that eosin reads, small, for `fuzz.py` to spoil.

    python benchmarks/fuzz_seeds.py FOLDER

Each folder below FOLDER is a target of `fuzz.TARGETS`, and holds sound files, or a
folder `whole` of which single files are spoiled. In `work` is what these refer to.
"""

import io
import json
import pickle
import shutil
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import cv2
import h5py
import numpy as np
import tifffile
from dicom_against_svs import write_dicom
from PIL import Image

from eosin.cohorts import make_phantom_cohort
from eosin.core import Progress
from eosin.settings import (
    BagSettings,
    BagTraining,
    EmbedSettings,
    ImportSettings,
    TileTraining,
    TilingSettings,
)
from eosin.slides import TiledSlide, make_phantom, open_slide
from eosin.workflows.bags import make_bags
from eosin.workflows.embed import embed_tiles
from eosin.workflows.evaluate import evaluate
from eosin.workflows.import_patches import import_patches
from eosin.workflows.tile import tile_cohort
from eosin.workflows.train import train

QUIET = Progress()
SQUARE = ((100, 100), (400, 100), (400, 380), (100, 380))
APERIO = "Aperio Image Library v1\n{}x{} (256x256) JPEG Q=70|AppMag = 20|MPP = 0.499"
OME = (
    '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/'
    'Schemas/OME/2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" Type="uint8" '
    'DimensionOrder="XYCZT" SizeX="{}" SizeY="{}" SizeC="3" SizeZ="1" SizeT="1" '
    'PhysicalSizeX="0.5" PhysicalSizeXUnit="µm" PhysicalSizeY="0.5" Interleaved="true">'
    '<Channel ID="C:0" SamplesPerPixel="3"/><TiffData/></Pixels></Image></OME>'
)


def make_seeds(folder: Path) -> None:
    """Make all seeds; what needs a cohort is made by the workflows themselves."""
    for make in (make_slides, make_pictures, make_annotations, make_tables):
        make(folder)
    make_work(folder)


def make_slides(folder: Path) -> None:
    out = folder / "slide"
    out.mkdir(parents=True)
    image = make_phantom(seed=1, size_px=(512, 384)).image
    height, width = image.shape[:2]
    half = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    cm = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
    tiled = {"tile": (128, 128), "photometric": "rgb"}
    for name, how in {
        "none.tif": tiled,
        "deflate.tif": tiled | {"compression": "deflate", "predictor": True},
        "lzw.tif": tiled | {"compression": "lzw"},
        "jpeg.tif": tiled | {"compression": "jpeg"},
        "jpeg2000.tif": tiled | {"compression": "jpeg2000"},
        "webp.tif": tiled | {"compression": "webp"},
        "zstd.tif": tiled | {"compression": "zstd"},
        "big.tif": tiled | {"compression": "jpeg", "bigtiff": True},
        "strips.tif": {"rowsperstrip": 32, "photometric": "rgb"},
        "motorola.tif": tiled | {"byteorder": ">", "compression": "deflate"},
    }.items():
        options = {key: how.pop(key) for key in ("bigtiff", "byteorder") if key in how}
        with tifffile.TiffWriter(out / name, **options) as writer:
            writer.write(image, **how, **cm, metadata=None)
            writer.write(half, **how, subfiletype=1, metadata=None)
    jpeg = tiled | {"compression": "jpeg", "metadata": None}
    with tifffile.TiffWriter(out / "aperio.svs") as writer:
        text = APERIO.format(width, height)
        writer.write(image, **jpeg, description=text)
        strips = {"rowsperstrip": 16, "photometric": "rgb", "metadata": None}
        writer.write(half, **strips, description=text)
        writer.write(half, **jpeg, description=text, subfiletype=1)
        label = f"{APERIO.format(64, 64).splitlines()[0]}\nlabel 64x64"
        writer.write(half[:64, :64], **strips, description=label, subfiletype=1)
    with tifffile.TiffWriter(out / "pyramid.ome.tif") as writer:
        text = OME.format(width, height).encode()
        writer.write(image, **jpeg, description=text, subifds=1)
        writer.write(half, **jpeg, subfiletype=1)
    with open_slide(out / "jpeg.tif") as slide:
        if not isinstance(slide, TiledSlide):
            raise SystemExit("a tiled TIFF must be read natively")
        made = write_dicom(slide, folder / "dicom", table=True)
    shutil.move(made, out / "slide.dcm")
    shutil.rmtree(folder / "dicom")


def make_pictures(folder: Path) -> None:
    out = folder / "slide"
    image = Image.fromarray(make_phantom(seed=2, size_px=(256, 256)).image[:96, :96])
    for name, mode in (
        ("plain.png", "RGB"),
        ("palette.png", "P"),
        ("alpha.png", "RGBA"),
        ("plain.jpg", "RGB"),
        ("cmyk.jpg", "CMYK"),
        ("plain.bmp", "RGB"),
        ("plain.webp", "RGB"),
        ("grey.tif", "L"),
    ):
        image.convert(mode).save(out / name)


def make_annotations(folder: Path) -> None:
    out = folder / "annotation"
    out.mkdir()
    ring = [[*SQUARE, SQUARE[0]]]
    hole = [[[200, 200], [200, 250], [250, 250], [250, 200], [200, 200]]]
    features = [
        {
            "type": "Feature",
            "id": f"a-{i}",
            "geometry": {"type": kind, "coordinates": corners},
            "properties": {"classification": {"name": "Tumor", "color": [200, 0, 0]}},
        }
        for i, (kind, corners) in enumerate(
            (("Polygon", ring + hole), ("MultiPolygon", [ring]), ("Point", [5, 6]))
        )
    ]
    whole = {"type": "FeatureCollection", "features": features}
    lines = "\n".join(map(json.dumps, features))
    corners = [(f'X="{x}" Y="{y}"', x, y) for x, y in SQUARE]
    vertices = "".join(f"<Vertex {place}/>" for place, *_ in corners)
    halo = "".join(f"<V {place}/>" for place, *_ in corners)
    asap = "".join(
        f'<Coordinate Order="{i}" {place}/>' for i, (place, *_) in enumerate(corners)
    )
    points = "".join(f"<point><x>{x}</x><y>{y}</y></point>" for _, x, y in corners)
    for name, text in {
        "qupath.geojson": json.dumps(whole, indent=1),
        "list.json": json.dumps(features),
        "lines.geojson": lines,
        "asap.xml": '<?xml version="1.0"?><ASAP_Annotations><Annotations><Annotation '
        f'Name="Annotation 0" Type="Polygon" PartOfGroup="Tumor"><Coordinates>{asap}'
        "</Coordinates></Annotation></Annotations></ASAP_Annotations>",
        "imagescope.xml": '<?xml version="1.0" encoding="UTF-8"?><Annotations '
        'MicronsPerPixel="0.5"><Annotation Id="1" Name="Tumor"><Attributes><Attribute '
        'Name="Description" Value=""/></Attributes><Regions><Region Id="1" Type="0" '
        f'Text="" NegativeROA="0"><Vertices>{vertices}</Vertices></Region></Regions>'
        "</Annotation></Annotations>",
        "halo.annotations": '<Annotations><Annotation Name="Tumor"><Regions><Region '
        f'Type="Polygon" NegativeROA="0" HasEndcaps="0"><Vertices>{halo}</Vertices>'
        "</Region></Regions></Annotation></Annotations>",
        "view.ndpa": '<?xml version="1.0" encoding="utf-8"?><annotations><ndpviewstate '
        'id="1"><title>Tumor</title><annotation type="freehand"><closed>1</closed>'
        f"<pointlist>{points}</pointlist></annotation></ndpviewstate></annotations>",
    }.items():
        (out / name).write_text(text, encoding="utf-8")


def make_tables(folder: Path) -> None:
    for target in ("table", "patch_table", "settings"):
        (folder / target).mkdir()
    rows = "".join(
        f"S{i:02d},P{i // 2},slides/S{i:02d}.svs,a/{i}.geojson,{label},0.5,train,5{i}\n"
        for i, label in enumerate(["normal", "tumor"] * 4)
    )
    header = "slide_id,patient_id,path,annotation,label,mpp,split,age\n"
    (folder / "table" / "slides.csv").write_text(header + rows, encoding="utf-8")
    excel = ("sep=;\n" + header + rows).replace(",", ";")
    (folder / "table" / "excel.csv").write_bytes(b"\xef\xbb\xbf" + excel.encode())
    ids = "".join(f"{i:040x},{i % 2}\n" for i in range(9))
    text = "id,label\n" + ids
    (folder / "patch_table" / "train_labels.csv").write_text(text, encoding="utf-8")
    toml = 'encoder = "smallcnn"\nweights = "none"\nseed = 3\nlearning_rate = 0.001\n'
    (folder / "settings" / "run.toml").write_text(toml, encoding="utf-8")


def make_work(folder: Path) -> None:
    """Make tiles, a pack, features, bags and runs of a made cohort."""
    work = folder / "work"
    cohort = make_phantom_cohort(
        work / "cohort", n_patients=8, n_new=1, size_px=(1024, 768), progress=QUIET
    )
    tiling = TilingSettings(mpp=1.0, tile_px=64)
    tiles = work / "tiles"
    tile_cohort(cohort.table, tiles, tiling, pack=True, progress=QUIET)
    fitting = TileTraining(encoder="smallcnn", weights="none", tune_epochs=1)
    train(tiles, work / "run", fitting, progress=QUIET)
    evaluate(work / "run", n_bootstrap=20, progress=QUIET)
    encoder = EmbedSettings(encoder=str(work / "run"))
    embed_tiles(tiles, work / "features", encoder, progress=QUIET)
    quick = BagTraining(
        classes=("normal", "tumor"), folds=2, epochs=1, aggregator="mean"
    )
    table = cohort.table
    train(work / "features", work / "bag_run", quick, cohort=table, progress=QUIET)
    bags = BagSettings(size=4, witnesses=(2, 1), n_bags=12)
    make_bags(tiles, work / "bags", bags, progress=QUIET)
    patches = work / "patches"
    image = make_phantom(seed=2, size_px=(256, 256)).image
    for i in range(8):
        part = patches / ("tumor" if i % 2 else "normal")
        part.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(part / f"{i}.png"), image[i * 16 :][:64, :64, ::-1])
    settings = ImportSettings(layout="folder", mpp=1.0)
    import_patches(patches, work / "imported", settings, progress=QUIET)
    _spread(folder, work)


def _spread(folder: Path, work: Path) -> None:
    """Put what was made where its target looks."""
    for target, source in {
        "run": "run",
        "bag_run": "bag_run",
        "tiles": "tiles",
    }.items():
        ignored = shutil.ignore_patterns(
            *("*.png", "*.html", "*.keras", "*.lock", "pack.arrow"),
            *("state", "parts", "cache", "overviews", "attention"),
        )
        shutil.copytree(work / source, folder / target / "whole", ignore=ignored)
    for target, pattern in {
        "predictions": "run/evaluation/predictions.parquet",
        "bag_table": "bags/bags.parquet",
        "manifest": "*/tiles.parquet",
        "pack": "tiles/*.arrow",
        "onnx": "*run/*.onnx",
        "features": "features/*.h5",
    }.items():
        (folder / target).mkdir(exist_ok=True)
        found = sorted(work.glob(pattern))
        if not found:
            raise SystemExit(f"{work}: holds no {pattern}")
        for path in found[:3]:
            shutil.copy(path, folder / target / f"{path.parent.name}-{path.name}")
    _write_features(folder / "features")


def _write_features(out: Path) -> None:
    """Write features as other tools do: in groups, packed, and as tensors."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(12, 8)).astype(np.float32)
    places = np.array([[i % 4 * 256, i // 4 * 256] for i in range(12)], np.int64)
    with h5py.File(out / "clam.h5", "w") as file:
        file["features"], file["coords"] = values, places
        file["coords"].attrs["patch_size"] = 256
    with h5py.File(out / "packed.h5", "w") as file:
        how = {"compression": "gzip", "chunks": (4, 8), "shuffle": True}
        file.create_dataset("features", data=values.astype(np.float16), **how)
        file.create_dataset("coords", data=places, compression="gzip")
    _write_tensor(out / "slide.pt", values)


def _write_tensor(path: Path, values: np.ndarray) -> None:
    """Write a tensor as torch does, without torch."""
    stream = io.BytesIO()
    pickler = pickle.Pickler(stream, protocol=2)
    storage = _Storage(values.size)
    pickler.persistent_id = lambda found: (  # type: ignore[method-assign]
        ("storage", _Float, "0", "cpu", found.size)
        if isinstance(found, _Storage)
        else None
    )
    pickler.dump(_Tensor(storage, values.shape))
    data = stream.getvalue()
    data = data.replace(b"c__main__\n_Float\n", b"ctorch\nFloatStorage\n")
    data = data.replace(b"cfuzz_seeds\n_Float\n", b"ctorch\nFloatStorage\n")
    for module in (b"__main__", b"fuzz_seeds"):
        data = data.replace(
            b"c" + module + b"\n_rebuild\n", b"ctorch._utils\n_rebuild_tensor_v2\n"
        )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("slide/data.pkl", data)
        archive.writestr("slide/byteorder", "little")
        archive.writestr("slide/data/0", values.tobytes())
        archive.writestr("slide/version", "3\n")


class _Float:
    pass


class _Storage:
    def __init__(self, size: int) -> None:
        self.size = size


def _rebuild() -> None:
    pass


class _Tensor:
    def __init__(self, storage: _Storage, shape: tuple[int, ...]) -> None:
        self.storage, self.shape = storage, shape

    def __reduce__(self) -> tuple[object, ...]:
        steps = (self.shape[1], 1)
        content = (self.storage, 0, self.shape, steps, False, OrderedDict())
        return _rebuild, content


if __name__ == "__main__":
    make_seeds(Path(sys.argv[1]))
