"""Large libraries are imported with the garbage collector off, which then works as before."""

import gc
import sys

import pytest

from medcls.cli.importing import import_large


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Write a module; what it notes while it is imported is in `gc.noted`."""
    monkeypatch.syspath_prepend(tmp_path)
    frozen = []
    monkeypatch.setattr("medcls.cli.importing.gc.freeze", lambda: frozen.append(True))
    monkeypatch.setattr("medcls.cli.importing.atexit.register", lambda _: None)

    def write(name: str, text: str = "import gc\nCOLLECTING = gc.isenabled()\n"):
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return frozen

    yield write
    gc.enable()


@pytest.mark.parametrize("collecting", [True, False])
def test_the_collector_is_off_during_the_import_and_as_before_afterwards(library, collecting):
    frozen = library("large_library")
    (gc.enable if collecting else gc.disable)()
    import_large("large_library")
    assert gc.isenabled() is collecting
    assert sys.modules["large_library"].COLLECTING is False and frozen == [True]
    import_large("large_library")
    assert frozen == [True], "a second import does nothing"


def test_a_library_that_cannot_be_imported_leaves_the_collector_on(library):
    frozen = library("broken_library", "raise ImportError('broken')")
    for name in ("broken_library", "no_such_library"):
        with pytest.raises(ImportError):
            import_large(name)
    assert gc.isenabled() and frozen == []
