"""The three convolutions: against loops, against torch.nn, and against each other."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from layers.ops.conv import fold, unfold
from layers.ops.geometry import Geometry
from tests import reference
from tests.cases import CONV, LAYOUTS, doubles, table
from tests.ops import definitions as ops

NUMBERED = [case for case in CONV if not isinstance(case.padding, str)]
WHOLE = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
EXACT = dict(rtol=1e-12, atol=1e-12)


def geometry_of(case):
    return Geometry(case.kernel, case.stride, case.padding, case.dilation, case.groups)


def numbers(case, dtype=torch.float64):
    """Images, filters and a gradient of the outputs, of small whole numbers if of a whole dtype."""
    output_size = geometry_of(case).output_size(case.image[2:])
    shapes = case.image, case.weight, (case.image[0], case.filters, *output_size)
    if dtype in WHOLE:
        return [torch.randint(0, 4, shape, dtype=dtype) for shape in shapes]
    return [torch.randn(shape, dtype=dtype) for shape in shapes]


def trio(x, weight, g, geometry):
    """What the three operators make of each pair."""
    return (
        ops.conv2d(x, weight, geometry),
        ops.conv2d_input(weight, g, geometry, tuple(x.shape[2:])),
        ops.conv2d_weight(x, g, geometry),
    )


@table(NUMBERED)
def test_equals_the_definition(case):
    x, weight, g = numbers(case)
    options, no_bias = case.options, torch.zeros(case.filters)
    y, dx, dw = trio(x, weight, g, geometry_of(case))
    assert_close(y, reference.conv2d(x, weight, no_bias, **options), **EXACT)
    assert_close(dx, reference.conv2d_input(weight, g, case.image[2:], **options), **EXACT)
    assert_close(dw, reference.conv2d_weight(x, g, case.kernel, **options), **EXACT)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@table(NUMBERED)
def test_equals_torch(case, layout, dtype):
    (x, weight, g), geometry = numbers(case, dtype), geometry_of(case)
    x, g = layout(x).requires_grad_(), layout(g)
    weight.requires_grad_()
    y = F.conv2d(x, weight, **case.options)
    dx, dw = torch.autograd.grad(y, (x, weight), g)
    x, weight = x.detach(), weight.detach()
    assert_close(ops.conv2d(x, weight, geometry), y, **EXACT)
    # A gradient is conjugate-linear in the other factor; the operators are linear in both.
    assert_close(ops.conv2d_input(weight.conj(), g, geometry, case.image[2:]), dx, **EXACT)
    assert_close(ops.conv2d_weight(x.conj(), g, geometry), dw, **EXACT)


@table(NUMBERED)
def test_one_scalar_computed_three_ways(case):
    """<g, C(x, w)> = <x, C_input(w, g)> = <w, C_weight(x, g)>: the trio is one trilinear form."""
    x, weight, g = numbers(case)
    y, dx, dw = trio(x, weight, g, geometry_of(case))
    assert_close((x * dx).sum(), (g * y).sum(), **EXACT)
    assert_close((weight * dw).sum(), (g * y).sum(), **EXACT)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@table(NUMBERED)
def test_half_precision_is_summed_in_float32_and_rounded_once(case, dtype):
    half, geometry = numbers(case, dtype), geometry_of(case)
    results = trio(*half, geometry), trio(*[t.float() for t in half], geometry)
    for ours, exact in zip(*results, strict=True):
        assert torch.equal(ours, exact.to(dtype))


@pytest.mark.parametrize("dtype", WHOLE, ids=str)
@table(NUMBERED)
def test_whole_numbers_are_summed_exactly(case, dtype):
    whole, geometry = numbers(case, dtype), geometry_of(case)
    results = trio(*whole, geometry), trio(*[t.double() for t in whole], geometry)
    for ours, exact in zip(*results, strict=True):
        assert torch.equal(ours, exact.long().to(dtype))  # modulo the range of the dtype
    if case.dilation == (1, 1):  # which torch computes
        assert torch.equal(results[0][0], F.conv2d(*whole[:2], **case.options))


def test_int64_is_not_computed_by_way_of_floats():
    x, one = torch.tensor([2**53 + 1, 2**62 + 3]).view(2, 1, 1, 1), torch.ones(1, 1, 1, 1)
    geometry = Geometry((1, 1))
    assert torch.equal(ops.conv2d(x, one.long(), geometry), x)
    assert torch.equal(ops.conv2d_input(one.long(), x, geometry, (1, 1)), x)
    assert ops.conv2d_weight(x, x[:, :1] * 0 + 1, geometry).item() == 2**53 + 1 + 2**62 + 3


@pytest.mark.parametrize("image", [(2, 4, 0, 8), (0, 4, 0, 8), (0, 4, 5, 5)], ids=str)
def test_images_of_nothing_but_padding(image):
    geometry = Geometry((3, 3), padding=(2, 2))
    x, weight = doubles(image, (6, 4, 3, 3), requires_grad=False)
    y = ops.conv2d(x, weight, geometry)
    assert torch.equal(y, y.new_zeros(image[0], 6, image[2] + 2, image[3] + 2))
    assert ops.conv2d_input(weight, y, geometry, image[2:]).shape == image
    assert not ops.conv2d_weight(x, torch.ones_like(y), geometry).any()


def test_a_window_of_nothing_but_padding():
    """The stride leaves the only pixel out."""
    x, weight = doubles((1, 1, 1, 1), (1, 1, 1, 1), requires_grad=False)
    geometry = Geometry((1, 1), (10, 10), (3, 3))
    y, dx, dw = trio(x, weight, torch.ones_like(x), geometry)
    assert y.item() == dx.item() == dw.item() == 0


def test_nan_reaches_the_windows_that_see_it():
    x, weight = torch.zeros(1, 1, 6, 6), torch.ones(1, 1, 3, 3)
    x[0, 0, 2, 3] = torch.nan
    nan = ops.conv2d(x, weight, Geometry((3, 3)))[0, 0].isnan()
    assert nan.nonzero().tolist() == [[p, q] for p in (0, 1, 2) for q in (1, 2, 3)]


@pytest.mark.parametrize("output_size", [(3, 4), (4, 4), (2, 3)], ids=str)
def test_unfold_and_fold_are_adjoint(output_size):
    """Windows that end at the border, hang over it, or leave pixels over."""
    geometry = Geometry((3, 2), (2, 2), (1, 0), (1, 2))
    (x,) = doubles((2, 3, 6, 9), requires_grad=False)
    windows = unfold(x, geometry, output_size)
    assert windows.shape == (2, 3, *output_size, 3, 2)
    u = torch.randn_like(windows)
    assert_close((u * windows).sum(), (x * fold(u, geometry, (6, 9))).sum())


def test_inputs_are_left_alone():
    x, weight, g = (torch.ones(shape) for shape in ((1, 2, 4, 4), (2, 2, 1, 1), (1, 2, 4, 4)))
    for result in trio(x, weight, g, Geometry((1, 1))):
        result.fill_(7)
    assert all((t == 1).all() for t in (x, weight, g))
