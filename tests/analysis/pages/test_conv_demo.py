"""The demo: its numbers are those of layers.functional, and a browser shows them."""

import re

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import layers.functional as F
from analysis.pages.conv_demo import check, conv_demo, numbers
from analysis.pages.conv_demo_options import ConvDemoOptions

MINUS = "\N{MINUS SIGN}"
GEOMETRIES = [
    ConvDemoOptions(),
    ConvDemoOptions(size=7, stride=1, padding=0, dilation=2),
    ConvDemoOptions(size=6, kernel=2, stride=3, padding=1, channels=1, filters=3),
    ConvDemoOptions(size=1, kernel=1, stride=1, padding=0, channels=1, filters=1),
]


def tensors(demo):
    """x, w, b and dy of the page, and y and the gradients that the layers compute from them."""
    data = numbers(demo)
    p, n = demo.padding, demo.size
    x = torch.tensor(data["forward"]["sources"]).double()[:, p : p + n, p : p + n]
    w = torch.tensor(data["forward"]["operands"]).double()
    dy = torch.tensor(data["weight"]["operands"]).double()
    b = torch.tensor([1.0] + [0.0] * (demo.filters - 1)).double()
    x, w, b = (t.contiguous().requires_grad_() for t in (x, w, b))
    y = F.conv2d(x, w, b, demo.stride, demo.padding, demo.dilation)
    return data, x, y.detach(), *torch.autograd.grad(y, (x, w, b), dy)


def results(scene):
    values = torch.zeros(scene["shape"]).double()
    for step in scene["steps"]:
        values[tuple(step["at"])] = step["value"]
    return values


@settings(deadline=None, max_examples=25)
@given(
    st.builds(
        ConvDemoOptions,
        size=st.integers(1, 7),
        kernel=st.integers(1, 3),
        stride=st.integers(1, 3),
        padding=st.integers(0, 2),
        dilation=st.integers(1, 2),
        channels=st.integers(1, 2),
        filters=st.integers(1, 2),
    )
)
def test_every_step_adds_up_to_the_layer_s_number(demo):
    try:
        check(demo)
    except ValueError:
        assume(False)
    data, _, y, dx, dw, db = tensors(demo)
    for scene, expected in (("forward", y), ("input", dx), ("weight", dw)):
        assert torch.equal(results(data[scene]), expected)
        for step in data[scene]["steps"]:
            assert sum(step["sums"]) + step.get("bias", 0) == step["value"]
            assert [*map(sum, step["products"])] == step["sums"]
            for source, operand, products in zip(
                step["sources"], step["operands"], step["products"], strict=True
            ):
                seen = torch.tensor(data[scene]["sources"][source]).flatten()[step["window"]]
                filters = torch.tensor(data[scene]["operands"])[tuple(operand)].flatten()
                assert (seen * filters).tolist() == products
    assert data["db"] == db.tolist()


@pytest.mark.parametrize("demo", GEOMETRIES, ids=str)
def test_the_matrices_multiply_to_the_output(demo):
    data, _, y, *_ = tensors(demo)
    x_col, w_row, product = (torch.tensor(data["matrices"][k]) for k in ("x_col", "w_row", "y"))
    assert torch.equal(w_row @ x_col, product)
    bias = torch.tensor([1] + [0] * (demo.filters - 1))
    assert torch.equal((product + bias[:, None]).double(), y.flatten(1))


def test_numbers_are_as_small_as_the_chapter_s():
    data = numbers(ConvDemoOptions())
    assert {*torch.tensor(data["forward"]["sources"]).unique().tolist()} == {0, 1, 2}
    assert {*torch.tensor(data["forward"]["operands"]).unique().tolist()} == {-1, 0, 1}
    assert {step["bias"] for step in data["forward"]["steps"]} == {0, 1}


@pytest.mark.parametrize("demo", GEOMETRIES, ids=str)
def test_pooling_is_the_layer_s_and_its_gradient_adds(demo):
    data = numbers(demo)
    pool, unpool = data["pool"], data["unpool"]
    x = torch.tensor(pool["sources"]).double().requires_grad_()
    y, switches = F.max_pool2d_with_switches(x, pool["kernel"], pool["stride"])
    (dx,) = torch.autograd.grad(y, x, torch.tensor(unpool["sources"]).double())
    assert torch.equal(results(pool), y.detach())
    assert pool["switches"] == unpool["switches"] == switches.tolist()
    assert torch.equal(results(unpool), dx)


