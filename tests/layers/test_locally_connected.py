"""The locally connected layer: a convolution with untied weights."""

import itertools
import pickle

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call, grad, vmap
from torch.testing import assert_close

import layers
import layers.functional as L
from layers.locally_connected import LocallyConnectedInput, LocallyConnectedWeight
from tests.cases import CONV, LAYOUTS, doubles, table

CASES = [case for case in CONV if not isinstance(case.padding, str)]


def build(case):
    return layers.LocallyConnected2d(
        case.image[1], case.filters, case.image[2:], case.kernel, **case.options
    ).double()


def call(layer, x, weight, bias):
    return L.locally_connected2d(x, weight, bias, *layer.geometry[:4])


@table(CASES)
def test_equals_the_definition(case):
    layer = build(case)
    (x,) = doubles(case.image, requires_grad=False)
    y = layer(x)
    (kh, kw), (sh, sw), (ph, pw), (dh, dw), groups = layer.geometry
    shared, filters = case.image[1] // groups, case.filters // groups
    expected = layer.bias.detach().expand_as(y).clone()
    for n, co, p, q in itertools.product(*map(range, y.shape)):
        g = co // filters
        weight = layer.weight[p, q, g, :, co % filters].view(kh, kw, shared)
        for i, j in itertools.product(range(kh), range(kw)):
            row, column = p * sh + i * dh - ph, q * sw + j * dw - pw
            if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
                pixels = x[n, g * shared : (g + 1) * shared, row, column]
                expected[n, co, p, q] += (weight[i, j] * pixels).sum()
    assert_close(y, expected)


@pytest.mark.parametrize("layout", LAYOUTS)
@table(CASES)
def test_from_conv_is_the_convolution(case, layout):
    conv = torch.nn.Conv2d(case.image[1], case.filters, case.kernel, **case.options).double()
    layer = layers.LocallyConnected2d.from_conv(conv, case.image[2:])
    (x,) = doubles(case.image)
    ours, theirs = layer(layout(x)), conv(layout(x))
    assert_close(ours, theirs)
    upstream = torch.randn_like(theirs)
    assert_close(
        *(torch.autograd.grad(y, x, upstream, retain_graph=True)[0] for y in (ours, theirs))
    )
    # the shared weights' gradient is the sum over positions of the untied ones'
    (untied,) = torch.autograd.grad(ours, layer.weight, upstream)
    (tied,) = torch.autograd.grad(theirs, conv.weight, upstream)
    rows = tied.permute(0, 2, 3, 1).reshape(conv.groups, -1, untied.shape[3])
    assert_close(untied.sum((0, 1)), rows.mT)


@table([case for case in CASES if case.image[0]])
def test_derivatives(case):
    layer = build(case)
    x, weight, bias = doubles(case.image, layer.weight.shape, layer.bias.shape)

    def f(x, weight, bias):
        return call(layer, x, weight, bias)

    assert gradcheck(f, (x, weight, bias), fast_mode=True, check_forward_ad=True)
    assert gradgradcheck(f, (x, weight, bias), fast_mode=True)


@table(CASES)
def test_one_scalar_computed_three_ways(case):
    layer = build(case)
    x, weight = doubles(case.image, layer.weight.shape, requires_grad=False)
    y = call(layer, x, weight, None)
    g = torch.randn_like(y)
    scalar, geometry, options = (g * y).sum(), layer.geometry.flatten(), (False, True)
    dx = LocallyConnectedInput.apply(weight, g, geometry, case.image[2:], *options)
    dw = LocallyConnectedWeight.apply(x, g, geometry, *options)
    assert_close((x * dx).sum(), scalar)
    assert_close((weight * dw).sum(), scalar)


def test_weights_differ_between_positions_and_counts():
    with torch.device("meta"):
        layer = layers.LocallyConnected2d(3, 96, 227, 11, stride=4)
    assert sum(p.numel() for p in layer.parameters()) == 105_705_600  # the chapter's figure
    assert layer.weight.shape == (55, 55, 1, 363, 96)


def test_weight_layout_of_jax():
    """lax.conv_general_dilated_local: kernel (H_out, W_out, C*K_h*K_w, C_out), channel first."""
    layer = layers.LocallyConnected2d(3, 5, 6, 2).double()
    theirs = layer.to_jax()
    assert theirs.shape == (5, 5, 3 * 2 * 2, 5)
    x = torch.randn(1, 3, 6, 6, dtype=torch.float64)
    window = x[0, :, 2:4, 3:5].reshape(-1)
    assert_close(layer(x)[0, :, 2, 3], window @ theirs[2, 3] + layer.bias[:, 2, 3])
    other = layers.LocallyConnected2d(3, 5, 6, 2).double()
    other.load_jax(theirs)
    assert torch.equal(other.weight, layer.weight)
    with pytest.raises(ValueError, match="one group"):
        layers.LocallyConnected2d(4, 4, 6, 2, groups=2).to_jax()
    with pytest.raises(ValueError, match=r"\(5, 5, 12, 5\)"):
        other.load_jax(theirs[:2])


