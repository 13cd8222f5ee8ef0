import shutil
from collections import Counter
from contextlib import contextmanager

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from eosin.inference import Session, open_session

PX = 6


@pytest.fixture(scope="session")
def write_model():
    """Write a model: logits = gain * mean red / 255 + bias; features = mean colour."""

    def write(
        path, *, batch="tiles", dtype=TensorProto.FLOAT, gain=2.0, bias=-1.0, n=1, px=PX
    ):
        nodes = [
            helper.make_node("Cast", ["tiles"], ["raw"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["raw", "full"], ["activations"]),
            helper.make_node(
                "ReduceMean", ["activations"], ["features"], axes=[1, 2], keepdims=0
            ),
            helper.make_node("Gather", ["features", "channels"], ["picked"], axis=1),
            helper.make_node("Mul", ["picked", "gain"], ["scaled"]),
            helper.make_node("Add", ["scaled", "bias"], ["logits"]),
        ]
        constants = {
            "full": np.float32(255),
            "channels": np.arange(n, dtype=np.int64),
            "gain": np.float32(gain),
            "bias": np.float32(bias),
        }
        graph = helper.make_graph(
            nodes,
            "colour",
            [helper.make_tensor_value_info("tiles", dtype, [batch, px, px, 3])],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *shape])
                for name, shape in {
                    "logits": [n],
                    "features": [3],
                    "activations": [px, px, 3],
                }.items()
            ],
            [
                onnx.numpy_helper.from_array(np.asarray(v), k)
                for k, v in constants.items()
            ],
        )
        opset = [helper.make_opsetid("", 13)]
        onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
        return path

    return write


@pytest.fixture(scope="session")
def session(write_model, tmp_path_factory):
    return open_session(write_model(tmp_path_factory.mktemp("model") / "m.onnx"))


@pytest.fixture
def open_model(write_model, tmp_path):
    """Write a model as `write_model` does, and open it."""

    def write_and_open(*, device="cpu", **options):
        path = write_model(tmp_path / "m.onnx", **options)
        return open_session(path, device=device)

    return write_and_open


@pytest.fixture
def own_tiles(tile_folder, tmp_path):
    """A tile folder in which nothing was encoded yet."""
    ignored = shutil.ignore_patterns("cache")
    return shutil.copytree(tile_folder, tmp_path / "tiles", ignore=ignored)


@pytest.fixture(scope="session")
def counting():
    """Count the tiles that go through models, by the models' files."""
    real = Session.run

    @contextmanager
    def count():
        counts = Counter()

        def run(self, tiles, **options):
            counts[self._path.name] += len(tiles)
            return real(self, tiles, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Session, "run", run)
            yield counts

    return count


@pytest.fixture(scope="session")
def tiles():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (150, PX, PX, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def true_features(tiles):
    return tiles.astype(np.float64).mean(axis=(1, 2)) / 255
