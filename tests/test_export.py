"""The export: each page opened from its file in a browser that reaches nothing, and what a page is made of."""

import base64
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests.refresh_notebooks import freeze
from transformer_lab import export
from transformer_lab.export import keep_widgets, main, mathml
from transformer_lab.widgets import base
from transformer_lab.widgets.base import PACKED
from transformer_lab.widgets.softmax_playground import SoftmaxPlayground

LESSONS = Path(__file__).parents[1] / "notebooks"
NAMES = sorted(path.stem for path in LESSONS.glob("*.ipynb"))
DRAWN = "() => [...document.querySelectorAll('.tlab canvas')].every((canvas) => canvas.dataset.drawn)"
in_one_theme = pytest.mark.parametrize("theme", ["light"])  # what the theme changes, the lessons' pages show
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def notebook(*sources: str) -> nbformat.NotebookNode:
    """A cell for each: Markdown where it starts with #, else code."""
    cells = [(new_markdown_cell if source.startswith("#") else new_code_cell)(source) for source in sources]
    return new_notebook(
        cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    )


def store(folder: Path, **notebooks: nbformat.NotebookNode) -> Path:
    folder.mkdir(exist_ok=True)
    for name, stored in notebooks.items():
        nbformat.write(stored, folder / f"{name}.ipynb")
    return folder


def page_of(folder: Path, *sources: str) -> str:
    """The page of a notebook with these cells."""
    store(folder / "in", a=notebook(*sources))
    assert main([str(folder / "in"), str(folder / "out")]) == 0
    return (folder / "out" / "a.html").read_text(encoding="utf-8")


# ---------------------------------------------------------------- the lessons' pages


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    assert main([str(LESSONS), str(folder)]) == 0
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_page_works_from_its_file_alone(site, watched, name):
    page = watched.page
    page.goto((site / f"{name}.html").as_uri())
    stored = nbformat.read(LESSONS / f"{name}.ipynb", as_version=4)
    widgets = [
        output for cell in stored.cells for output in cell.get("outputs", ()) if PACKED in output.get("metadata", {})
    ]
    page.wait_for_function(f"() => document.querySelectorAll('.tlab').length === {len(widgets)}")
    page.wait_for_function(DRAWN)
    for i in range(len(widgets)):
        answer_to_a_key(page, page.locator(".tlab").nth(i))
    fits_a_phone_and_leads_somewhere(page, site)
    # Every picture has come, and has its text; none of a notebook's own machinery is there.
    pictures = page.evaluate("() => [...document.images].map((image) => [image.naturalWidth, image.alt])")
    assert all(width > 0 and alt for width, alt in pictures)
    assert page.locator(".jupyter-widgets, .widget-slider, script[type*=jupyter]").count() == 0
    formulas = sum(cell.source.count("$") for cell in stored.cells if cell.cell_type == "markdown")
    assert page.locator("math").count() > 0 or not formulas
    page.evaluate("() => document.querySelectorAll('pre, code, .tlab').forEach((element) => element.remove())")
    shown = page.evaluate("() => document.body.innerText")
    assert re.findall(r"\$|\\[a-z]+|model not found", shown, flags=re.IGNORECASE) == []


def answer_to_a_key(page, widget) -> None:
    """Some key changes what a widget draws or says."""
    canvas = widget.locator("canvas[tabindex='0']").first
    look = "(root) => root.innerText + [...root.querySelectorAll('canvas')].map((canvas) => canvas.toDataURL())"
    settle = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
    before = widget.evaluate(look)
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
        canvas.focus()
        page.keyboard.press(key)
        page.evaluate(settle)
        if widget.evaluate(look) != before:
            return
    pytest.fail(f"no arrow key moves anything on {widget.get_attribute('data-widget')}")


def fits_a_phone_and_leads_somewhere(page, site: Path) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.wait_for_function("() => document.documentElement.scrollWidth <= innerWidth")
    for link in page.evaluate("() => [...document.links].map((link) => link.getAttribute('href'))"):
        file, _, section = link.partition("#")
        assert "://" in link or not file or (site / file).exists(), link
        assert file or page.locator(f'[id="{section}"]').count() == 1, link


