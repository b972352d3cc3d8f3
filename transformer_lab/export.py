"""The lessons as web pages that work with no kernel and no network, and a contents page that leads to them.

    python -m transformer_lab.export notebooks/ site/

A page is one file, which holds all that it shows: pictures as data, formulas as MathML, which browsers draw by
themselves, and the widgets with their state. What needs a kernel is left out.
"""

import argparse
import base64
import html
import os
import posixpath
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote
from xml.etree import ElementTree

from transformer_lab.widgets import base as widgets

try:
    import nbformat
    from jinja2 import pass_context
    from latex2mathml.converter import convert
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError
    from nbconvert import TemplateExporter
    from nbconvert.filters import Highlight2HTML
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath, MathInlineParser
    from traitlets.config import Config
except ImportError as error:
    # As a command it says only this; whoever imports it sees where from.
    kind = SystemExit if __name__ == "__main__" else ImportError
    raise kind(f'{error}. The export needs nbconvert and latex2mathml: pip install -e ".[export]"') from error

FOLDER = Path(__file__).parent
CONTENTS = "index.html"
_MATHML = "{http://www.w3.org/1998/Math/MathML}"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
SHOWN = (  # the first of these that an output has is on its page
    widgets.PACKED,
    "text/html",
    "text/markdown",
    "image/svg+xml",
    "text/latex",
    "image/png",
    "image/jpeg",
    "text/plain",
)
# What a browser would fetch by itself, unlike a link.
_FETCHED = re.compile(r'<(?:img|script|iframe|source|video|audio|link)\b[^>]*?\s(?:src|href)="(?!data:)([^"]+)"')


# ---------------------------------------------------------------- widgets


def keep_widgets(notebook: nbformat.NotebookNode) -> None:
    """Put the state of each widget of ours into its output's metadata, and drop the live views and their states.

    A code host shows what is left, a picture and a text; an exported page shows the widget. In a notebook that was
    saved by a front end, the state is the last that the widget had: a later cell may have changed it.
    """
    stored = notebook.metadata.pop("widgets", {})
    models = stored.get(WIDGET_STATE, {}).get("state", {})
    for output in _outputs(notebook):
        view = output.get("data", {}).pop(WIDGET_VIEW, None)
        packed = _packed(models[view["model_id"]]) if view and view["model_id"] in models else None
        if packed:
            output.metadata[widgets.PACKED] = nbformat.from_dict(packed)


def _outputs(notebook: nbformat.NotebookNode) -> Iterable[nbformat.NotebookNode]:
    return (output for cell in notebook.cells for output in cell.get("outputs", ()))


def _packed(model: dict) -> dict | None:
    """What `base.pack` says of one model in a notebook's widgets' state; None where the widget is none of ours."""
    state = {name: value for name, value in model["state"].items() if name not in widgets.machinery()}
    for buffer in model.get("buffers", ()):
        state[".".join(buffer["path"])] = base64.b64decode(buffer["data"])
    package, _, module = model["state"].get("_anywidget_id", "").rpartition(".")[0].rpartition(".")
    return widgets.pack(module, state) if package == "transformer_lab.widgets" and module in _modules() else None


def _modules() -> set[str]:
    return {path.stem for path in widgets.FOLDER.glob("*.js")} - {"shared"}


def _show_widgets(notebook: nbformat.NotebookNode, resources: dict) -> tuple[nbformat.NotebookNode, dict]:
    """A preprocessor of nbconvert: a widget's kept state becomes what its output shows."""
    keep_widgets(notebook)
    resources["modules"] = set()
    for output in _outputs(notebook):
        packed = output.get("metadata", {}).get(widgets.PACKED)
        if packed and packed["module"] in _modules() and "image/png" in output.data:
            output.data[widgets.PACKED] = packed
            resources["modules"].add(packed["module"])
    return notebook, resources


# ---------------------------------------------------------------- text and formulas


