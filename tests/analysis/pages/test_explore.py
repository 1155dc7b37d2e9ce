"""The page of a network: what a browser computes for a unit is the network's own activation."""

import json
import random
import re
from collections import Counter

import pytest
import torch

import layers
import models
from analysis.pages import explore as exploring
from analysis.pages.explore import MAX_BYTES, Picture, explore
from analysis.pages.values import values

EVERY_KIND = (
    "INPUT -> CONV3-4s2 -> BN -> RELU -> LRN3 -> MAXPOOL3s2p1 -> LOCAL3-6 -> TANH -> CONV3-6g2d2 "
    "-> L2POOL2s1 -> AVGPOOL3s1p1 -> DROPOUT0.5 -> [FC9 -> RELU] -> FC"
)


class Branches(torch.nn.Module):
    """What patterns have not: additions, concatenations, padding, a layer called twice."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = layers.Conv2d(1, 4, 3, padding=1), layers.Conv2d(4, 4, 3)
        self.relu = torch.nn.ReLU(inplace=True)
        self.pool, self.fc = layers.AdaptiveAvgPool2d(1), layers.Linear(8, 3)

    def forward(self, x):
        x = self.relu(self.conv1(x))
        y = torch.nn.functional.pad(x, (1, 1, 1, 1))
        y = self.relu(self.conv2(y)) * 0.5 - 0.25
        x = torch.cat((x + y, y), 1)
        return self.fc(self.pool(x).flatten(1))


def network(name):
    if name == "branches":
        return Branches().eval(), 1, 12
    channels = 3 if name in ("pattern", "large") else 1
    patterns = {
        "pattern": EVERY_KIND,
        "large": "INPUT -> [CONV3-64 -> RELU -> POOL2]*2 -> FC60 -> FC",
    }
    size = {"pattern": 17, "alexnet": 67}.get(name, 32)
    pattern = patterns.get(name, name)
    model = models.build(pattern, in_channels=channels, image_size=size, num_classes=10)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.normal_(module.weight)
    return model.eval(), channels, size


def build(name, images=1):
    """The page of a network with random weights, the network and what it sees."""
    model, channels, size = network(name)
    pixels = torch.rand(images, channels, size, size)
    x = 2 * pixels - 1
    pictures = [Picture(f"noise {i}", one, i) for i, one in enumerate(pixels)]
    classes = [f"class {i}" for i in range(10)]
    return explore(name, model, pictures, x, classes, "random"), model, x


def contents(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])


@pytest.fixture
def write(tmp_path):
    def write(page):
        (tmp_path / "page.html").write_text(page, encoding="utf-8")
        return tmp_path / "page.html"

    return write


def activations(model, x):
    """By hooks: the output of every module at every call; name#2 is the second one."""
    seen, calls = {}, Counter()

    def watch(name):
        def hook(module, inputs, output):
            calls[name] += 1
            seen[name if calls[name] == 1 else f"{name}#{calls[name]}"] = output.clone()

        return hook

    hooks = [module.register_forward_hook(watch(name)) for name, module in model.named_modules()]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return seen


def unit_of(shape):
    return [random.randrange(length) for length in shape]


@pytest.mark.parametrize("name", ["lenet", "lenet5", "pattern", "branches"])
def test_units_add_up_to_their_activations(visit, write, name):
    page, model, x = build(name)
    browser, seen, compared = visit(write(page)), activations(model, x), set()
    calls = values(model, x)[0].outputs
    tried = [
        (layer, unit_of(layer["shape"])) for layer in contents(page)["layers"] for _ in "12345"
    ]
    explained = browser(
        "arguments[0].map(([layer, at]) => units[network.layers[layer].kind]("
        "network, network.layers[layer], 0, at))"
        ".map(({total, missing}) => ({total, missing}))",
        [[order(browser)[layer["name"]], at] for layer, at in tried],
    )
    for (layer, at), how in zip(tried, explained, strict=True):
        if layer["kind"] == "other":
            assert "not shown here" in how["missing"]
            continue
        output = seen.get(layer["name"], calls[layer["name"]])
        assert how["total"] == pytest.approx(float(output[0][tuple(at)]), rel=1e-4, abs=1e-5)
        compared.add(layer["kind"])
    expected = {
        "lenet": {"convolution", "relu", "maximum", "flatten", "linear", "input"},
        "lenet5": {"convolution", "tanh", "average", "scale"},
        "pattern": {"batch_norm", "response_norm", "local", "norm", "average", "same"},
        "branches": {"add", "concatenation", "padding", "scale"},
    }
    assert expected[name] <= compared