def test_the_contents_page_lists_the_lessons_in_order(site, watched):
    page = watched.page
    page.goto((site / "index.html").as_uri())
    fits_a_phone_and_leads_somewhere(page, site)
    entries = page.locator("h2 a")
    assert [entry.get_attribute("href") for entry in entries.all()] == [f"{name}.html" for name in NAMES]
    for entry, name in zip(entries.all_inner_texts(), NAMES, strict=True):
        heading = nbformat.read(LESSONS / f"{name}.ipynb", as_version=4).cells[0].source.splitlines()[0]
        assert heading == f"# {entry}"
    assert page.locator(".minutes").all_inner_texts()[0].startswith("Reading: ")
    assert page.locator("li p:not(.minutes)").count() >= len(NAMES)
    entries.nth(1).click()
    page.get_by_role("link", name="→").first.click()
    assert page.url.endswith(f"{NAMES[2]}.html")


def test_a_verdict_and_a_picture_are_on_the_page_as_they_were(site):
    page = (site / "00_start_here.html").read_text(encoding="utf-8")
    assert "<caption" in page and "<b>weighted_average</b>: not yet." in page
    assert re.search(r'<img alt="Picture of [^"]+" src="data:image/png;base64,', page)


# ---------------------------------------------------------------- widgets

SHOWN_TWICE = (
    "# Two of them",
    "from transformer_lab.widgets.softmax_playground import SoftmaxPlayground\n"
    "first = SoftmaxPlayground([2.0, 1.0], labels=['</script>', 'b'])\nfirst",
    "first.temperature = 2.0",
    "display(SoftmaxPlayground([0.0, 0.0, 0.0]))",
    "from transformer_lab.plots import bars\nfrom transformer_lab.widgets.sliders import Sliders\n"
    "Sliders(lambda height: bars({'a': height}), height=(0.0, 5.0, 1.0))",
)


@pytest.fixture(scope="module")
def executed() -> nbformat.NotebookNode:
    run = notebook(*SHOWN_TWICE)
    NotebookClient(run, timeout=120, kernel_name="python3").execute()
    return run


def see_two_widgets(watched, file: Path, temperature: float) -> None:
    page = watched.page
    page.goto(file.as_uri())
    page.wait_for_function("() => document.querySelectorAll('.tlab').length === 2")
    page.wait_for_function(DRAWN)
    first, second = page.locator(".tlab .readout").all()
    expected = SoftmaxPlayground([2.0, 1.0], labels=["</script>", "b"], temperature=temperature).weights[0]
    assert f"</script>: score 2.0, weight {expected:.3f}" in first.inner_text()
    assert "Entropy 1.58 bits" in second.inner_text()
    page.locator("canvas").nth(1).focus()
    page.keyboard.press("m")
    assert "Entropy 1.00 bits" in second.inner_text() and "(masked)" not in first.inner_text()
    assert page.locator(".transformer-lab-widget img").count() == 0  # a picture stands only where nothing runs
    assert page.get_by_text("This picture's sliders work in the notebook.").count() == 1
    html = file.read_text(encoding="utf-8")
    assert html.count("function makeCanvas(") == html.count("function softmax(") == html.count(".tlab canvas {") == 1


@in_one_theme
def test_a_notebook_saved_with_its_widgets_state(executed, watched, tmp_path):
    assert "widgets" in executed.metadata
    assert main([str(store(tmp_path / "in", live=executed)), str(tmp_path)]) == 0
    see_two_widgets(watched, tmp_path / "live.html", temperature=2.0)


@in_one_theme
def test_a_frozen_notebook(executed, watched, tmp_path):
    frozen = nbformat.from_dict(executed)
    freeze(frozen)
    assert set(frozen.metadata) == {"kernelspec", "language_info"}
    outputs = [output for cell in frozen.cells for output in cell.get("outputs", ())]
    assert [set(output.data) for output in outputs] == [{"text/plain", "image/png"}] * 3
    assert [list(output.metadata) for output in outputs] == [[PACKED], [PACKED], []]
    again = nbformat.from_dict(frozen)
    freeze(again)
    assert again == frozen
    assert main([str(store(tmp_path / "in", frozen=frozen)), str(tmp_path)]) == 0
    see_two_widgets(watched, tmp_path / "frozen.html", temperature=2.0)


@in_one_theme
def test_a_notebook_that_is_run_first(watched, tmp_path):
    source = store(tmp_path / "in", run=notebook(*SHOWN_TWICE))
    before = (source / "run.ipynb").read_bytes()
    assert main([str(source), str(tmp_path), "--execute"]) == 0
    see_two_widgets(watched, tmp_path / "run.html", temperature=1.0)  # as its picture, not as a later cell left it
    assert (source / "run.ipynb").read_bytes() == before