def mathml(latex: str, display: str = "inline") -> str:
    """A formula as MathML, `display` "inline" or "block". ValueError: the LaTeX holds something unknown."""
    number = re.sub(r"(?<=\d)\{,\}(?=\d)", r"\\text{,}", latex)  # 50{,}257: no room after this comma
    try:
        math = ElementTree.fromstring(convert(number, display=display))
    except Exception as error:  # the converter's own errors have no common class
        raise ValueError(f"no MathML for the formula {latex!r}") from error
    if unknown := re.search(r"\\\w*", "".join(math.itertext())):
        raise ValueError(f"no MathML for {unknown[0]} in the formula {latex!r}")
    for element in math.iter():
        _mend(element)
    ElementTree.register_namespace("", _MATHML[1:-1])
    return ElementTree.tostring(math, encoding="unicode")


def _mend(row: ElementTree.Element) -> None:
    """Set the space inside one row of a formula as TeX does; the converter leaves that to the browser's guess."""
    if row.tag == f"{_MATHML}munder" and row[1].text == "⏟":  # without a font for formulas a brace stays tiny
        row[0].set("class", "braced")
        row.tag = f"{_MATHML}mrow"
        row.remove(row[1])
    operator = f"{_MATHML}mo"
    bars = [child for child in row if child.tag == operator and child.text == "|"]
    for i, bar in enumerate(bars if len(bars) % 2 == 0 else ()):  # |x|: no room on its inner side
        bar.set("form", ("prefix", "postfix")[i % 2])
    before = None
    for child in list(row):
        if child.tag == operator and re.fullmatch(r"∞|\w{2,}", child.text or ""):  # ∞, max and softmax are no + or =
            child.tag = f"{_MATHML}mi"
        if before is not None:
            after_operator = before.tag == operator
            if child.tag == operator and child.text in "−+" and after_operator and before.text not in ")]}|‖":
                child.set("form", "prefix")  # (−x): a sign
            words = _is_function(before) and child.tag != operator or _is_function(child) and not after_operator
            if (
                row.tag in (f"{_MATHML}mrow", f"{_MATHML}mtd")
                and words
                and f"{_MATHML}mspace" not in (before.tag, child.tag)
            ):
                space = ElementTree.Element(f"{_MATHML}mspace", width="0.167em")  # a ln b: TeX's thin space
                row.insert(list(row).index(child), space)
        before = child


def _is_function(element: ElementTree.Element) -> bool:
    """Whether it is the name of a function, as ln or log₂."""
    if element.tag in (f"{_MATHML}msub", f"{_MATHML}msup", f"{_MATHML}munder"):
        return _is_function(element[0])
    return element.tag == f"{_MATHML}mi" and len(element.text or "") > 1


class _Inline(MathInlineParser):
    """Formulas inside of a line: the dollar signs of "$5 and $6", and of `code`, are none of theirs."""

    SPECIFICATION = MathInlineParser.SPECIFICATION | {
        "inline_math_tex": r"(?<![$\\])\$(?=\S)(?P<math_inline_tex>(?:[^$`\\]|\\[\s\S])+)(?<=\S)\$(?![\d$])"
    }


class _Renderer(IPythonRenderer):
    """Markdown as nbconvert writes it, with MathML, and with links that lead to pages. `say` gets what went wrong."""

    def __init__(self, lessons: Iterable[str], say, **options):
        super().__init__(escape=False, embed_images=True, **options)
        self.lessons, self.say = set(lessons), say

    def _math(self, latex: str, display: str) -> str:
        try:
            return mathml(latex.strip(), display)
        except ValueError as error:
            self.say(str(error))
            return f"<code>{html.escape(latex)}</code>"

    def inline_math(self, body: str) -> str:
        return self._math(body, "inline")

    def block_math(self, body: str) -> str:
        return self._math(body, "block")

    def latex_environment(self, name: str, body: str) -> str:
        return self._math(f"\\begin{{{name}}}{body}\\end{{{name}}}", "block")

    def image(self, text: str, url: str, title: str | None = None) -> str:
        picture = super().image(text, url, title)
        if 'src="data:' in picture:
            return picture
        self.say(f"{url} is not in the page")
        return f"<em>{text}</em>"

    def link(self, text: str, url: str, title: str | None = None) -> str:
        place, mark, section = url.partition("#")
        if not place or re.match(r"[a-z]+:", place):  # within the page, or out into the world
            return super().link(text, url, title)
        name = posixpath.normpath(unquote(place))
        if name not in self.lessons:  # a file that the site does not have
            return text
        return super().link(text, quote(name.removesuffix(".ipynb")) + ".html" + mark + section, title)


