"""PositionExplorer: what Python computes, that the page computes the same, and what a hand and a keyboard do."""

import math

import pytest
import torch

from transformer_lab.positions import RotaryPositions, sinusoidal_encoding, wavelengths
from transformer_lab.widgets.base import es_module
from transformer_lab.widgets.position_explorer import PositionExplorer

ENCODING, ARROWS, DISTANCES, WAVELENGTHS = range(4)  # the canvases, in their order


@pytest.fixture(autouse=True)
def exact():
    """As in the lesson: 64-bit numbers, so that rounding tells nothing apart."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture
def explorer():
    return PositionExplorer(position=10, other=16, pair=2)


@pytest.fixture
def rotary():
    query, key = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    return PositionExplorer("rotary", 24, 8, position=3, other=8, pair=1, query=query, key=key)


# ---------------------------------------------------------------- in Python


def test_the_encoding_and_its_similarity_are_the_packages(explorer):
    encoding = sinusoidal_encoding(64, 32)
    assert torch.equal(explorer.encoding, encoding) and torch.equal(explorer.wavelengths, wavelengths(32))
    torch.testing.assert_close(explorer.similarity, encoding @ encoding[10] / 16)
    torch.testing.assert_close(explorer.by_pair[:, 2], encoding[:, 4:6] @ encoding[10, 4:6])
    explorer.base = 100
    assert torch.equal(explorer.encoding, sinusoidal_encoding(64, 32, 100.0))


def test_the_rotary_score_is_the_packages(rotary):
    positions = RotaryPositions(24, 8)
    query, key = (positions.rotate(torch.tensor(x).expand(24, 8)) for x in (rotary.query, rotary.key))
    torch.testing.assert_close(rotary.similarity, key @ query[3] / math.sqrt(8))
    torch.testing.assert_close(rotary.arrows[1], torch.stack([query[3, 2:4], key[8, 2:4]]))


@pytest.mark.parametrize("scheme", ["sinusoidal", "rotary"])
def test_the_angle_is_distance_times_frequency_and_moving_both_leaves_it(scheme):
    explorer = PositionExplorer(scheme, position=1, other=4, pair=2)  # query and key are both all ones
    angle, score = explorer.angle, explorer.similarity[4]
    assert angle == pytest.approx(3 * 360 / explorer.wavelengths[2].item())
    explorer.position, explorer.other = 41, 44
    assert explorer.angle == pytest.approx(angle)
    torch.testing.assert_close(explorer.similarity[44], score)
    explorer.other = 38
    assert explorer.angle == pytest.approx(-angle)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(scheme="alibi"), "scheme must be one of sinusoidal, rotary; got 'alibi'"),
        (dict(position=64), "position must lie in 0 … 63; got 64"),
        (dict(other=-1), "other must lie in 0 … 63; got -1"),
        (dict(pair=16), "pair must lie in 0 … 15; got 16"),
        (dict(base=1.0), "base must lie in 10 … 1,000,000; got 1.0"),
        (dict(base=math.nan), "base must lie in 10 … 1,000,000; got nan"),
        (dict(n_positions=16), "n_positions must lie in 17 … 512; got 16"),
        (dict(key=[1.0]), "key must hold d_model, 32, numbers; got 1"),
        (dict(query=[math.inf] * 32), "query must hold finite numbers; got"),
    ],
)
def test_a_bad_value_is_refused_and_nothing_changes(explorer, change, message):
    before = repr(explorer)
    with pytest.raises(ValueError, match=message):
        explorer.set_trait(*next(iter(change.items())))
    assert repr(explorer) == before
    with pytest.raises(ValueError):
        PositionExplorer(**(dict(position=10, other=16) | change))


@pytest.mark.parametrize("d_model", [0, 7, 130])
def test_channels_come_in_pairs(d_model):
    with pytest.raises(ValueError, match=f"d_model must be even, 2 … 128; got {d_model}"):
        PositionExplorer(d_model=d_model)


def test_it_takes_what_the_page_sends(explorer):
    explorer.set_state({"position": 62, "other": 63, "base": 200})  # JavaScript's 200 has no point
    assert (explorer.position, explorer.other, explorer.base) == (62, 63, 200.0)


def test_the_smallest_and_the_largest_are_drawn():
    for scheme in ("sinusoidal", "rotary"):
        for n_positions, d_model in ((2, 2), (512, 128)):
            assert len(PositionExplorer(scheme, n_positions, d_model).figure.axes) == 4


def test_the_text_says_what_is_on_show(explorer):
    assert repr(explorer) == (
        "PositionExplorer: sinusoidal, 64 positions, 32 channels, base 10,000; "
        "pair 2 comes round after 19.9 positions; "
        "positions 10 and 16: 109° apart, similarity of this pair -0.32, of all 0.74"
    )
    explorer.scheme = "rotary"
    assert repr(explorer).endswith("query at 10, key at 16: 109° apart, score of this pair -0.11, of all 4.20")


def test_the_figure_shows_the_same(explorer):
    encoding, arrows, distances, waves = explorer.figure.axes
    assert torch.equal(torch.tensor(encoding.images[0].get_array()), explorer.encoding.T.float())
    for line, (x, y) in zip(arrows.lines[1:], explorer.arrows[2].tolist(), strict=True):
        assert line.get_xydata()[1] == pytest.approx([x, y])
    assert distances.lines[0].get_ydata() == pytest.approx(explorer.by_pair[:, 2].numpy())
    assert distances.lines[1].get_ydata() == pytest.approx(explorer.similarity.numpy())
    assert waves.lines[0].get_ydata() == pytest.approx(explorer.wavelengths.numpy())
    assert {"10", "100", "1,000", "10,000"} <= {label.get_text() for label in waves.get_yticklabels()}
    explorer.scheme = "rotary"
    every = explorer.figure.axes[0]
    assert not every.images and len(every.lines) == 3 * 16  # of each pair: a circle, a query, a key


# ---------------------------------------------------------------- in a browser


@pytest.mark.parametrize("theme", ["light"])  # numbers have no colour
def test_the_page_computes_what_python_computes(watched, explorer, rotary):
    look = """async ([code, state]) => {
        const module = await import(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
        const { ownAt, ...seen } = module.look(state);
        const far = state.other - state.position;
        return { ...seen, own: ownAt(far), between: ownAt(far + 0.5) };
    }"""
    small = PositionExplorer("sinusoidal", 5, 4, position=4, other=0, pair=1, base=10)
    other_way = PositionExplorer("rotary", 50, 6, position=49, other=2, pair=0, base=1e6, key=[0, 1, 2, -3, 4, -5])
    for widget in (explorer, rotary, small, other_way):
        seen = watched.page.evaluate(look, [es_module(widget.module), widget.packed()["state"]])
        for name in ("encoding", "wavelengths", "arrows", "by_pair", "similarity"):
            wanted = getattr(widget, name)
            torch.testing.assert_close(torch.tensor(seen["byPair" if name == "by_pair" else name]), wanted, msg=name)
        assert seen["angle"] == pytest.approx(widget.angle)
        # The faint curves that do not move pass through what the two positions give.
        at = widget.other - widget.position + widget.n_positions - 1
        assert seen["everyDistance"][at] == pytest.approx(widget.similarity[widget.other].item())
        assert seen["own"] == pytest.approx(widget.by_pair[widget.other, widget.pair].item())
        assert all(abs(score) <= seen["limit"] + 1e-9 for score in seen["everyDistance"])
        # Half way to the next distance the pair has turned by half a step more.
        (a, b), (c, d) = widget.arrows[widget.pair].tolist()
        half = math.pi / widget.wavelengths[widget.pair].item()
        product = math.hypot(a, b) * math.hypot(c, d) * math.cos(math.radians(widget.angle) + half)
        scale = math.sqrt(widget.d_model) if widget.scheme == "rotary" else 1
        assert seen["between"] == pytest.approx(product / scale)


def test_the_pictures_colours_are_the_encodings_numbers(show):
    shown = show(PositionExplorer(position=60, other=61, pair=10))  # marks out of the way
    cells = [(0, 31), (0, 30), (3, 1), (5, 6), (40, 9)]  # (position, channel)
    pixels = shown.page.evaluate(
        """(cells) => {
            const canvas = document.querySelector("canvas"), { width, height } = canvas;
            const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
            return cells.map(([position, channel]) => {
                const x = Math.floor(66 + (position + 0.5) * (width - 76) / 64);
                const y = Math.floor(40 + (channel + 0.5) * (height - 66) / 32);
                return [...data.slice(4 * (y * width + x), 4 * (y * width + x) + 3)];
            });
        }""",
        cells,
    )
    for (position, channel), (red, _, blue) in zip(cells, pixels, strict=True):
        value = sinusoidal_encoding(64, 32)[position, channel].item()
        kind = "blue" if value > 0.3 else "orange" if value < -0.3 else "white"
        assert kind == ("blue" if blue > red + 40 else "orange" if red > blue + 40 else "white"), (position, channel)


def test_the_readout_says_what_the_sinusoids_say(explorer, show):
    shown = show(explorer)
    assert shown.readout == (
        "Pair 2 comes round after 19.9 positions, 18.1° a position. Positions 10 and 16, 6 apart: its hands are 109° "
        "apart, similarity −0.32. The mean of all 16 pairs: 0.74."
    )
    assert shown.nodes() <= 300


def test_the_readout_says_what_rotary_says(rotary, show):
    shown = show(rotary)
    own, score = rotary.by_pair[8, 1], rotary.similarity[8]
    assert shown.readout.replace("−", "-") == (
        "Pair 1 comes round after 62.8 positions, 5.7° a position. Query at 3, turned by 17°; key at 8, turned by 46°; "
        f"distance 5. From the query's arrow to the key's: {rotary.angle:.0f}°. "
        f"This pair's part of the score: {own:.2f}. The score, all 4 pairs: {score:.2f}."
    )


def test_keys_move_on_every_view_and_the_page_stays(explorer, show):
    shown = show(explorer)
    canvases = shown.page.locator("canvas")

    def places():
        return [shown.state(name) for name in ("position", "other", "pair")]

    canvases.nth(ENCODING).focus()
    shown.press("ArrowRight", "ArrowDown", "ArrowDown")
    assert places() == [11, 16, 4]
    canvases.nth(ARROWS).focus()
    shown.press("ArrowLeft", "ArrowLeft", "ArrowUp")
    assert places() == [9, 14, 3]
    canvases.nth(DISTANCES).focus()
    shown.press("ArrowRight")
    assert places() == [9, 15, 3]
    canvases.nth(WAVELENGTHS).focus()
    shown.press("ArrowRight", "ArrowUp", "ArrowUp", "ArrowUp", "ArrowUp", "ArrowUp")
    assert places() == [9, 15, 0]
    assert shown.page.evaluate("() => window.scrollY") == 0


def test_a_hint_under_each_picture_says_what_its_keys_do(explorer, show):
    shown = show(explorer)
    assert shown.page.locator(".note").all_inner_texts() == [
        "Click or drag, then ← → move the position, ↑ ↓ choose a pair",
        "Click, then ← → move both positions, ↑ ↓ choose a pair",
        "Click or drag, then ← → move the other position, ↑ ↓ choose a pair",
        "Click or drag, then arrow keys choose a pair",
    ]
    shown.put(scheme="rotary")
    assert "Click or drag, then ← → move the key, ↑ ↓ choose a pair" in shown.page.locator(".note").all_inner_texts()


def test_a_wave_is_paler_the_less_room_it_has(show):
    """What is drawn in the lower left view, where the curve of all pairs is not: the share of ink in its pixels."""

    def ink(**options):
        shown = show(PositionExplorer(**options))
        return (
            shown.page.locator("canvas")
            .nth(DISTANCES)
            .evaluate(
                """(canvas) => {
                const { data } = canvas.getContext("2d").getImageData(60, 120, 390, 60);
                return data.filter((_, i) => i % 4 === 3).reduce((sum, alpha) => sum + alpha, 0) / (255 * 390 * 60);
            }"""
            )
        )

    assert ink(pair=2) < 0.2 and ink(pair=0) < 0.25
    assert 0.02 < ink(pair=0, n_positions=512) < 0.5


def test_both_move_together_and_stop_at_the_ends(rotary, show):
    shown = show(rotary)
    said = shown.readout.partition("From the query's arrow")[2]
    before = shown.pixels(ARROWS)
    shown.page.get_by_role("button", name="both 1 on").click()
    assert [shown.state("position"), shown.state("other")] == [4, 9]
    assert shown.readout.partition("From the query's arrow")[2] == said  # angle, part and score are the same
    assert shown.pixels(ARROWS) != before
    back = shown.page.get_by_role("button", name="both 1 back")
    back.focus()
    shown.press(*["Enter"] * 6)
    assert [shown.state("position"), shown.state("other")] == [0, 5]


def test_a_hand_on_a_view_chooses(explorer, show):
    shown = show(explorer)
    before = [shown.pixels(i) for i in range(4)]
    boxes = [canvas.bounding_box() for canvas in shown.page.locator("canvas").all()]
    encoding, distances, waves = boxes[ENCODING], boxes[DISTANCES], boxes[WAVELENGTHS]
    column, row = (encoding["width"] - 76) / 64, (encoding["height"] - 66) / 16
    shown.page.mouse.move(encoding["x"] + 66 + 20.5 * column, encoding["y"] + 40 + 5.5 * row)
    shown.page.mouse.down()
    shown.page.mouse.move(encoding["x"] + 66 + 30.5 * column, encoding["y"] + 40 + 6.5 * row)
    assert [shown.state("position"), shown.state("pair")] == [30, 6]
    shown.page.mouse.up()
    shown.page.mouse.move(encoding["x"] + 60, encoding["y"] + 60)
    assert shown.state("position") == 30  # let go
    shown.page.mouse.click(distances["x"] + 46, distances["y"] + 100)  # distance −63: before the first
    assert shown.state("other") == 0
    shown.page.mouse.click(distances["x"] + 46 + (distances["width"] - 58) / 2, distances["y"] + 100)
    assert shown.state("other") == 30
    shown.page.mouse.click(waves["x"] + 76 + (waves["width"] - 88) * 11.5 / 16, waves["y"] + 50)
    assert shown.state("pair") == 11
    assert [shown.pixels(i) == before[i] for i in range(4)] == [False] * 4


def test_rotarys_pairs_are_chosen_from_all_by_hand_and_key(rotary, show):
    shown = show(rotary)
    every = shown.page.locator("canvas").nth(ENCODING)
    box = every.bounding_box()
    shown.page.mouse.click(box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2)
    assert shown.state("pair") == 3
    shown.press("ArrowLeft")  # the click has brought the focus here
    assert shown.state("pair") == 2
    assert shown.state("position") == 3  # here the keys choose pairs only


def test_sliders_choose_and_start_again_brings_everything_back(explorer, show):
    shown = show(explorer)
    shown.page.get_by_role("slider", name="base").fill("2")
    assert shown.state("base") == 100 and "after 11.2 positions" in shown.readout  # 2π · 100^(2 · 2 / 32)
    shown.page.get_by_role("combobox", name="scheme").select_option("rotary")
    shown.page.get_by_role("slider", name="query at").fill("40")
    shown.page.get_by_role("slider", name="key at").fill("0")
    shown.page.get_by_role("slider", name="pair").fill("5")
    assert "Query at 40" in shown.readout and "distance −40" in shown.readout
    shown.page.get_by_role("button", name="start again").click()
    names = ("scheme", "position", "other", "pair", "base")
    assert [shown.state(name) for name in names] == ["sinusoidal", 10, 16, 2, 10000]


def test_what_python_sets_is_shown(explorer, show):
    shown = show(explorer)
    shown.put(n_positions=128)
    shown.put(other=100)
    assert "Positions 10 and 100, 90 apart" in shown.readout
    assert shown.page.get_by_role("slider", name="other position").get_attribute("max") == "127"
    before = shown.pixels(ENCODING)
    shown.put(scheme="rotary")
    assert "Query at 10" in shown.readout and shown.pixels(ENCODING) != before


def test_it_fits_a_phone_and_works_without_a_kernel(rotary, show):
    shown = show(rotary, live=False)
    shown.page.set_viewport_size({"width": 360, "height": 700})
    shown.page.wait_for_function(  # drawn for this width, not squeezed into it
        "() => [...document.querySelectorAll('canvas')].every((c) => c.clientWidth < 340 && c.clientWidth === c.width)"
    )
    assert shown.page.evaluate("() => document.documentElement.scrollWidth") <= 360
    shown.page.get_by_role("button", name="both 1 on").click()
    assert "Query at 4, turned by 23°" in shown.readout


def test_a_finger_chooses_and_moves_but_scrolls_where_it_goes_up(explorer, show):
    shown = show(explorer)

    def chosen():
        return [shown.state(name) for name in ("position", "other", "pair")]

    def place(column, row):
        box = shown.page.locator("canvas").nth(ENCODING).bounding_box()
        return box["x"] + 66 + (column + 0.5) * (box["width"] - 76) / 64, box["y"] + 40 + (row + 0.5) * 166 / 16

    shown.swipe(place(20, 5))
    assert chosen() == [20, 16, 5]
    shown.swipe(place(20, 5), place(40, 5))  # sideways
    assert chosen() == [40, 16, 5] and shown.page.evaluate("() => window.scrollY") == 0
    x, y = place(5, 12)
    shown.swipe((x, y), (x, y - 180))  # up: the page scrolls, and the picture is left alone
    assert shown.scrolled() > 50 and chosen() == [40, 16, 5]


def test_it_ends_cleanly(explorer, show):
    shown = show(explorer)
    shown.page.evaluate("() => window.stop()")
    said = shown.readout
    shown.put(position=20)
    assert shown.readout == said
