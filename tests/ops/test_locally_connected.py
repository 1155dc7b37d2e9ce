"""The locally connected trio: against loops, an unfolded product, a convolution, and each other."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from layers.ops.geometry import Geometry
from tests import reference
from tests.cases import CONV, LAYOUTS, table
from tests.ops import definitions as ops

CASES = [case for case in CONV if not isinstance(case.padding, str)]
WHOLE = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
EXACT = dict(rtol=1e-12, atol=1e-12)


def geometry_of(case):
    return Geometry(case.kernel, case.stride, case.padding, case.dilation, case.groups)


def numbers(case, dtype=torch.float64):
    """Images, weights and a gradient of the outputs, of small whole numbers if of a whole dtype."""
    output_size = geometry_of(case).output_size(case.image[2:])
    size = case.image[1] // case.groups * case.kernel[0] * case.kernel[1]
    shapes = (
        case.image,
        (*output_size, case.groups, size, case.filters // case.groups),
        (case.image[0], case.filters, *output_size),
    )
    if dtype in WHOLE:
        return [torch.randint(0, 4, shape, dtype=dtype) for shape in shapes]
    return [torch.randn(shape, dtype=dtype) for shape in shapes]


def trio(x, weight, g, geometry):
    """What the three operators make of each pair."""
    return (
        ops.locally_connected2d(x, weight, geometry),
        ops.locally_connected2d_input(weight, g, geometry, tuple(x.shape[2:])),
        ops.locally_connected2d_weight(x, g, geometry),
    )


@table(CASES)
def test_equals_the_definition(case):
    x, weight, g = numbers(case)
    y, dx, dw = trio(x, weight, g, geometry_of(case))
    options, size = dict(kernel=case.kernel, **case.options), case.image[2:]
    assert_close(y, reference.locally_connected2d(x, weight, **options), **EXACT)
    assert_close(dx, reference.locally_connected2d_input(weight, g, size, **options), **EXACT)
    assert_close(dw, reference.locally_connected2d_weight(x, g, **options), **EXACT)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@table(CASES)
def test_equals_a_product_of_windows_and_weights(case, layout, dtype):
    """As a textbook has it: torch.nn has no such layer."""
    x, weight, g = numbers(case, dtype)
    x, g = layout(x).requires_grad_(), layout(g)
    weight.requires_grad_()
    windows = F.unfold(x, case.kernel, case.dilation, case.padding, case.stride)
    taps = case.kernel[0] * case.kernel[1]
    y = torch.einsum(
        "ngctp,pgtco->ngop",
        windows.unflatten(1, (case.groups, -1, taps)),
        weight.flatten(0, 1).unflatten(2, (taps, -1)),
    )
    y = y.flatten(1, 2).unflatten(2, weight.shape[:2])
    dx, dw = torch.autograd.grad(y, (x, weight), g)
    x, weight, geometry = x.detach(), weight.detach(), geometry_of(case)
    assert_close(ops.locally_connected2d(x, weight, geometry), y, **EXACT)
    # A gradient is conjugate-linear in the other factor; the operators are linear in both.
    size = case.image[2:]
    assert_close(ops.locally_connected2d_input(weight.conj(), g, geometry, size), dx, **EXACT)
    assert_close(ops.locally_connected2d_weight(x.conj(), g, geometry), dw, **EXACT)


@table(CASES)
def test_the_same_weights_everywhere_are_a_convolution(case):
    (x, untied, g), geometry = numbers(case), geometry_of(case)
    weight = torch.randn(case.weight, dtype=torch.float64)
    rows = weight.permute(0, 2, 3, 1).flatten(1).unflatten(0, (case.groups, -1)).mT
    y, dx, dw = trio(x, rows.expand(untied.shape), g, geometry)
    assert_close(y, ops.conv2d(x, weight, geometry), **EXACT)
    assert_close(dx, ops.conv2d_input(weight, g, geometry, case.image[2:]), **EXACT)
    tied = dw.sum((0, 1)).mT.flatten(0, 1).unflatten(1, (*case.kernel, -1)).permute(0, 3, 1, 2)
    assert_close(tied, ops.conv2d_weight(x, g, geometry), **EXACT)


@table(CASES)
def test_one_scalar_computed_three_ways(case):
    """<g, C(x, w)> = <x, C_input(w, g)> = <w, C_weight(x, g)>: the trio is one trilinear form."""
    x, weight, g = numbers(case)
    y, dx, dw = trio(x, weight, g, geometry_of(case))
    assert_close((x * dx).sum(), (g * y).sum(), **EXACT)
    assert_close((weight * dw).sum(), (g * y).sum(), **EXACT)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@table(CASES)
def test_half_precision_is_summed_in_float32_and_rounded_once(case, dtype):
    half, geometry = numbers(case, dtype), geometry_of(case)
    results = trio(*half, geometry), trio(*[t.float() for t in half], geometry)
    for ours, exact in zip(*results, strict=True):
        assert torch.equal(ours, exact.to(dtype))


@pytest.mark.parametrize("dtype", WHOLE, ids=str)
@table(CASES)
def test_whole_numbers_are_summed_exactly(case, dtype):
    whole, geometry = numbers(case, dtype), geometry_of(case)
    results = trio(*whole, geometry), trio(*[t.double() for t in whole], geometry)
    for ours, exact in zip(*results, strict=True):
        assert torch.equal(ours, exact.long().to(dtype))  # modulo the range of the dtype
