"""What is printed reaches any stream: of any encoding, closed, or of a notebook."""

import contextlib
import io
import subprocess
import sys

import pytest

from medcls.cli import standard_streams


def stream(encoding: str = "ascii") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


def printed(to: io.TextIOWrapper) -> str:
    to.flush()
    return to.buffer.getvalue().decode("ascii")


def test_signs_become_similar_ones_and_letters_are_escaped(monkeypatch):
    out, error = stream(), stream("latin-1")
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", error)
    standard_streams.prepare()
    sys.stdout.write("a • 2 × 3 ≥ 5 … “x” ✓ 正 é 🩻\n")
    assert printed(out) == 'a * 2 x 3 >= 5 ... "x" ok \\u6b63 \\xe9 \\U0001fa7b\n'
    sys.stderr.write("é ≥ −\n")
    error.flush()
    assert error.buffer.getvalue().decode("latin-1") == "é >= -\n"


def test_every_sign_has_ascii_characters():
    assert all(chr(sign) > "\x7f" and text.isascii() and text for sign, text in standard_streams.ASCII_SIGNS.items())


def test_a_decoding_error_is_not_hidden():
    standard_streams.prepare()
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode("ascii", errors=standard_streams.ERROR_HANDLER)


def test_streams_of_another_program_are_as_before_at_the_end(monkeypatch):
    out, notebook = stream(), io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", notebook)
    with contextlib.suppress(KeyError), standard_streams.replacing_what_cannot_be_encoded():
        sys.stdout.write("≥\n")
        sys.stderr.write("≥\n")
        raise KeyError
    assert printed(out) == ">=\n" and notebook.getvalue() == "≥\n"
    assert out.errors == "strict"
    with pytest.raises(UnicodeEncodeError):
        out.write("≥")


def test_a_stream_that_was_closed_is_left_alone(monkeypatch):
    closed = stream()
    closed.close()
    monkeypatch.setattr("sys.stdout", closed)
    standard_streams.prepare()
    with standard_streams.replacing_what_cannot_be_encoded():
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of Unix")
def test_a_program_whose_streams_were_closed_by_its_caller_can_print():
    code = (
        "import sys; from medcls.cli import standard_streams as s; assert sys.stdout is None; s.prepare(); "
        "print('x'); print('y', file=sys.stderr); open('/dev/null').fileno() > 2 or sys.exit(3)"
    )
    subprocess.run(["sh", "-c", '"$0" -c "$1" >&- 2>&-', sys.executable, code], check=True)