# ---------------------------------------------------------------- lessons and their pages


@dataclass(frozen=True)
class Lesson:
    """A notebook and what the contents page says of it."""

    path: Path
    notebook: nbformat.NotebookNode

    @property
    def page(self) -> str:
        """The name of its page's file."""
        return f"{self.path.stem}.html"

    @property
    def title(self) -> str:
        """The first heading, in plain words; the file's name where there is none."""
        found = re.search(r"^# +(.+?)[ #]*$", self._prose, flags=re.MULTILINE)
        return re.sub(r"[*`$]", "", found[1]) if found else self.path.stem

    @property
    def opening(self) -> str:
        """The first paragraph, in Markdown; with a motto, a paragraph in italics, the paragraph that follows as well.

        A last sentence that announces what comes below it is left out.
        """
        after = re.split(r"^# .*$", self._prose, maxsplit=1, flags=re.MULTILINE)[-1]
        paragraphs = [part for part in re.split(r"\n\s*\n", after.strip()) if part]
        kept = 2 if paragraphs and re.fullmatch(r"\*[^*]+\*", paragraphs[0]) else 1
        plain = [part for part in paragraphs[:kept] if not re.match(r"[#|<!`$]|[-*] |\d+\. ", part)]
        return re.sub(r"\s[^.?!]*:$", "", "\n\n".join(plain))

    @property
    def minutes(self) -> str:
        """The line that says how long reading and running take; empty where there is none."""
        found = re.search(r"^Reading: .+$", self._prose, flags=re.MULTILINE)
        return found[0] if found else ""

    @property
    def _prose(self) -> str:
        return "\n\n".join(cell.source for cell in self.notebook.cells if cell.cell_type == "markdown")


