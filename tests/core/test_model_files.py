from eosin.core import model_files


def test_what_readers_look_for_is_told_apart():
    names = [name for name in vars(model_files) if name.isupper()]
    values = [getattr(model_files, name) for name in names]
    assert len(set(values)) == len(values) == 4
    for name, value in zip(names, values, strict=True):
        assert value.endswith(".onnx") == name.endswith("_SUFFIX")