def number(text):
    return float(text.replace("\N{MINUS SIGN}", "-"))


def open_layer(browser, name):
    browser.click(f"#layers button[data-layer='{order(browser)[name]}']")


def order(browser):
    return browser("Object.fromEntries(network.layers.map((l) => [l.name, l.number]))")


def set_unit(browser, at):
    for axis, value in enumerate(at):
        field = browser.all("#place input")[axis]
        field.clear()
        field.send_keys(str(value), "\ue007")  # Enter


def test_clicking_down_to_units(visit, write):
    page, model, x = build("lenet")
    browser, seen = visit(write(page)), activations(model, x)
    for name, at in (
        ("features.0", [5, 3, 20]), ("features.1", [2, 0, 0]), ("features.2", [1, 13, 2]),
        ("features.3", [15, 9, 0]), ("classifier.0", [119]), ("classifier.4", [7]),
    ):  # fmt: skip
        open_layer(browser, name)
        set_unit(browser, at)
        expected = float(seen[name][0][tuple(at)])
        assert browser.text("#told").startswith(f"{name}{at} = ")
        for shown in ("#told .value", ".total"):
            assert number(browser.text(shown)) == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_a_convolution_shows_its_patch_weights_and_products(visit, write):
    page, model, x = build("lenet")
    browser, seen = visit(write(page)), activations(model, x)
    open_layer(browser, "features.3")
    set_unit(browser, [3, 4, 5])
    tables = browser(
        "[...document.querySelectorAll('#workings table')].map((t) =>"
        "[...t.querySelectorAll('td')].map((cell) => cell.textContent))"
    )
    patch, weights = seen["features.2"][0, :, 4:9, 5:10], model.features[3].weight.detach()[3]
    assert len(tables) == 3 * 6
    for channel in range(6):
        for table, expected in zip(
            tables[3 * channel : 3 * channel + 3],
            (patch[channel], weights[channel], patch[channel] * weights[channel]),
            strict=True,
        ):
            assert torch.allclose(
                torch.tensor([*map(number, table)]), expected.flatten(), atol=6e-3
            )
    caption = browser.text("#seen-caption")
    assert "row 8 to 21, column 10 to 23" in caption  # 14 pixels, 2 apart
    product = "16 · (6 x 5 x 5 + 1) = 2,416".replace("x", "\N{MULTIPLICATION SIGN}")
    assert product in browser.text("#facts")
    relu = max(0.0, float(seen["features.3"][0, 3, 4, 5]))
    shown = browser.text(".links .equation").split("= ")[1]
    assert number(shown) == pytest.approx(relu, rel=1e-3, abs=1e-4)


def test_the_switch_is_the_layer_s_and_can_be_followed(visit, write):
    page, model, x = build("lenet")
    browser, seen = visit(write(page)), activations(model, x)
    _, switches = layers.functional.max_pool2d_with_switches(seen["features.1"], 2)
    open_layer(browser, "features.2")
    for at in ([0, 0, 0], [3, 7, 9], [5, 13, 13]):
        set_unit(browser, at)
        switch = int(switches[0][tuple(at)])
        assert f"switch {switch} points" in browser.text(".equation")
        marks = "[...document.querySelectorAll('#workings td')].map((c) => c.matches('.winner'))"
        assert browser(marks).index(True) == switch
    row, column = 26 + switch // 2, 26 + switch % 2
    browser.click(".follow")
    assert browser.text("#told").startswith(f"features.1[5, {row}, {column}] = ")


def test_the_keyboard_alone(visit, write):
    keys = pytest.importorskip("selenium.webdriver.common.keys").Keys
    browser = visit(write(build("lenet", images=2)[0]))
    browser.tab_to("#images [aria-checked=true]")
    browser.keys(keys.ARROW_RIGHT)
    assert browser.text("#answer").startswith("noise 1")
    browser.tab_to("#layers li:nth-child(3) button")
    browser.keys(keys.ENTER)
    assert browser("document.activeElement.id") == "layer-title"
    assert browser.text("#layer-title") == "ReLU, features.1"
    browser.tab_to("#maps [data-map='4']")
    browser.keys(keys.SPACE)
    assert browser.text("#told").startswith("features.1[4, ")
    browser("state.at = [4, 10, 10]")
    browser.tab_to("#plane")
    browser.keys(keys.ARROW_DOWN, keys.ARROW_DOWN, keys.ARROW_LEFT)
    assert browser.text("#told").startswith("features.1[4, 12, 9] = ")
    assert browser.one("#told").get_attribute("aria-live") == "polite"