@in_one_theme
def test_all_modules_share_a_page(watched):
    """No two names meet: a script that is no JavaScript would say so on the console."""
    watched.page.set_content(
        f"<title>all</title>{base.script(export._modules())}<script type=module>window.ran = 1</script>"
    )
    watched.page.wait_for_function("() => window.ran")


def test_bytes_are_kept():
    model = {
        "state": {
            "_anywidget_id": "transformer_lab.widgets.softmax_playground.SoftmaxPlayground",
            "layout": "x",
            "n": 3,
        },
        "buffers": [{"encoding": "base64", "path": ["weights"], "data": base64.b64encode(b"abc").decode()}],
    }
    stored = notebook("w")
    stored.cells[0].outputs = [
        new_output("display_data", {"image/png": "", export.WIDGET_VIEW: {"model_id": id}}) for id in ("ours", "theirs")
    ]
    theirs = {"state": {"_anywidget_id": "somebody.widgets.softmax_playground.Other"}}
    stored.metadata.widgets = {export.WIDGET_STATE: {"state": {"ours": model, "theirs": theirs}}}
    keep_widgets(stored)
    ours, theirs = stored.cells[0].outputs
    assert ours.metadata[PACKED].state == {"n": 3} and list(ours.metadata[PACKED].binary) == ["weights"]
    assert theirs.metadata == {} and export.WIDGET_VIEW not in theirs.data


def test_a_widget_that_fails_leaves_its_picture_and_the_others(executed, browser, tmp_path):
    broken = nbformat.from_dict(executed)
    freeze(broken)
    broken.cells[1].outputs[0].metadata[PACKED]["state"].pop("labels")
    main([str(store(tmp_path / "in", broken=broken)), str(tmp_path)])
    page = browser.new_page()
    page.goto((tmp_path / "broken.html").as_uri())
    page.wait_for_function("() => document.querySelectorAll('.tlab').length === 1")
    assert page.locator(".transformer-lab-widget img").get_attribute("alt").startswith("SoftmaxPlayground: ")
    assert page.locator(".transformer-lab-widget img").is_visible()
    page.close()


def test_a_state_that_names_no_module_of_ours_is_a_picture(executed, tmp_path):
    foreign = nbformat.from_dict(executed)
    freeze(foreign)
    foreign.cells[1].outputs[0].metadata[PACKED]["module"] = "../export"
    main([str(store(tmp_path / "in", foreign=foreign)), str(tmp_path)])
    page = (tmp_path / "foreign.html").read_text(encoding="utf-8")
    assert page.count('class="transformer-lab-widget"') == 1 and '<img alt="SoftmaxPlayground: ' in page


# ---------------------------------------------------------------- formulas and text


