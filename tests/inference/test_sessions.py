import multiprocessing
import os
import threading
import time
from contextlib import closing

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from eosin.core import ConfigError, ModelError
from eosin.inference import iter_read_ahead, note_calls, open_session


@pytest.mark.parametrize("n", [1, 4, 5, 11])
@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.UINT8])
@pytest.mark.parametrize("batch", ["tiles", 4])
def test_any_number_of_tiles_gets_its_own_outputs(
    write_model, tmp_path, tiles, true_features, batch, dtype, n
):
    session = open_session(write_model(tmp_path / "m.onnx", batch=batch, dtype=dtype))
    found = session.run(tiles[:n], batch=3)
    np.testing.assert_allclose(found["features"], true_features[:n], atol=1e-6)
    expected = 2 * true_features[:n, :1] - 1
    np.testing.assert_allclose(found["logits"], expected, atol=1e-6)


def test_no_tiles_give_empty_outputs(session, tiles):
    found = session.run(tiles[:0])
    assert found["features"].shape == (0, 3)
    assert found["logits"].shape == (0, 1)


def test_a_session_tells_what_it_takes_and_gives(write_model, tmp_path):
    folder = tmp_path / "mes modèles"
    folder.mkdir()
    session = open_session(write_model(folder / "modèle é.onnx", batch=8))
    assert session.tile_px == 6
    assert session.outputs == {
        "logits": (1,),
        "features": (3,),
        "activations": (6, 6, 3),
    }


def test_tiles_of_another_kind_are_refused(session, tiles):
    with pytest.raises(ValueError, match="6 px, got"):
        session.run(np.zeros((2, 5, 5, 3), np.uint8))
    with pytest.raises(ValueError, match="uint8, got float64"):
        session.run(tiles[:2] / 255)
    with pytest.raises(ValueError, match="1 or more, got 0"):
        session.run(tiles[:2], batch=0)


@pytest.mark.parametrize("content", [b"", b"not a model", "cut short", None])
def test_a_missing_or_damaged_file_is_a_model_error(write_model, tmp_path, content):
    path = tmp_path / "m.onnx"
    if content == "cut short":
        content = write_model(path).read_bytes()[:-40]
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"m\.onnx"):
        open_session(path)


@pytest.mark.parametrize(
    "shape", [["n", 10], ["n", 6, 6, 4], ["n", 6, 8, 3], list("nhw3")]
)
def test_a_model_of_something_else_is_refused(tmp_path, shape):
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "g", [value], [out]
    )
    opset = [helper.make_opsetid("", 13)]
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    with pytest.raises(ModelError, match="takes tiles"):
        open_session(path)


class FakeRuntime:
    """ONNX Runtime with CUDA whose libraries may not load."""

    def __init__(self, *, works):
        self.real, self.works, self.asked = ort.InferenceSession, works, None

    def __call__(self, path, options, providers):
        self.asked = providers
        session = self.real(path, options, providers=["CPUExecutionProvider"])
        if self.works:
            session.get_providers = lambda: providers
        return session


@pytest.fixture
def fake_cuda(monkeypatch):
    def install(*, works):
        runtime = FakeRuntime(works=works)
        both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
        monkeypatch.setattr(ort, "get_available_providers", lambda: both)
        monkeypatch.setattr(ort, "InferenceSession", runtime)
        return runtime

    return install


@pytest.mark.parametrize(
    ("device", "first"), [("auto", "CUDA"), ("cuda", "CUDA"), ("cpu", "CPU")]
)
def test_cuda_comes_first_where_it_works(open_model, fake_cuda, device, first):
    runtime = fake_cuda(works=True)
    open_model(device=device)
    assert runtime.asked[0] == f"{first}ExecutionProvider"


def test_a_device_that_is_not_there_is_an_error(open_model, fake_cuda, monkeypatch):
    fake_cuda(works=False)
    with pytest.raises(ConfigError, match="could not start"):
        open_model(device="cuda")
    assert open_model(device="auto").tile_px == 6
    monkeypatch.setattr(ort, "get_available_providers", list)
    with pytest.raises(ConfigError, match="onnxruntime-gpu"):
        open_model(device="cuda")
    with pytest.raises(ConfigError, match=r"auto, cpu, cuda.*'gpu'"):
        open_model(device="gpu")


def test_a_failing_run_is_a_model_error(write_model, tmp_path, tiles, monkeypatch):
    session = open_session(write_model(tmp_path / "m.onnx"))

    class Broken:
        def run(self, *_):
            raise RuntimeError("out of memory\nand much more")

    monkeypatch.setattr(session, "_session", Broken())
    with pytest.raises(ModelError, match=r"5 tiles .*out of memory.*smaller batches"):
        session.run(tiles[:5], batch=5)


