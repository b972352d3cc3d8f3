"""What a class did: a table for a spreadsheet, and a page to read."""

import base64
import csv
import html
import io
import statistics
from collections import Counter
from pathlib import Path

from transformer_lab import plots
from transformer_lab.exercises import EXERCISES
from transformer_lab.exercises.checking import CHANGES_ITS_INPUT
from transformer_lab.exercises.grading import EXERCISES_OF, Grade

# What became of an exercise, and the colour of it: on the page's cells, and in its pictures.
KINDS = {
    "right": ("#cfeee2", "#009E73"),
    "known mistake": ("#fbdcc6", "#D55E00"),
    "other wrong answer": ("#f7e6bd", "#E69F00"),
    "not attempted": ("#e8e8e8", "#999999"),
}
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; color: #222;
       background: white }
table { border-collapse: collapse; margin: 1rem 0 }
th, td { border: 1px solid #bbb; padding: 0.3rem 0.6rem; text-align: left; vertical-align: top }
thead th { background: #f3f3f3 }
td.number { text-align: right; white-space: nowrap }
td small { display: block; color: #444 }
img { max-width: 100%; height: auto }
.wide { overflow-x: auto }
"""


def lessons_met(grades: list[Grade]) -> list[str]:
    return sorted({lesson for one in grades for lesson in one.lessons})


# ---------------------------------------------------------------- the table


def write_csv(grades: list[Grade], path: Path) -> None:
    """One row a submission. Exercises of a lesson that it did not hand in stay empty."""
    exercises = [(lesson, name) for lesson in lessons_met(grades) for name in EXERCISES_OF[lesson]]
    columns = ["submission", "lesson", "status", "points", "out_of"]
    for lesson, name in exercises:
        columns += [f"{lesson} {name}", f"{lesson} {name}: mistakes"]
    # The mark at the file's beginning tells spreadsheets that it is UTF-8.
    with open(path, "w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for one in grades:
            row = [one.submission, " ".join(one.lessons), one.status, one.points, one.out_of]
            for _, name in exercises:
                row += [one.points_for(name), " + ".join(_mistakes(one, name))] if name in one.exercises else ["", ""]
            writer.writerow(row)


def _mistakes(one: Grade, exercise: str) -> list[str]:
    return (one.verdict(exercise) or {}).get("mistakes", [])


# ---------------------------------------------------------------- the page


def write_report(grades: list[Grade], path: Path) -> None:
    """One page about the class, with nothing outside it."""
    lessons = lessons_met(grades)
    parts = [_summary(grades), _trouble(grades)]
    for lesson in lessons:
        handed_in = [one for one in grades if lesson in one.lessons]
        parts += [f"<h2>Lesson {lesson}</h2>", _exercises(lesson, handed_in), _students(lesson, handed_in)]
        parts += [_mistakes_made(lesson, handed_in)]
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>The class’s exercises</title><style>{STYLE}</style></head>\n"
        f"<body><h1>The class’s exercises</h1>\n{chr(10).join(filter(None, parts))}\n</body></html>\n"
    )
    path.write_text(page, encoding="utf-8")


def _kind(one: Grade, exercise: str) -> str:
    """One of KINDS."""
    record = one.verdict(exercise)
    if record is None or record["right"] is None:
        return "not attempted"
    if record["right"]:
        return "right"
    return "known mistake" if record["mistakes"] else "other wrong answer"


def _summary(grades: list[Grade]) -> str:
    known = [one for one in grades if one.lessons]
    said = [f"{len(grades)} submissions, {sum(one.status == 'ok' for one in grades)} of them without any trouble."]
    for lesson in lessons_met(grades):
        points = [sum(one.points_for(name) for name in EXERCISES_OF[lesson]) for one in known if lesson in one.lessons]
        out_of = sum(EXERCISES[name].points for name in EXERCISES_OF[lesson])
        said.append(f"Lesson {lesson}: half of the class has {statistics.median(points):g} of {out_of} points or more.")
    return f"<p>{'<br>'.join(map(html.escape, said))}</p>"


def _trouble(grades: list[Grade]) -> str:
    rows = []
    for one in grades:
        if one.status != "ok":
            raised = [line for outcome in one.outcomes.values() for line in outcome.raised]
            more = [f"and {len(raised) - 3} more"] if len(raised) > 3 else []
            notes = "".join(f"<small>{html.escape(line)}</small>" for line in [*raised[:3], *more])
            rows.append([html.escape(one.submission), f"{html.escape(one.status)}{notes}"])
    if not rows:
        return ""
    return f"<h2>Notebooks with trouble</h2>{_table(['submission', 'what happened'], rows)}"


def _exercises(lesson: str, grades: list[Grade]) -> str:
    names = EXERCISES_OF[lesson]
    kinds = {name: Counter(_kind(one, name) for one in grades) for name in names}
    rows = [[html.escape(name), *(str(kinds[name][kind]) for kind in KINDS)] for name in names]
    figure, axes = plots.new_figure(width=8, height=0.9 + 0.5 * len(names))
    ax, start = axes[0, 0], [0] * len(names)
    for kind, (_, colour) in KINDS.items():
        counts = [kinds[name][kind] for name in names]
        bars = ax.barh(names, counts, left=start, color=colour, label=kind)
        ax.bar_label(bars, [str(n) if n else "" for n in counts], label_type="center", color="black")
        start = [a + b for a, b in zip(start, counts)]
    ax.invert_yaxis()
    ax.set_xlabel("submissions")
    ax.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(loc="outside upper center", ncols=len(KINDS), fontsize=10)
    said = [f"{name}: {', '.join(f'{kinds[name][kind]} {kind}' for kind in KINDS)}" for name in names]
    picture = _picture(figure, f"Bars, how many submissions got each exercise. {'; '.join(said)}.")
    return f"<h3>How many got each exercise</h3>{picture}{_table(['exercise', *KINDS], rows, numbers=True)}"


def _mistakes_made(lesson: str, grades: list[Grade]) -> str:
    who: dict[tuple[str, str], list[str]] = {}
    for one in grades:
        for name in EXERCISES_OF[lesson]:
            for mistake in _mistakes(one, name):
                who.setdefault((name, mistake), []).append(one.submission)
    if not who:
        return ""
    commonest = sorted(who, key=lambda made: -len(who[made]))
    rows = [
        [
            html.escape(mistake),
            html.escape(name),
            str(len(who[name, mistake])),
            f"{html.escape(_why(name, mistake))}<small>{html.escape(', '.join(who[name, mistake]))}</small>",
        ]
        for name, mistake in commonest
    ]
    shown = commonest[:12]
    labels = [f"{mistake} ({name})" for name, mistake in shown]
    figure, axes = plots.new_figure(width=8, height=0.8 + 0.4 * len(shown))
    bars = axes[0, 0].barh(labels, [len(who[made]) for made in shown], color=KINDS["known mistake"][1])
    axes[0, 0].bar_label(bars, padding=3)
    axes[0, 0].invert_yaxis()
    axes[0, 0].set_xlabel("submissions")
    axes[0, 0].xaxis.get_major_locator().set_params(integer=True)
    said = "; ".join(f"{label}: {len(who[made])}" for label, made in zip(labels, shown))
    picture = _picture(figure, f"Bars, the commonest mistakes and by how many they were made. {said}.")
    return f"<h3>Mistakes that were made</h3>{picture}{_table(['mistake', 'exercise', 'by', 'why, and who'], rows)}"


def _why(exercise: str, mistake: str) -> str:
    return next(m.why for m in (*EXERCISES[exercise].mistakes, CHANGES_ITS_INPUT) if m.id == mistake)


def _students(lesson: str, grades: list[Grade]) -> str:
    names = EXERCISES_OF[lesson]
    total = sum(EXERCISES[name].points for name in names)
    head = ["submission", f"points of {total}", *(f"{name} ({EXERCISES[name].points})" for name in names)]
    body = ""
    for one in grades:
        points = round(sum(one.points_for(name) for name in names), 2)
        cells = "".join(_student_cell(one, name) for name in names)
        body += (
            f'<tr><th scope="row">{html.escape(one.submission)}</th><td class="number">{points:g}</td>{cells}</tr>\n'
        )
    return f'<h3>Who did what</h3><div class="wide"><table>{_head(head)}<tbody>{body}</tbody></table></div>'


def _student_cell(one: Grade, exercise: str) -> str:
    kind, record = _kind(one, exercise), one.verdict(exercise) or {}
    said = kind
    if kind == "known mistake":
        said = " + ".join(record["mistakes"])
    elif kind == "other wrong answer":
        probes = record["probes"].values()
        said = f"right on {sum(probes)} of {len(probes)} inputs" if any(probes) else "wrong"
    points = f"<small>{record['points']:g}</small>" if record.get("points") else ""
    return f'<td style="background: {KINDS[kind][0]}">{html.escape(said)}{points}</td>'


def _head(names: list[str]) -> str:
    cells = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in names)
    return f"<thead><tr>{cells}</tr></thead>"


def _table(head: list[str], rows: list[list[str]], numbers: bool = False) -> str:
    """Rows hold HTML."""
    cell = '<td class="number">' if numbers else "<td>"
    body = "".join(f"<tr><td>{row[0]}</td>{''.join(f'{cell}{c}</td>' for c in row[1:])}</tr>\n" for row in rows)
    return f'<div class="wide"><table>{_head(head)}<tbody>{body}</tbody></table></div>'


def _picture(figure, text: str) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    data = base64.b64encode(file.getvalue()).decode()
    return f'<p><img src="data:image/png;base64,{data}" alt="{html.escape(text)}"></p>'