def formulas() -> list[str]:
    """Every formula of every lesson, as the exporter finds them."""
    found = []

    class Collector(export._Renderer):
        def _math(self, latex, display):
            found.append(latex.strip())
            return ""

    for path in sorted(LESSONS.glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "markdown":
                renderer = Collector([], found.append)
                export.MarkdownWithMath(renderer, inline=export._Inline(hard_wrap=False)).render(cell.source)
    return found


def test_every_formula_of_every_lesson_is_understood(capsys):
    found = formulas()
    assert len(found) > 300
    for latex in sorted(set(found)):
        math = mathml(latex)  # or a ValueError that names the formula
        text = re.sub(r"<[^>]+>", "", math)
        assert math.startswith("<math ") and not re.search(r"[$\\{}]", text), latex


def test_a_formula_has_tex_spaces():
    texts = {
        latex: re.sub(r' xmlns="[^"]*"| stretchy="false"', "", mathml(latex)) for latex in (r"a \ln b", "(-x)", "|x|")
    }
    assert '<mi>a</mi><mspace width="0.167em" /><mi>ln</mi><mspace width="0.167em" /><mi>b</mi>' in texts[r"a \ln b"]
    assert '<mo form="prefix">−</mo>' in texts["(-x)"]
    assert texts["|x|"].index('form="prefix"') < texts["|x|"].index('form="postfix"')
    assert "<mn>50</mn><mtext>,</mtext><mn>257</mn>" in mathml("50{,}257")


@pytest.mark.parametrize("latex", [r"\nosuchthing x", r"\frac{1}{", r"\begin{aligned} a &= b \end{aligned}"])
def test_a_formula_that_is_not_understood_stays_as_it_was_and_is_named(latex, tmp_path, capsys):
    with pytest.raises(ValueError, match="no MathML for"):
        mathml(latex)
    page = page_of(tmp_path, f"# Title\n\n$${latex}$$")
    assert "<math" not in page and latex.split("&")[0] in page
    assert re.fullmatch(r"\S+a\.ipynb: no MathML for [^\n]+\n", capsys.readouterr().err)


def test_a_dollar_that_begins_no_formula_stays_one(tmp_path):
    page = page_of(
        tmp_path,
        "# Title\n\nIt costs $5 or $6, in `a $x$ b` too, \\$7 and $x$.\n\n```python\nprice = '$x$'\n```\n",
        "print('$x$')",
    )
    assert page.count("<math") == 1
    assert "It costs $5 or $6, in <code>a $x$ b</code> too, $7 and <math" in page
    assert page.count("'$x$'") + page.count("&#39;$x$&#39;") + page.count("&#x27;$x$&#x27;") == 2


def test_links_lead_to_pages_or_nowhere(tmp_path):
    store(tmp_path / "in", **{"other one": notebook("# Other")})
    page = page_of(
        tmp_path, "# A\n\n[o](other%20one.ipynb#Other), [r](../README.md), [w](https://example.org), [s](#A)"
    )
    assert '<a href="other%20one.html#Other">o</a>, r, <a href="https://example.org">w</a>, <a href="#A">s</a>' in page


def test_pictures_are_in_the_page_and_a_missing_one_is_named(tmp_path, capsys):
    (tmp_path / "in" / "images").mkdir(parents=True)
    (tmp_path / "in" / "images" / "p.png").write_bytes(PIXEL)
    page = page_of(
        tmp_path, '# A\n\n![one](images/p.png) ![two](images/q.png)\n\n<img alt="three" src="https://x.org/y.png">'
    )
    assert re.search('<img src="data:image/png;base64,[^"]+" alt="one"', page) and "<em>two</em>" in page
    assert capsys.readouterr().err.splitlines() == [
        f"{tmp_path}/in/a.ipynb: images/q.png is not in the page",
        f"{tmp_path}/in/a.ipynb: https://x.org/y.png is not in the page",
    ]


@pytest.mark.parametrize(
    "text, opening",
    [
        ("# T\n\nOne.\nTwo.\n\nThree.", "One.\nTwo."),
        ("# T\n\n*A motto.*\n\nOne.", "*A motto.*\n\nOne."),
        ("# T\n\nOne. Here it is:\n\n```\nx\n```", "One."),
        ("# T\n\n## Section", ""),
        ("# T", ""),
        ("No title.", "No title."),
    ],
)
def test_the_opening_is_the_first_paragraph(text, opening):
    assert export.Lesson(Path("a.ipynb"), new_notebook(cells=[new_markdown_cell(text)])).opening == opening


# ---------------------------------------------------------------- the command


def test_a_broken_notebook_costs_only_its_own_page(tmp_path, capsys):
    source = store(tmp_path / "in", good=notebook("# Good\n\n[b](broken.ipynb)"), stops=notebook("# Stops", "1 / 0"))
    (source / "broken.ipynb").write_text("no JSON\nat all", encoding="utf-8")
    (source / "other.ipynb").write_text('{"a": 1}', encoding="utf-8")
    store(source, index=notebook("# Index"))
    assert main([str(source), str(tmp_path / "out"), "--execute"]) == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["good.html", "index.html"]
    good = (tmp_path / "out" / "good.html").read_text(encoding="utf-8")
    assert "broken" not in good and "Stops" not in good  # no link to a page that is not there
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith(str(source))]
    assert [line.removeprefix(f"{source}/").split(": ")[0] for line in said] == [
        "broken.ipynb",
        "index.ipynb",
        "other.ipynb",
        "stops.ipynb",
    ]
    assert said[-1].endswith("stops.ipynb: a cell stops with ZeroDivisionError: division by zero")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["nowhere", "out"], "there is no folder nowhere"),
        (["empty", "out"], "no notebook (.ipynb) is in empty"),
        (["full", "full/a.ipynb"], "full/a.ipynb is a file; the pages need a folder"),
    ],
)
def test_a_wrong_place_is_one_line(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    store(tmp_path / "full", a=notebook("# A"))
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(words)
    assert not (tmp_path / "out").exists()


def test_without_nbconvert_it_says_what_to_install():
    code = (
        "import sys, runpy; sys.modules['nbconvert'] = None; sys.argv = ['export', 'a', 'b'];"
        "runpy.run_module('transformer_lab.export', run_name='__main__')"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.returncode == 1 and "Traceback" not in answer.stderr
    assert 'The export needs nbconvert and latex2mathml: pip install -e ".[export]"' in answer.stderr