@pytest.mark.parametrize("place", ["../secret.bin", "/etc/hostname", "link.bin"])
def test_numbers_of_other_files_are_no_part_of_a_model(write_model, tmp_path, place):
    """ONNX lets a model name files that hold its numbers."""
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(4096))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    model = onnx.load(write_model(folder / "m.onnx"))
    weight = model.graph.initializer.add()
    weight.name, weight.data_type = "secret", TensorProto.FLOAT
    weight.dims.extend([4, 4])
    weight.data_location = TensorProto.EXTERNAL
    for key, value in {"location": place, "length": "64"}.items():
        entry = weight.external_data.add()
        entry.key, entry.value = key, value
    out = onnx.helper.make_tensor_value_info("secret", TensorProto.FLOAT, [4, 4])
    model.graph.output.append(out)
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"m.onnx: ONNX Runtime cannot open it"):
        open_session(folder / "m.onnx")


@pytest.fixture
def calls_of(monkeypatch):
    """Open a model so that the shapes of its calls and their threads are kept."""

    def spy(session):
        real, seen = session._session, []

        class Spy:
            def run(self, outputs, inputs):
                (tiles,) = inputs.values()
                seen.append((tiles.shape, threading.current_thread().name))
                return real.run(outputs, inputs)

        monkeypatch.setattr(session, "_session", Spy())
        return seen

    return spy


@pytest.mark.parametrize(
    ("px", "size"), [(6, 32), (64, 4), (96, 2), (104, 2), (105, 1), (256, 1)]
)
def test_all_calls_on_a_cpu_are_of_one_small_size(
    write_model, tmp_path, calls_of, px, size
):
    session = open_session(write_model(tmp_path / "m.onnx", px=px), device="cpu")
    seen, n = calls_of(session), 2 * size + 1
    found = session.run(np.full((n, px, px, 3), 51, np.uint8))
    np.testing.assert_allclose(found["features"], 0.2, atol=1e-3)
    assert [shape for shape, _ in seen] == [(size, px, px, 3)] * 3
    # On threads that all models share, however many ask for outputs.
    assert {name.rpartition("_")[0] for _, name in seen} == {"model"}
    assert note_calls(px)["model_calls"]["batch"] == size
    del seen[:]
    session.run(np.zeros((n, px, px, 3), np.uint8), batch=n)
    assert [shape[0] for shape, _ in seen] == [n]


def test_outputs_do_not_depend_on_neighbours(tmp_path):
    """A product whose rounding differs with the number of its rows, as convolutions."""
    px, rng = 64, np.random.default_rng(0)
    weights = rng.normal(size=(px * px * 3, 7)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["tiles"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["features"]),
        ],
        "product",
        [helper.make_tensor_value_info("tiles", TensorProto.FLOAT, ["n", px, px, 3])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 7])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    opset = [helper.make_opsetid("", 13)]
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    session = open_session(path, device="cpu")
    tiles = rng.integers(0, 256, (13, px, px, 3), dtype=np.uint8)
    every = session.run(tiles)["features"]
    for rows in ([7], [12, 3], [5, 4, 3, 2, 1, 0]):
        assert (session.run(tiles[rows])["features"] == every[rows]).all()


def test_a_gpu_takes_many_tiles_on_the_caller_s_thread(
    open_model, fake_cuda, calls_of, tiles
):
    fake_cuda(works=True)
    session = open_model(device="auto")
    seen = calls_of(session)
    session.run(tiles[:40])
    here = threading.current_thread().name
    assert seen == [((32, 6, 6, 3), here)] * 2
    calls = note_calls(6, device="auto")["model_calls"]
    assert calls == {"device": "cuda", "callers": 1, "threads": 1, "batch": 32}
    assert note_calls(None) == {}


def test_an_interrupted_run_leaves_no_calls_behind(session, tiles, monkeypatch):
    begun = []

    class Interrupted:
        def run(self, *_):
            begun.append(1)
            time.sleep(0.01)
            raise KeyboardInterrupt

    monkeypatch.setattr(session, "_session", Interrupted())
    with pytest.raises(KeyboardInterrupt):
        session.run(tiles, batch=1)
    # The threads are there for the next model.
    monkeypatch.undo()
    assert len(session.run(tiles)["logits"]) == len(tiles)
    assert len(begun) < len(tiles)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system knows no forks")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_callers_of_its_own(session, tiles):
    expected = session.run(tiles)["logits"]
    context = multiprocessing.get_context("fork")
    answer = context.SimpleQueue()
    child = context.Process(target=lambda: answer.put(session.run(tiles)["logits"]))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert (answer.get() == expected).all()


def test_who_stops_reading_ahead_does_not_wait_for_all_calls(
    session, tiles, monkeypatch
):
    begun, n_calls, run_call = threading.Event(), [], session._run_call

    def slow(*arguments, **options):
        n_calls.append(0)
        begun.set()
        time.sleep(0.002)
        return run_call(*arguments, **options)

    monkeypatch.setattr(session, "_run_call", slow)
    many = np.concatenate([tiles] * 1000)

    def read(rows):
        return session.run(many, batch=1) if rows[0] else None

    with closing(iter_read_ahead(read, range(2), 1)) as batches:
        next(batches)
        assert begun.wait(5)
    assert len(n_calls) < len(many) / 2