def test_another_image_has_other_activations(visit, write):
    page, model, x = build("lenet", images=2)
    browser, seen = visit(write(page)), activations(model, x)
    open_layer(browser, "classifier.4")
    for image in (0, 1):
        browser.click(f"#images button:nth-child({image + 1})")
        set_unit(browser, [3])
        expected = float(seen["classifier.4"][image, 3])
        assert number(browser.text("#told .value")) == pytest.approx(expected, rel=1e-3)
        top = browser.text("#top li span")
        assert top == f"class {int(seen['classifier.4'][image].argmax())}"


def test_every_control_has_a_name(visit, write):
    browser = visit(write(build("lenet")[0]))
    for control in browser.all("button, input, [tabindex='0'], [role]"):
        if control.is_displayed():
            assert control.accessible_name or control.text, control.get_attribute("outerHTML")


def test_a_phone_scrolls_down_only(visit, write):
    browser = visit(write(build("lenet")[0]), width=360, height=740)
    for name in ("features.0", "features.2", "classifier.0", "classifier.4"):
        open_layer(browser, name)
        assert not browser.overflow()


def test_a_pattern_of_300_000_weights_is_there_as_a_whole():
    page, model, _ = build("large")
    assert 280_000 < sum(p.numel() for p in model.parameters()) <= 300_000
    assert len(page) <= MAX_BYTES
    assert "too large" not in page
    assert all(
        layer["maps"] is None and layer["rows"] is None for layer in contents(page)["layers"]
    )


def test_a_large_network_shows_a_choice_of_maps_and_says_so(visit, write):
    page, model, x = build("alexnet")
    assert len(page) <= MAX_BYTES
    browser, seen = visit(write(page)), activations(model, x)
    assert "too large for one page" in browser.text(".limited")
    layer = next(one for one in contents(page)["layers"] if one["name"] == "features.9")
    open_layer(browser, "features.9")
    spread = seen["features.10"][0].flatten(1).std(1, correction=0)
    assert layer["maps"] == spread.argsort(descending=True)[: len(layer["maps"])].tolist()
    at = [layer["maps"][-1], 1, 2]
    set_unit(browser, at)
    assert "not on this page" in browser.text(".equation")
    value = float(seen["features.9"][0][tuple(at)])
    assert number(browser.text(".total")) == pytest.approx(value, rel=1e-3, abs=1e-4)
    others = next(map for map in range(384) if map not in layer["maps"])
    set_unit(browser, [others, 0, 0])
    assert browser.text("#no-unit") == f"The numbers of map {others} are not on this page."


def test_of_an_image_all_channels_are_there(monkeypatch):
    monkeypatch.setattr(exploring, "PLANS", [exploring.Plan(1, 2, 24)])
    image, first, *_ = contents(build("pattern")[0])["layers"]
    assert (image["maps"], image["drawn"]) == (None, [0, 1, 2])
    assert len(first["maps"]) == 1
    assert len(first["drawn"]) == 2


def test_a_network_of_too_many_layers_is_refused(monkeypatch):
    monkeypatch.setattr(exploring, "MAX_BYTES", 50_000)
    with pytest.raises(ValueError, match="no room for the 12 layers of this network"):
        build("lenet")


def test_one_of_several_outputs_is_not_explained():
    class Halves(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = layers.Conv2d(1, 4, 3), layers.Linear(2, 3)

        def forward(self, x):
            _, second = self.conv(x).chunk(2, 1)
            return self.fc(second.relu().mean((2, 3)))

    x = torch.rand(1, 1, 8, 8)
    page = explore("halves", Halves().eval(), [Picture("noise", x[0])], x, ["a", "b", "c"])
    kinds = {layer["name"]: layer["kind"] for layer in contents(page)["layers"]}
    assert kinds["chunk"] == kinds["relu"] == "other"
