"""What a verdict shows: text everywhere, tables in colour where there is a matrix, a record for the grader."""

import re
from html.parser import HTMLParser

import pytest
import torch

from transformer_lab.exercises import check, lesson_02
from transformer_lab.exercises.verdict import JSON, LARGEST, matrices


def softmax(scores): ...  # your code here


def softmax_right(scores):
    return scores.softmax(-1)


def softmax_wrong(scores):
    return (scores - scores.amax(-1, keepdim=True)).exp()


softmax_right.__name__ = softmax_wrong.__name__ = "softmax"


class Tables(HTMLParser):
    """Each table of a page as (caption, rows of cells' texts); what is opened must be closed."""

    def __init__(self, page: str):
        super().__init__()
        self.tables, self.open = [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        if tag == "table":
            self.tables.append(("", []))
        if tag == "tr":
            self.tables[-1][1].append([])
        if tag == "td":
            self.tables[-1][1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] == "caption":
            self.tables[-1] = (data, self.tables[-1][1])
        if self.open[-1] == "td":
            self.tables[-1][1][-1][-1] += data


def tables(expected, answer) -> dict[str, list[list[str]]]:
    return dict(Tables(matrices(expected, answer)).tables)


# ---------------------------------------------------------------- what Jupyter is given


def test_an_unattempted_exercise_is_text_and_nothing_else():
    bundle = check(softmax)._repr_mimebundle_()
    assert bundle["text/plain"] == "softmax: not attempted yet; going on with the reference."
    assert set(bundle) == {"text/plain", JSON}
    assert bundle[JSON] == {
        "exercise": "softmax", "right": None, "mistakes": [], "probes": {}, "points": 0, "out_of": 1
    }  # fmt: skip


def test_a_right_answer_has_all_its_points():
    bundle = check(softmax_right)._repr_mimebundle_()
    assert bundle["text/plain"].startswith("softmax: right.") and "<b>softmax</b>: right." in bundle["text/html"]
    record = bundle[JSON]
    assert record["right"] is True and record["points"] == record["out_of"] == 1
    assert list(record["probes"]) == list(lesson_02.softmax_probes()) and all(record["probes"].values())


def test_a_wrong_answer_has_its_mistake_its_tables_and_the_points_of_what_is_right():
    verdict = check(softmax_wrong)
    bundle = verdict._repr_mimebundle_()
    record = bundle[JSON]
    assert record["right"] is False and record["mistakes"] == ["no-division"]
    right = sum(record["probes"].values()) / len(record["probes"])
    assert record["points"] == round(right, 2) < 1
    page = bundle["text/html"]
    assert "no-division" in page and "hint(softmax)" in page
    assert dict(Tables(page).tables) == {
        "expected": [["0.018", "0.982"], ["0.269", "0.731"]],
        "yours": [["0.018", "1.000"], ["0.368", "1.000"]],
        "yours − expected": [["0.000", "0.018"], ["0.099", "0.269"]],
    }
    assert verdict.shown not in page and verdict.shown in bundle["text/plain"]  # the tables stand for the numbers


def test_a_grading_nbgrader_reads_the_points(monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    assert float(check(softmax_right)._repr_mimebundle_()["text/plain"]) == 1
    blank = check(softmax)._repr_mimebundle_()
    assert float(blank["text/plain"]) == 0 and "not attempted yet" in blank["text/html"]


def test_what_a_learner_wrote_cannot_become_markup():
    def softmax(scores):
        raise ValueError("<script>alert(1)</script>")

    assert "<script>" not in check(softmax)._repr_mimebundle_()["text/html"]


# ---------------------------------------------------------------- target, yours, difference


def test_numbers_are_shown_with_as_many_decimals_as_tell_them_apart():
    assert tables(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 2.0001]])) == {
        "expected": [["1.000000", "2.000000"]],
        "yours": [["1.000000", "2.000100"]],
        "yours − expected": [["0.000000", "0.000100"]],
    }


def test_truth_values_are_shown_as_such():
    assert tables(torch.tensor([[True, False]]), torch.tensor([[True, True]])) == {
        "expected": [["True", "False"]],
        "yours": [["True", "True"]],
        "where they differ": [["", "≠"]],
    }


def test_whole_numbers_have_no_decimals():
    assert tables(torch.tensor([1, 2]), torch.tensor([1, 3]))["yours"] == [["1", "3"]]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_shown_too(bad):
    shown = tables(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, bad]]))
    assert shown["yours"] == [["1.000", str(bad)]]
    assert tables(torch.tensor([[bad]]), torch.tensor([[1.0]]))["expected"] == [[str(bad)]]


def test_of_a_large_tensor_the_part_that_differs_most_is_shown():
    expected = torch.zeros(2, 3, 20, 30)
    answer = expected.clone()
    answer[1, 2, 19, 15] = 5.0
    page = matrices(expected, answer)
    assert "The part [1, 2, 12:20, 11:19], where they differ most:" in page
    shown = dict(Tables(page).tables)
    assert {len(shown["yours"]), len(shown["yours"][0])} == {LARGEST}
    assert shown["yours"][7][4] == "5.000"


@pytest.mark.parametrize("shape", [(1,), (9,), (2, 9), (9, 2), (2, 2, 2), (1, 1, 1, 3)])
def test_every_shape_fits(shape):
    shown = tables(torch.zeros(shape), torch.ones(shape))
    rows, columns = ((1, *shape) if len(shape) == 1 else shape)[-2:]
    assert len(shown["expected"]) == min(rows, LARGEST) and len(shown["expected"][0]) == min(columns, LARGEST)


def test_of_several_things_the_first_that_differs_is_shown():
    page = matrices((torch.ones(2), torch.ones(2)), [torch.ones(2), torch.zeros(2)])
    assert "Number 2 of the 2 things that you return" in page
    assert dict(Tables(page).tables)["yours"] == [["0.000", "0.000"]]


@pytest.mark.parametrize(
    "expected, answer",
    [
        (torch.ones(2), torch.ones(3)),
        (torch.ones(2), None),
        (torch.ones(2), torch.ones(2) > 0),
        (torch.tensor(1.0), torch.tensor(2.0)),
        (1.0, 2.0),
        ((torch.ones(2), 1), (torch.ones(2), 2)),
        ((torch.ones(2), 1), torch.ones(2)),
        (torch.ones(0, 2), torch.ones(0, 2)),
    ],
)
def test_without_two_matrices_of_one_shape_there_is_no_table(expected, answer):
    assert matrices(expected, answer) == ""


def test_ink_stands_out_from_its_cell():
    page = matrices(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]]))
    for red, green, blue, ink in re.findall(r"background: rgb\((\d+), (\d+), (\d+)\); color: (\w+)", page):
        light = (0.299 * int(red) + 0.587 * int(green) + 0.114 * int(blue)) / 255
        assert abs(light - (ink == "white")) > 0.45
