import io
import subprocess
import sys

import pytest

from tempohand.console import run_clearly


def failing(error: BaseException):
    @run_clearly
    def main():
        raise error

    return main


@pytest.fixture(autouse=True)
def no_traceback_variable(monkeypatch):
    monkeypatch.delenv("TEMPOHAND_TRACEBACK", raising=False)


@pytest.mark.parametrize("error", [ValueError("box 3\n  is empty"), FileNotFoundError("box 3 is empty")])
def test_a_users_error_is_one_line_and_exit_code_2(error, capsys):
    with pytest.raises(SystemExit) as exit_:
        failing(error)()
    assert exit_.value.code == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err == "error: box 3 is empty (TEMPOHAND_TRACEBACK=1 shows where)\n"


def test_names_that_the_terminal_cannot_show_are_no_error(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii", errors="strict"))
    run_clearly(lambda: print("wrote \udcff-h\u00e4nde/predictions.npz", flush=True))()
    assert written.getvalue() == b"wrote \\udcff-h\\xe4nde/predictions.npz\n"


def test_a_fault_of_the_program_keeps_its_traceback():
    with pytest.raises(RuntimeError, match="broken"):
        failing(RuntimeError("broken"))()


def test_an_interrupt_exits_as_shells_expect(capsys):
    with pytest.raises(SystemExit) as exit_:
        failing(KeyboardInterrupt())()
    assert exit_.value.code == 130


def test_the_variable_brings_the_traceback_back(monkeypatch):
    monkeypatch.setenv("TEMPOHAND_TRACEBACK", "1")
    with pytest.raises(ValueError, match="empty"):
        failing(ValueError("empty"))()


def test_arguments_and_result_pass_through():
    @run_clearly
    def main(a, *, b):
        """Adds."""
        return a + b

    assert main(1, b=2) == 3
    assert main.__doc__ == "Adds."


def test_a_reader_that_leaves_ends_the_command_quietly():
    code = (
        "from tempohand.console import run_clearly\n@run_clearly\ndef main():\n    for line in "
        "range(100_000): print(line)\nmain()"
    )
    done = subprocess.run(
        f"{sys.executable} -c '{code}' | head -1; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (141, b"0\n", b"")