def run(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Execute a notebook in its folder, and keep each widget as it is when its cell has run, like its picture."""

    def keep(cell, **_) -> None:
        if any(WIDGET_VIEW in output.get("data", {}) for output in cell.get("outputs", ())):
            client.set_widgets_metadata()
            keep_widgets(notebook)

    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name=notebook.metadata.get("kernelspec", {}).get("name", "python3"),
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
        on_cell_executed=keep,
    )
    client.execute(env=os.environ | {"TQDM_DISABLE": "1"})  # a progress bar says nothing once it is over


def read(path: Path, execute: bool = False) -> Lesson:
    """The notebook of a file, as it is stored or, with `execute`, as a run in its folder leaves it."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    if path.with_suffix(".html").name == CONTENTS:
        raise ValueError(f"{CONTENTS} is the contents page; give the notebook another name")
    if execute:
        run(notebook, path.parent)
    return Lesson(path, notebook)


class PageExporter(TemplateExporter):
    """nbconvert with the template in `pages/`, for some lessons that link to each other.

    `complaints`: what could not be put into the last page, in words. nbconvert's own HTMLExporter is not the base:
    it loads MathJax, require.js and the widgets from the network, and brings 250 kB of JupyterLab's styles.
    """

    output_mimetype = "text/html"

    def __init__(self, lessons: Iterable[Lesson]):
        super().__init__(file_extension=".html", template_name="pages", extra_template_basedirs=[str(FOLDER)])
        self.lessons = list(lessons)
        self.complaints: list[str] = []
        self.css = (FOLDER / "pages" / "pages.css").read_text(encoding="utf-8")
        self.register_preprocessor(_show_widgets, enabled=True)

    @property
    def default_config(self):
        return Config({"NbConvertBase": {"display_data_priority": list(SHOWN)}})

    def default_filters(self):
        yield from super().default_filters()
        yield "highlight_code", Highlight2HTML(parent=self)
        yield "markdown2html", self.markdown2html
        yield "widget_place", widgets.place
        yield "widget_script", widgets.script

    @pass_context
    def markdown2html(self, context, source: str) -> str:
        """The template's filter for Markdown."""
        attachments = context.get("cell", {}).get("attachments", {})
        return self._markdown(source, context["resources"]["metadata"]["path"], attachments)

    def _markdown(self, source: str, folder: str, attachments: dict | None = None) -> str:
        renderer = _Renderer(
            (lesson.path.name for lesson in self.lessons), self.complaints.append, path=folder, attachments=attachments
        )
        return MarkdownWithMath(renderer, inline=_Inline(hard_wrap=False)).render(source)

    def page(self, lesson: Lesson) -> str:
        """A lesson's page."""
        self.complaints.clear()
        place = self.lessons.index(lesson)
        around = [None, *self.lessons, None]
        resources = {
            "metadata": {"name": lesson.path.stem, "path": str(lesson.path.parent)},
            "title": lesson.title,
            "css": self.css,
            "widget_css": widgets.style(),
            "packed": widgets.PACKED,
            "previous": around[place],
            "next": around[place + 2],
        }
        page, _ = self.from_notebook_node(lesson.notebook, resources)
        self.complaints += [f"{source[:80]} is not in the page" for source in _FETCHED.findall(page)]
        return page

    def contents(self) -> str:
        """The contents page."""
        openings = {lesson.page: self._markdown(lesson.opening, str(lesson.path.parent)) for lesson in self.lessons}
        template = self.environment.get_template("contents.html.j2")
        return template.render(lessons=self.lessons, openings=openings, css=self.css)


def export(source: Path, target: Path, execute: bool = False) -> bool:
    """Write a page for each notebook of a folder, in the order of their names, and the contents page.

    Pages of the same names are replaced. Returns whether everything went well: a notebook that cannot be read or run
    costs only its own page, and a line on stderr says why.
    """
    paths = sorted(source.glob("*.ipynb"))
    lessons = []
    for path in paths:
        try:
            lessons.append(read(path, execute))
        except Exception as error:  # whatever is wrong with one, the others have their pages
            _complain(path, _why(error))
    exporter = PageExporter(lessons)
    target.mkdir(parents=True, exist_ok=True)
    for lesson in lessons:
        page = exporter.page(lesson)
        (target / lesson.page).write_text(page, encoding="utf-8")
        print(f"{target / lesson.page}: {len(page.encode()) / 1000:.0f} kB")
        for complaint in exporter.complaints:
            _complain(lesson.path, complaint)
    (target / CONTENTS).write_text(exporter.contents(), encoding="utf-8")
    print(f"{target / CONTENTS}: start here")
    return len(lessons) == len(paths)


def _complain(path: Path, words: str) -> None:
    print(f"{path}: {words}", file=sys.stderr)


def _why(error: Exception) -> str:
    """An error in one line."""
    if isinstance(error, CellExecutionError):
        return f"a cell stops with {error.ename}: {error.evalue}"
    return f"{type(error).__name__}: {str(error).strip()}".splitlines()[0]


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status: 0, or 1 where a notebook has no page."""
    parser = argparse.ArgumentParser(prog="python -m transformer_lab.export", description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="the folder with the notebooks")
    parser.add_argument("target", type=Path, help="the folder for the pages; it is made where there is none")
    parser.add_argument("--execute", action="store_true", help="run each notebook first (its file stays as it is)")
    options = parser.parse_args(arguments)
    if not options.source.is_dir():
        parser.error(f"there is no folder {options.source}")
    if not any(options.source.glob("*.ipynb")):
        parser.error(f"no notebook (.ipynb) is in {options.source}")
    if options.target.exists() and not options.target.is_dir():
        parser.error(f"{options.target} is a file; the pages need a folder")
    return 0 if export(options.source, options.target, options.execute) else 1


if __name__ == "__main__":
    sys.exit(main())
