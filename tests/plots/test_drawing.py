import pytest

from medcls.plots.drawing import KEY_COLUMNS, REPORT_WIDTH, Drawing, new_figure, styled

pytestmark = pytest.mark.usefixtures("drawn_figures")

PLAIN = Drawing(frozenset(), None)


def test_a_short_text_stays_and_a_long_one_loses_its_middle():
    assert PLAIN.short("benign", 10) == "benign"
    assert PLAIN.short("two\nlines ", 20) == "two lines"
    short = PLAIN.short("abcdefghijklmnopqrstuvwxyz", 12)
    assert short == "abcdefgh…xyz"
    assert len(short) == 12


def test_chinese_takes_two_columns_a_character():
    assert PLAIN.short("正常", 4) == "正常"
    assert PLAIN.short("正常组织病", 9) == "正常组…病"
    assert PLAIN.fit("正常组织", 4) == "正常\n组织"
    assert PLAIN.fit("abcdefgh", 4) == "abcd\nefgh"


def test_p55_a_code_point_written_out_takes_eight_columns_and_is_never_cut():
    draw = Drawing(frozenset("正常"), None)
    assert draw.fit("正常", 16) == "<U+6B63><U+5E38>"
    assert draw.fit("正常", 15) in ("<U+6B63>\n<U+5E38>", "<U+6B63><U+5E38>")
    assert draw.fit("正常正常", 16).split("\n") == ["<U+6B63><U+5E38>"] * 2
    assert draw.name("正" * 40, lines=1).count("<U+6B63>") < 8


def test_a_dollar_sign_starts_no_formula_wherever_the_line_breaks():
    for columns in range(3, 12):
        broken = PLAIN.fit("$a$b$c$d$e$f$", columns)
        assert broken.replace("\n", "").count(r"\$") == 7
        assert broken.replace(r"\$", "").count("$") == 0
        assert not broken.endswith("\\")
        assert "\\\n" not in broken


def test_nothing_is_still_a_text():
    assert PLAIN.fit("", 10) == " "
    assert PLAIN.name("\x00\n", lines=1) == " "


@pytest.mark.parametrize("lines", [1, 5])
def test_a_figure_grows_by_its_key_and_the_key_stands_between_axes_and_caption(lines):
    with styled([], None) as draw:
        figure = new_figure(REPORT_WIDTH, 4.0)
        axes = figure.add_subplot()
        axes.set_xlabel("Share")
        handles = [axes.plot([0, 1], [0, place])[0] for place in range(lines)]
        draw.key(axes, handles, ["_word " * KEY_COLUMNS] + ["short"] * (lines - 1))
        draw.finish(figure, "caption\n" * lines)
    assert figure.get_figheight() > 4.0 + 0.15 * lines
    figure.canvas.draw()
    key = axes.get_legend().get_window_extent()
    assert len(axes.get_legend().get_texts()) == lines, "a leading underscore hides no entry"
    assert figure._supxlabel.get_window_extent().y1 < key.y0
    assert key.y1 < axes.xaxis.label.get_window_extent().y0
