import os
import signal
import subprocess
import sys

import pytest

from eosin import __version__
from eosin.cli import main


def run_in_process(monkeypatch, *arguments):
    """Run the command line as the console script does; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["eosin", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main.run()
    return ended.value.code


def test_help_lists_every_command_under_its_group(eosin):
    done, text = eosin("--help")
    assert done.exit_code == 0
    groups = ("Main job:", "Patches:", "Bags:", "Trust:", "Set-up:")
    places = [text.index(group) for group in groups]
    assert places == sorted(places)
    for command in ("demo", "train", "import", "limit", "interpret", "doctor"):
        assert f" {command} " in text
    # The words that users look for.
    for word in ("multiple-instance learning (MIL)", "bag", "attention"):
        assert word in text
    assert eosin("--version")[1].strip() == f"eosin {__version__}"


def test_imports_of_a_command_look_for_no_garbage():
    code = (
        "import gc, os; from eosin.cli.main import _spare_waiting; passes = [];"
        "gc.callbacks.append(lambda phase, _: passes.append(phase));"
        "usual = gc.get_threshold(); _spare_waiting(); import eosin.workflows.tile;"
        "print(passes.count('start'), os.environ['OPENBLAS_THREAD_TIMEOUT'],"
        "gc.get_threshold() == usual)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OPENBLAS_THREAD_TIMEOUT": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    n_passes, timeout, is_as_usual = done.stdout.split()
    # By default there are some hundred.
    assert int(n_passes) < 100
    assert timeout == "7"
    assert is_as_usual == "True"


def test_an_expected_error_is_one_line_and_exit_code_1(monkeypatch, capsys, tmp_path):
    arguments = ("tile", tmp_path / "none.csv", "-o", tmp_path / "out", "--mpp", 1)
    assert run_in_process(monkeypatch, *arguments) == 1
    text = capsys.readouterr().err
    assert text.startswith("Error: ")
    assert "no such slide table" in text
    assert "Traceback" not in text
    # With --debug it goes through as it is.
    monkeypatch.setattr(sys, "argv", ["eosin", *map(str, arguments), "--debug"])
    with pytest.raises(ValueError, match="no such slide table"):
        main.run()


def test_wrong_usage_is_exit_code_2_and_names_the_nearest_command(monkeypatch, capsys):
    assert run_in_process(monkeypatch, "tile") == 2
    assert run_in_process(monkeypatch, "tran", "tiles/") == 2
    assert "'train'" in capsys.readouterr().err


def test_an_unforeseen_error_says_how_to_report_it(monkeypatch, capsys):
    def fail(*_args, **_options):
        raise ZeroDivisionError("one by nought")

    monkeypatch.setattr(main, "app", fail)
    assert run_in_process(monkeypatch, "doctor") == 1
    text = capsys.readouterr().err
    assert "ZeroDivisionError: one by nought" in text
    assert "--debug" in text
    monkeypatch.setattr(sys, "argv", ["eosin", "doctor", "--debug"])
    with pytest.raises(ZeroDivisionError):
        main.run()


@pytest.fixture
def python_interrupts():
    """Python's own handler, also where a shell started us deaf to Ctrl+C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_closed_terminal_is_an_interruption():
    code = """if True:
        import signal, time
        from eosin.cli import main

        def work():
            try:
                print("ready", flush=True)
                time.sleep(60)
            finally:
                print("what a progress writes at its end" * 100, flush=True)

        main._end_at_once(work)()
    """
    terminal, end = os.openpty()
    with subprocess.Popen([sys.executable, "-c", code], stdout=end, stderr=end) as done:
        os.close(end)
        assert b"ready" in os.read(terminal, 100)
        os.close(terminal)
        done.send_signal(signal.SIGHUP)
        assert done.wait(30) == 129


def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        main._end_at_once(lambda: signal.raise_signal(signal.SIGHUP))()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("python_interrupts")
@pytest.mark.parametrize(
    ("number", "code", "text"),
    [
        (signal.SIGINT, 130, "Interrupted."),
        (signal.SIGTERM, 143, "Terminated."),
        (signal.SIGHUP, 129, "Terminated."),
    ],
)
def test_a_signal_ends_the_process_at_once(number, code, text, monkeypatch, capsys):
    def interrupt(*_args, **_options):
        signal.raise_signal(number)

    ends = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(end) for end in ends]
    codes, ignored = [], []
    monkeypatch.setattr(main.os, "_exit", codes.append)
    real = signal.signal

    def note(number, handler):
        if handler is not signal.SIG_IGN:
            return real(number, handler)
        ignored.append(number)
        return None

    monkeypatch.setattr(main.signal, "signal", note)
    main._end_at_once(interrupt)()
    assert codes == [code]
    assert ignored == [signal.SIGINT, *ends]
    assert [signal.getsignal(end) for end in ends] == before
    assert f"{text} The same command again" in capsys.readouterr().err
