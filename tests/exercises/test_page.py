"""The catalogue's page is what the catalogue says now, and holds all that the lessons owe."""

import json
import re

import matplotlib.image
import numpy as np
import pytest

from transformer_lab.exercises import LESSONS, page

# Every mistake in code that articles and learners are known for → the lesson that teaches against it.
REQUIRED = {
    "02": "unscaled-scores scaled-by-d softmax-over-queries no-softmax softmax-before-scale value-inside-softmax "
    "keys-ignored values-ignored",
    "03": "mask-after-softmax mask-with-zero mask-inverted mask-off-by-one mask-missing fully-masked-row-nan "
    "padding-ignored finite-mask-beaten shared-qkv-projection heads-by-view-only attends-across-heads "
    "no-output-projection output-projection-on-weights qkv-chunk-wrong-axis single-head-called-multi",
    "04": "pe-scalar-sum pe-power pe-sin-only pe-random-noise pe-exponent pe-overwrites-input pe-concatenated-input "
    "pe-off-by-one cache-position-reset",
    "05": "dropout-before-softmax layernorm-unbiased norm-without-residual",
    "08": "ids-through-linear gpt-without-head targets-not-shifted targets-shifted-twice softmax-before-cross-entropy "
    "train-mode-sampling",
    "09": "loss-over-padding temperature-inverted top-k-after-sampling top-p-off-by-one",
}
# Every wrong claim → the lesson that refutes it by a computation.
CLAIMS = {
    "01": "attention-invented-late bleu-gain-10",
    "02": "wrong-norm-in-example distance-as-score attention-without-cost",
    "03": "attention-is-explanation",
    "04": "pe-blocks-vs-interleaved pe-added-every-layer",
    "05": "pre-norm-called-post-norm",
    "08": "gpt-is-encoder-decoder lstm-called-transformer",
    "09": "must-finetune-to-generate transformer-poorly-parallel",
    "09b": "lower-loss-per-step more-parameters-are-slower compile-always-pays busy-is-mfu tuned-on-the-test",
    "09c": "speed-grows-with-machines larger-batch-always-helps mean-of-means larger-is-better loss-goes-to-zero",
}


def pairs(table: dict[str, str]) -> list[tuple[str, str]]:
    return [(number, id) for number, ids in table.items() for id in ids.split()]


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    page.main(folder)
    return folder


def test_the_page_is_up_to_date(generated):
    """Otherwise: python -m transformer_lab.exercises catalogue."""
    assert (generated / page.PAGE).read_text(encoding="utf-8") == (page.FOLDER / page.PAGE).read_text(encoding="utf-8")


def test_the_picture_is_up_to_date(generated):
    ours, theirs = (255 * matplotlib.image.imread(folder / page.PICTURE) for folder in (generated, page.FOLDER))
    assert ours.shape == theirs.shape
    assert np.sqrt(np.mean((ours - theirs) ** 2)) < 8


def test_the_picture_shows_what_was_measured():
    mistaken = np.array([[1, 0, 0, 0], [1, 0, 0, 0]])  # the second is taken for the first
    figure = page.picture({"softmax": mistaken})
    assert figure.axes[0].get_title() == "softmax\n1 of 2"
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), [[1, 0, 0, 0], [2, 0, 0, 0]])
    assert "1 of 2 got their own name; the others belong to softmax" in page.text({"softmax": mistaken})


@pytest.mark.parametrize(("number", "id"), pairs(REQUIRED))
def test_every_known_mistake_is_recognised_in_its_lesson(number, id):
    lesson = next(lesson for lesson in LESSONS if lesson.__name__.endswith(number))
    assert any(mistake.id == id for exercise in lesson.EXERCISES for mistake in exercise.mistakes)


@pytest.mark.parametrize(("number", "id"), pairs(CLAIMS))
def test_every_known_claim_is_refuted_in_its_lesson(number, id):
    path = next(page.NOTEBOOKS.glob(f"{number}_*.ipynb"))
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    tagged = [cell for cell in cells if f"claim:{id}" in cell["metadata"].get("tags", ())]
    assert tagged and all(re.search(r"^\s*assert ", "".join(cell["source"]), re.MULTILINE) for cell in tagged)


def test_the_page_lists_each_claim_once():
    assert sorted(id for id, _, _ in page.claims()) == sorted(id for _, id in pairs(CLAIMS))
