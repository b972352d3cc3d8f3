"""The exercises' commands, for who teaches: grade a class, make a course for nbgrader, write the catalogue's page."""

import argparse
import glob
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m transformer_lab.exercises", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    grading = commands.add_parser(
        "grade",
        help="execute submissions and write their points",
        description="Execute each submission in a process of its own, with limits on time and memory, and check its "
        "answers with this installation's checks, whatever the notebook does to its own.",
        epilog="This is no sandbox. A submission runs with your rights: it can read and delete your files and use the "
        "network. The limits stop accidents, not somebody who means harm; for that, grade in a container or on a "
        "machine that holds nothing of value.",
    )
    grading.add_argument(
        "submissions", nargs="+", metavar="SUBMISSION", help="a notebook, or a folder with one student's notebooks"
    )
    grading.add_argument("--csv", required=True, type=Path, help="where the table goes: one row a submission")
    grading.add_argument("--report", type=Path, help="where the page about the class goes (HTML)")
    grading.add_argument("--seconds", type=_positive(float), default=600, help="for each notebook (default: 600)")
    grading.add_argument("--gigabytes", type=_positive(float), default=4, help="of memory, the same (default: 4)")
    grading.add_argument("--jobs", type=_positive(int), default=1, help="notebooks at a time (default: 1)")

    course = commands.add_parser(
        "nbgrader",
        help="write a course folder for nbgrader",
        description="Write a folder that nbgrader takes as a course: its settings, and one assignment a lesson. "
        'nbgrader itself comes with pip install "transformer-lab[teacher]". Like grade, it is no sandbox.',
    )
    course.add_argument("folder", type=Path, metavar="COURSE_DIR", help="a new or empty folder")

    commands.add_parser("catalogue", help="write the page that lists all exercises and the mistakes they know")

    chosen = parser.parse_args(arguments)
    if chosen.command == "grade":
        return _grade(chosen)
    if chosen.command == "nbgrader":
        from transformer_lab.exercises.course import write_course

        try:
            lessons = write_course(chosen.folder)
        except (FileNotFoundError, FileExistsError) as error:
            parser.exit(1, f"{error}\n")
        print(f"{chosen.folder}: {len(lessons)} assignments ({', '.join(lessons)}).")
        print(f"Next: cd {chosen.folder}; nbgrader generate_assignment {lessons[0]}")
        return 0
    from transformer_lab.exercises import page

    page.main()
    return 0


def _positive(kind: type):
    def number(text: str):
        if (value := kind(text)) <= 0:
            raise ValueError
        return value

    number.__name__ = f"positive {kind.__name__}"  # argparse names it in its message
    return number


def _grade(chosen: argparse.Namespace) -> int:
    from transformer_lab.exercises.grading import grade
    from transformer_lab.exercises.report import write_csv, write_report

    for path in filter(None, (chosen.csv, chosen.report)):
        path.parent.mkdir(parents=True, exist_ok=True)
    # Not every shell turns *.ipynb into names.
    found = [[given] if Path(given).exists() else sorted(glob.glob(given)) or [given] for given in chosen.submissions]
    submissions = [Path(path) for paths in found for path in paths]
    grades = []
    try:
        for one in grade(submissions, chosen.seconds, chosen.gigabytes, chosen.jobs):
            grades.append(one)
            points = f"{one.points:g} of {one.out_of} points, " if one.lessons else ""
            print(f"{len(grades)}: {one.submission}: {points}{one.status} ({one.seconds:.1f} s)", flush=True)
    except KeyboardInterrupt:
        print("Stopped. What was graded until now is written.")
    grades.sort(key=lambda one: one.submission)
    write_csv(grades, chosen.csv)
    if chosen.report:
        write_report(grades, chosen.report)
    print(f"{len(grades)} submissions: {', '.join(str(path) for path in (chosen.csv, chosen.report) if path)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
