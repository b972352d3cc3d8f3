"""What every widget inherits: a picture of anybody's text, and values that are refused as a whole."""

import warnings

import pytest

from transformer_lab.widgets.bpe_stepper import BPEStepper
from transformer_lab.widgets.sampling_playground import SamplingPlayground
from transformer_lab.widgets.softmax_playground import SoftmaxPlayground


@pytest.mark.parametrize("text", ["$x_ $$ $x_ $x_", "$a^$", "注意力 注意力", "\U000e0001\U000e0001"])
@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_any_text_has_a_picture(tmp_path, text, suffix):
    widgets = [
        BPEStepper(text, merges=2, step=1),
        SoftmaxPlayground([1.0, 2.0], labels=[text, "b"]),
        SamplingPlayground.from_logits([1.0, 2.0], [text, "b"], text=text),
    ]
    with warnings.catch_warnings(action="error"):
        for widget in widgets:
            widget.save(tmp_path / f"x{suffix}")
            assert widget._repr_mimebundle_()[0]["image/png"]


def test_what_is_refused_among_others_takes_all_of_them_back():
    playground = SoftmaxPlayground([1.0, 2.0])
    with pytest.raises(ValueError, match="temperature must lie in 0.05 … 10; got 99"):
        with playground.hold_trait_notifications():
            playground.scores = [3.0, 3.0]
            playground.temperature = 99.0
    assert playground.temperature == 1.0 and playground.scores == [1.0, 2.0]
