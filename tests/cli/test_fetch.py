from typer.testing import CliRunner

from eosin.cli.main import app
from eosin.workflows import fetch
from eosin.workflows.fetch import FetchResult


def test_what_was_fetched_is_told_with_the_next_step(monkeypatch, tmp_path):
    given = {}

    def fetch_data(config, out, **options):
        given.update(options, config=config)
        return FetchResult(out, ("a",), ("b", "c"))

    monkeypatch.setattr(fetch, "fetch_data", fetch_data)
    arguments = ["fetch", "pcam", "-o", str(tmp_path), "--split", "valid"]
    done = CliRunner().invoke(app, [*arguments, "--split", "test"])
    assert done.exit_code == 0, done.output
    assert "1 files fetched, 2 were there" in done.output
    assert "eosin import pcam" in done.output
    assert given["config"].splits == ("valid", "test")
    assert given["config"].address is None


def test_all_splits_are_fetched_by_default(monkeypatch, tmp_path):
    found = []

    def fetch_data(config, out, **_options):
        found.append(config)
        return FetchResult(out, (), ())

    monkeypatch.setattr(fetch, "fetch_data", fetch_data)
    address = "http://127.0.0.1:1/{name}"
    arguments = ["fetch", "pcam", "-o", str(tmp_path), "--address", address]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert found[0].splits == ("train", "valid", "test")
    assert found[0].address == address
