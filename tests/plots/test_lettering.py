import importlib.util
import logging
import warnings

import matplotlib
import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

from medcls.plots import lettering, plots
from medcls.plots.lettering import drawable, font_families

CHINESE = ("得病", "正常")

pytestmark = pytest.mark.usefixtures("drawn_figures")


@pytest.fixture(autouse=True)
def _fresh_fonts(monkeypatch):
    """A font list of its own for each test, and nothing remembered from the last."""
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))
    lettering._cover.cache_clear()
    yield
    lettering._cover.cache_clear()


@pytest.fixture
def _only_matplotlibs_fonts(monkeypatch):
    own = [entry for entry in font_manager.fontManager.ttflist if matplotlib.get_data_path() in entry.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    monkeypatch.setattr(lettering, "_packaged_font", lambda: None)


def drawn(text, families):
    """The text's pixels."""
    with matplotlib.rc_context({"font.family": families}):
        figure = Figure(figsize=(1, 1))
        figure.text(0.1, 0.4, text, fontsize=30)
        plots.FigureCanvasAgg(figure).draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., 0]


@pytest.mark.skipif(importlib.util.find_spec("matplotlib_fontja") is None, reason="the extra `fonts` is not installed")
def test_p55_chinese_names_are_drawn_in_a_font_that_has_them(monkeypatch, caplog):
    own = [entry for entry in font_manager.fontManager.ttflist if matplotlib.get_data_path() in entry.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    settings = dict(matplotlib.rcParams)
    families, missing = font_families(CHINESE)
    assert not missing
    assert families[0] == lettering.FIRST_FAMILY
    assert len(families) == 2
    assert not caplog.records
    assert dict(matplotlib.rcParams) == settings
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of each glyph that it has to replace by a box
        figure = plots.plot_confusion(np.eye(2, dtype=int), CHINESE, "n = 2 (1 得病, 1 正常)")
        figure.canvas.draw()
        assert not np.array_equal(drawn("得", families), drawn("正", families)), "two characters, not two boxes"
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == list(CHINESE)
    chinese = [text for text in figure.findobj(Text) if any(name in text.get_text() for name in CHINESE)]
    assert len(chinese) >= 5, "two on each axis, and the caption"
    assert all(families[1] in text.get_fontfamily() for text in chinese)


@pytest.mark.usefixtures("_only_matplotlibs_fonts")
def test_p55_without_a_font_a_loud_notice_and_code_points_instead_of_boxes(caplog):
    with caplog.at_level(logging.WARNING), warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = plots.plot_confusion(np.eye(2, dtype=int), CHINESE, "n = 2 (1 得病, 1 正常)")
        figure.canvas.draw()
    labels = [label.get_text().replace("\n", "") for label in figure.axes[0].get_xticklabels()]
    assert labels == ["<U+5F97><U+75C5>", "<U+6B63><U+5E38>"]
    assert "得 (U+5F97)" in caplog.text
    assert "medcls[fonts]" in caplog.text
    assert len(caplog.records) == 1


@pytest.mark.usefixtures("_only_matplotlibs_fonts")
def test_p55_a_font_of_boxes_does_not_count(caplog):
    # Fonts of last resort claim every character: taken at their word they would bring the boxes back.
    families, missing = font_families(["病"])
    assert missing == {"病"}
    assert not any("resort" in family.lower() for family in families)


def test_p55_other_scripts_that_matplotlib_has_need_nothing():
    assert font_families(["злокачественная", "καλοήθης", "naïve", "α/β ≥ 3"]) == ([lettering.FIRST_FAMILY], frozenset())


def test_drawable_escapes_formulas_and_line_breaks():
    assert drawable("a$b$\nc", frozenset()) == r"a\$b\$ c"
    assert drawable("得x", frozenset("得")) == "<U+5F97>x"