def test_pixels_that_win_twice_occur():
    assert any(step["sums"][0] for step in numbers(ConvDemoOptions())["unpool"]["steps"])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (dict(size=2, kernel=9), "spans 9 pixels, but the padded image has 4"),
        (dict(kernel=3, dilation=4), "at dilation 4 spans 9 pixels"),
        (dict(padding=3), "--padding 3 would give windows that see padding alone"),
        (dict(stride=0), "--stride must be at least 1, got 0"),
        (dict(padding=-1), "--padding must be at least 0, got -1"),
        (dict(size=64), "more than the 40,000 that one can step through"),
    ],
    ids=str,
)
def test_a_geometry_that_cannot_be_shown(options, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        conv_demo(ConvDemoOptions(**options))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    file = tmp_path_factory.mktemp("demo") / "demo.html"
    file.write_text(conv_demo(ConvDemoOptions()), encoding="utf-8")
    return file


def grids(page, selector):
    """The numbers of every map that is shown under `selector`; None where there is none yet."""
    return page(
        "[...document.querySelectorAll(arguments[0])].filter((table) => table.offsetParent).map("
        "(table) => [...table.rows].map((row) => [...row.querySelectorAll('td')].map((cell) =>"
        "cell.textContent === '' ? null : Number(cell.textContent.replace(arguments[1], '-')))))",
        f"{selector} table",
        MINUS,
    )


def shown(page, scene, count):
    return torch.tensor(grids(page, f"[data-scene={scene}] .results")[:count]).double()


def test_the_demo_steps_to_its_end_with_the_layer_s_numbers(visit, file):
    page, (data, _, y, *_) = visit(file), tensors(ConvDemoOptions())
    for number, step in enumerate(data["forward"]["steps"]):
        assert page.text("#counter") == f"Step {number + 1} of 18"
        assert page.text("#told").endswith(f"= {step['value']}".replace("-", MINUS))
        terms = grids(page, "[data-scene=forward] .terms")
        for term, products in enumerate(step["products"]):
            assert [n for row in terms[3 * term + 2] for n in row] == products
        sums = page(
            "[...document.querySelectorAll('[data-scene=forward] .sum')].map((s) => s.value)"
        )
        assert sums == [f"= {value}".replace("-", MINUS) for value in step["sums"]]
        assert page("document.querySelectorAll('.matrices .y td.current').length") == 1
        page.click("#forward")
    assert torch.equal(shown(page, "forward", 2), y)
    column = page(
        "[...document.querySelectorAll('.product table:nth-child(2) td.row')]"
        ".map((cell) => Number(cell.textContent))"
    )
    assert column == [row[-1] for row in data["matrices"]["x_col"]]


def test_both_gradients_and_pooling_are_shown(visit, file):
    page, (data, _, _, dx, dw, _) = visit(file), tensors(ConvDemoOptions())
    page.click("#tab-backward")
    page.click("#last")
    assert torch.equal(shown(page, "input", 3), dx)
    page.click("input[value=weight]")
    page.click("#last")
    assert torch.equal(shown(page, "weight", 6), dw.flatten(0, 1))
    page.click("#tab-pooling")
    page.click("#last")
    pool, unpool = results(data["pool"]), results(data["unpool"])
    switches = torch.tensor(data["pool"]["switches"]).double()
    assert torch.equal(shown(page, "pool", 6), torch.cat((pool, switches)))
    page.click("input[value=unpool]")
    page.click("#last")
    assert torch.equal(shown(page, "unpool", 3), unpool)


def test_the_keyboard_alone(visit, file):
    Keys = pytest.importorskip("selenium.webdriver.common.keys").Keys
    page = visit(file)
    page.keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert page.text("#counter") == "Step 2 of 18"
    page.keys(Keys.END)
    assert page.text("#counter") == "Step 18 of 18"
    page.keys(Keys.HOME)
    page.tab_to("#tab-forward")
    page.keys(Keys.ARROW_RIGHT)
    assert page.one("#tab-backward").get_attribute("aria-selected") == "true"
    assert page("document.activeElement.id") == "tab-backward"
    assert page.one("#panel-backward").is_displayed()
    assert not page.one("#panel-forward").is_displayed()
    page.tab_to("#play")
    page.keys(Keys.SPACE)
    assert page.text("#play") == "Pause"
    page.keys(Keys.SPACE)
    assert page.text("#play") == "Play"
    page.tab_to("#slider")
    page.keys(Keys.END)
    assert page.text("#counter") == "Step 75 of 75"


def test_playing_reaches_the_end_and_stops(visit, file):
    page = visit(file)
    page("document.getElementById('speed').value = '250'")
    page("document.querySelectorAll('[data-scene=forward] .results td')[15].click()")
    assert page.text("#counter") == "Step 16 of 18"
    page.click("#play")
    page.wait("document.getElementById('play').textContent === 'Play'")
    assert page.text("#counter") == "Step 18 of 18"


def test_a_phone_scrolls_down_only(visit, file):
    page = visit(file, width=360, height=740)
    assert not page.overflow()
    for tab, radio in (("backward", "weight"), ("pooling", "unpool")):
        page.click(f"#tab-{tab}")
        assert not page.overflow()
        page.click(f"input[value={radio}]")
        assert not page.overflow()