def test_contract():
    layer, x = layers.LocallyConnected2d(3, 4, 6, 3, padding=1, groups=1), torch.randn(2, 3, 6, 6)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert_close(compiled(x), layer(x))
    assert layer.to("meta")(x.to("meta")).shape == (2, 4, 6, 6)


def test_per_sample_gradients():
    layer, x = layers.LocallyConnected2d(4, 4, 5, 3, groups=2), torch.randn(3, 4, 5, 5)
    parameters = {k: v.detach() for k, v in layer.named_parameters()}

    def loss(parameters, image):
        return functional_call(layer, parameters, (image[None],)).pow(2).sum()

    together = vmap(grad(loss), in_dims=(None, 0))(parameters, x)
    for i in range(3):
        alone = grad(loss)(parameters, x[i])
        assert_close({k: v[i] for k, v in together.items()}, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernel", [3, 4, (2, 3), (5, 2)], ids=str)
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_padding_in_words(padding, kernel):
    conv = torch.nn.Conv2d(3, 4, kernel, padding=padding, dilation=2)
    layer = layers.LocallyConnected2d.from_conv(conv, (12, 13))
    x = torch.randn(2, 3, 12, 13)
    assert_close(layer(x), conv(x), rtol=1e-4, atol=1e-5)
    assert layer.weight.shape[:2] == conv(x).shape[2:]
    assert f"padding={padding}" in repr(layer)
    assert_close(pickle.loads(pickle.dumps(layer))(x), layer(x))
    function = L.locally_connected2d(
        x, layer.weight, layer.bias, kernel, padding=padding, dilation=2
    )
    assert torch.equal(function, layer(x))


def test_device_and_dtype():
    options = dict(in_channels=3, out_channels=4, image_size=6, kernel_size=3)
    layer = layers.LocallyConnected2d(**options, device="meta", dtype=torch.float64)
    for parameter in layer.parameters():
        assert parameter.is_meta
        assert parameter.dtype == torch.float64
    layer = torch.nn.utils.skip_init(layers.LocallyConnected2d, **options, dtype=torch.float64)
    layer.reset_parameters()
    assert layer(torch.randn(2, 3, 6, 6).double()).shape == (2, 4, 4, 4)


def test_memory_format_is_of_volumes_and_weights_are_none():
    """`to(memory_format=torch.channels_last)` changes what has four dimensions, nothing else."""
    layer, x = layers.LocallyConnected2d(3, 4, 6, 3), torch.randn(2, 3, 6, 6)
    network = torch.nn.Sequential(layers.Conv2d(3, 3, 3, padding=1), layer).requires_grad_()
    expected, names = network(x), list(network.state_dict())
    network(x).sum().backward()  # gradients move with their parameters
    shapes = [p.shape for p in network.parameters()]
    network.to(memory_format=torch.channels_last)
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert layer.weight.is_contiguous()
    assert layer.weight.grad.shape == layer.weight.shape
    assert list(network.state_dict()) == names
    assert [p.shape for p in network.parameters()] == shapes
    assert_close(network(x), expected)
    weight = layer.weight
    assert network.double().to(torch.float32)[1].weight is weight  # optimisers know it by identity
    layer.share_memory()
    assert layer.weight.is_shared()


def test_errors():
    layer = layers.LocallyConnected2d(3, 4, 6, 3)
    with pytest.raises(RuntimeError, match="another image size"):
        layer(torch.randn(1, 3, 7, 7))
    with pytest.raises(RuntimeError, match="has 18"):
        layer(torch.randn(1, 2, 6, 6))
    with pytest.raises(RuntimeError, match="one dtype"):
        layer(torch.randn(1, 3, 6, 6).double())
    with pytest.raises(RuntimeError, match=r"biases must be \(C_out, H_out, W_out\)"):
        call(layer, torch.randn(1, 3, 6, 6), layer.weight, torch.zeros(4, 4))
    with pytest.raises(RuntimeError, match="at least 1"):
        layers.LocallyConnected2d(3, 4, 6, 3, stride=0)
    with pytest.raises(RuntimeError, match="needs images"):
        layer(torch.randn(3, 6))
    with pytest.raises(ValueError, match="2 groups"):
        layers.LocallyConnected2d(3, 4, 6, 3, groups=2)
    with pytest.raises(ValueError, match="zero padding"):
        layers.LocallyConnected2d.from_conv(
            torch.nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), 5
        )
    assert layer(torch.randn(3, 6, 6)).shape == (4, 4, 4)
    assert "image_size=(6, 6)" in repr(layer)
