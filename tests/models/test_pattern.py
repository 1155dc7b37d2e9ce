"""Layer patterns: the chapter's examples, its table of VGG, its sizing rules, and every mistake."""

import copy
import pickle
import warnings

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch.testing import assert_close

import layers
import models
from models.pattern import HIDDEN, PatternError, parse
from models.pattern_network import PatternNetwork

VGG16 = (
    "INPUT[3x224x224] -> [[CONV3-64 -> RELU]*2 -> POOL2] -> [[CONV3-128 -> RELU]*2 -> POOL2] -> "
    "[[CONV3-256 -> RELU]*3 -> POOL2] -> [[CONV3-512 -> RELU]*3 -> POOL2]*2 -> "
    "[FC4096 -> RELU]*2 -> FC"
)
EVERY_WORD = (
    "INPUT[4x16x16] -> CONV3-8g2 -> BN -> TANH -> LRN3 -> L2POOL2 -> CONV3-6d2 -> RELU -> "
    "LOCAL3-4 -> RELU -> AVGPOOL2 -> MAXPOOL3s1p1 -> POOL2 -> DROPOUT0 -> FC12 -> TANH -> FC"
)


def built(pattern, **options):
    """Build on the meta device, where even the largest network takes no time."""
    with torch.device("meta"):
        return models.build(pattern, **options)


def layer_words(pattern):
    return " ".join(layer.word for layer in parse(pattern).layers)


# The chapter's five examples, "Layer Patterns"
@pytest.mark.parametrize(
    ("pattern", "expanded", "parameters"),
    [
        ("INPUT -> FC", "FC", 32 * 32 * 3 * 10 + 10),
        (
            "INPUT -> CONV -> RELU -> FC",
            "CONV RELU FC",
            (27 + 1) * 64 + 32 * 32 * 64 * 10 + 10,
        ),
        (
            "INPUT -> [CONV -> RELU -> POOL]*2 -> FC -> RELU -> FC",
            "CONV RELU POOL CONV RELU POOL FC RELU FC",
            (27 + 1) * 64 + (9 * 64 + 1) * 64 + (64 * 64 + 1) * HIDDEN + (HIDDEN + 1) * 10,
        ),
        (
            "INPUT -> [CONV -> RELU -> CONV -> RELU -> POOL]*3 -> [FC -> RELU]*2 -> FC",
            "CONV RELU CONV RELU POOL " * 3 + "FC RELU FC RELU FC",
            (27 + 1) * 64 + (9 * 64 + 1) * 64 * 5
            + (16 * 64 + 1) * HIDDEN + (HIDDEN + 1) * HIDDEN + (HIDDEN + 1) * 10,
        ),
    ],
)  # fmt: skip
def test_the_chapter_s_examples(pattern, expanded, parameters):
    assert layer_words(pattern) == expanded
    network = built(pattern, in_channels=3, image_size=32)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert network(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 10)


@pytest.mark.parametrize("pool", [" -> POOL", ""])
@pytest.mark.parametrize(("n", "m", "k"), [(1, 1, 1), (3, 2, 1), (2, 3, 2)])
def test_the_chapter_s_general_form(n, m, k, pool):
    """INPUT -> [[CONV -> RELU]*N -> POOL?]*M -> [FC -> RELU]*K -> FC."""
    pattern = f"INPUT -> [[CONV -> RELU]*{n}{pool}]*{m} -> [FC -> RELU]*{k} -> FC"
    pooled = ["POOL"] if pool else []
    assert layer_words(pattern).split() == (
        (["CONV", "RELU"] * n + pooled) * m + ["FC", "RELU"] * k + ["FC"]
    )
    network = built(pattern, in_channels=1, image_size=32)
    side = 32 // (2**m if pool else 1)
    assert network.features(torch.empty(1, 1, 32, 32, device="meta")).shape == (1, 64, side, side)


nested = st.recursive(
    st.sampled_from(["CONV3-4", "RELU", "POOL2", "FC7", "DROPOUT0.25", "CONV5-2s2p0"]).map(
        lambda word: (word, [word])
    ),
    lambda items: st.tuples(st.lists(items, min_size=1, max_size=3), st.integers(1, 3)).map(
        lambda group: (
            f"[{' -> '.join(text for text, _ in group[0])}]*{group[1]}",
            [word for _, words in group[0] for word in words] * group[1],
        )
    ),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None)
@given(nested)
def test_nested_repetitions_are_expanded(item):
    text, expected = item
    for written in (f"INPUT -> {text}", f"input->{text.lower().replace(' ', '')}"):
        assert [str(layer) for layer in parse(written).layers] == expected


def test_the_chapter_s_table_of_vgg():
    """Volumes and weights as the chapter prints them, and 138M parameters."""
    rows = [row for row in built(VGG16, num_classes=1000).describe() if "RELU" not in row]
    assert [" ".join(row.split()).replace("weights: ", "") for row in rows] == [
        "INPUT [224x224x3] 0",
        "CONV3-64 [224x224x64] 3*3*3*64 = 1,728",
        "CONV3-64 [224x224x64] 3*3*64*64 = 36,864",
        "POOL2 [112x112x64] 0",
        "CONV3-128 [112x112x128] 3*3*64*128 = 73,728",
        "CONV3-128 [112x112x128] 3*3*128*128 = 147,456",
        "POOL2 [56x56x128] 0",
        "CONV3-256 [56x56x256] 3*3*128*256 = 294,912",
        "CONV3-256 [56x56x256] 3*3*256*256 = 589,824",
        "CONV3-256 [56x56x256] 3*3*256*256 = 589,824",
        "POOL2 [28x28x256] 0",
        "CONV3-512 [28x28x512] 3*3*256*512 = 1,179,648",
        "CONV3-512 [28x28x512] 3*3*512*512 = 2,359,296",
        "CONV3-512 [28x28x512] 3*3*512*512 = 2,359,296",
        "POOL2 [14x14x512] 0",
        *["CONV3-512 [14x14x512] 3*3*512*512 = 2,359,296"] * 3,
        "POOL2 [7x7x512] 0",
        "FC4096 [1x1x4096] 7*7*512*4096 = 102,760,448",
        "FC4096 [1x1x4096] 4096*4096 = 16,777,216",
        "FC1000 [1x1x1000] 4096*1000 = 4,096,000",
    ]
    assert sum(p.numel() for p in built(VGG16, num_classes=1000).parameters()) == 138_357_544


def test_described_volumes_and_weights_are_those_of_the_network():
    network = models.build(EVERY_WORD)
    modules = [*network.features, *network.classifier]
    x = torch.randn(2, 4, 16, 16)
    for (label, volume, weights), module in zip(network.rows[1:], modules, strict=True):
        x = module(torch.flatten(x, 1) if isinstance(module, torch.nn.Linear) else x)
        assert x.shape[1:] == (volume if x.dim() == 4 else (volume.channels,)), label
        assert torch.Size(weights).numel() == (module.weight.numel() if weights else 1), label
        assert bool(weights) == bool(list(module.parameters()))


def test_both_layer_sets_have_the_same_state_logits_and_gradients():
    networks = []
    for nn in (layers, torch.nn):
        torch.manual_seed(0)
        networks.append(models.build(EVERY_WORD, nn=nn, num_classes=5).double())
    ours, theirs = networks
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = torch.randn(3, 4, 16, 16, dtype=torch.float64)
    for network in networks:
        torch.nn.functional.cross_entropy(network(x), torch.tensor([0, 4, 2])).backward()
    assert_close(ours(x), theirs(x), rtol=1e-9, atol=1e-9)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert_close(a.grad, b.grad, rtol=1e-9, atol=1e-9)


def test_every_word_builds_its_layer():
    network = models.build(EVERY_WORD, nn=torch.nn)
    conv, norm, tanh, lrn, l2, dilated, relu, local, _, average, overlapping, pool, drop = (
        network.features
    )
    assert (conv.kernel_size, conv.stride, conv.padding, conv.groups) == ((3, 3), (1, 1), (1, 1), 2)
    assert (dilated.dilation, dilated.padding) == ((2, 2), (2, 2))
    assert isinstance(norm, torch.nn.BatchNorm2d)
    assert isinstance(tanh, torch.nn.Tanh)
    assert isinstance(relu, torch.nn.ReLU)
    assert (lrn.size, lrn.k, lrn.beta) == (3, 2, 0.75)
    assert lrn.alpha / lrn.size == pytest.approx(1e-4)  # the paper's alpha
    assert (l2.norm_type, l2.kernel_size, l2.stride) == (2, 2, 2)
    assert isinstance(local, layers.LocallyConnected2d)
    assert (average.kernel_size, average.stride) == (2, 2)
    assert isinstance(average, torch.nn.AvgPool2d)
    assert (overlapping.kernel_size, overlapping.stride, overlapping.padding) == (3, 1, 1)
    assert isinstance(pool, torch.nn.MaxPool2d)
    assert drop.p == 0
    gap = built("INPUT[3x9x7] -> CONV1-10 -> GAP")
    assert [volume for _, volume, _ in gap.rows] == [(3, 9, 7), (10, 9, 7), (10, 1, 1)]
    stem = built("INPUT[3x227x227] -> CONV11-96s4p0 -> RELU -> POOL3s2 -> FC").rows
    assert [str(volume) for _, volume, _ in stem[1:4:2]] == ["[55x55x96]", "[27x27x96]"]


def test_initialisation_preserves_the_scale():
    """Normal with variance 2 / fan-in, where fan-in counts the weights of one unit."""
    network = models.build("INPUT[8x8x8] -> CONV5-64g4 -> LOCAL3-32 -> FC")
    conv, local = network.features
    for module, fan_in in ((conv, 50), (local, 576), (network.classifier[0], 8 * 8 * 32)):
        assert module.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.05)
        assert not module.bias.any()
    deep = models.build("INPUT[8x16x16] -> [CONV3-64 -> RELU]*10 -> FC", nn=torch.nn)
    x = torch.randn(8, 8, 16, 16)
    assert 0.2 < deep.features(x).square().mean() < 5


def test_deepcopy_and_pickle():
    network = models.build("INPUT[1x8x8] -> CONV3-4 -> RELU -> POOL2 -> FC")
    x = torch.randn(2, 1, 8, 8)
    for copied in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(copied(x), network(x))
        assert copied.describe() == network.describe()


def test_input_has_the_size_of_the_data_or_must_agree_with_it():
    free, named = "INPUT -> FC", "INPUT[3x32x48] -> FC"
    assert built(free, in_channels=3, image_size=(32, 48)).rows == built(named).rows
    assert built(named, in_channels=3, image_size=(32, 48)).rows[0][1] == (3, 32, 48)
    with pytest.raises(PatternError, match=r"column 6: INPUT needs a size, as in INPUT\[3x32x32\]"):
        built(free, in_channels=3)
    for options in ({"in_channels": 1}, {"image_size": 32}):
        with pytest.raises(PatternError, match=r"column 6: INPUT\[3x32x48\] .* disagrees with"):
            built(named, **options)
    with pytest.raises(PatternError, match=r"are 3x32x32: write INPUT\[3x32x32\], or INPUT alone"):
        built("INPUT[32x32x3] -> FC", in_channels=3, image_size=32)  # the chapter's order


@pytest.mark.parametrize(
    ("pattern", "column", "sentence"),
    [
        ("CONV -> FC", 1, "expected INPUT, with which a pattern begins, found 'CONV'"),
        ("INPUT", 6, "expected -> and the first layer, found the end"),
        ("INPUT - CONV - FC", 7, "expected -> and the first layer, found '-'"),
        ("INPUT -> ", 10, "expected a layer, found the end"),
        ("INPUT -> -> FC", 10, "expected a layer, found '->'"),
        ("INPUT -> []", 11, "expected a layer, found ']'"),
        ("INPUT -> 3", 10, "expected a layer, found '3'"),
        ("INPUT -> CONV RELU", 15, "expected -> and the next layer, found 'RELU'"),
        ("INPUT -> CONV3-64RELU", 18, "expected -> and the next layer, found 'RELU'"),
        ("INPUT -> [CONV -> FC", 10, "this [ is never closed"),
        ("INPUT -> [CONV, FC]", 15, "expected -> or ], found ','"),
        ("INPUT -> CONV] -> FC", 14, "this ] closes nothing"),
        ("INPUT -> FC -> INPUT", 16, "INPUT stands at the beginning only"),
        ("INPUT[32x32] -> FC", 12, "expected channels x height x width, as in INPUT[3x32x32]"),
        ("INPUT[3,32,32] -> FC", 8, "expected channels x height x width"),
        ("INPUT[0x32x32] -> FC", 7, "expected channels x height x width"),
        ("INPUT -> KONV3-4", 10, "unknown layer KONV: did you mean CONV?"),
        ("INPUT -> MAXPOL2", 10, "unknown layer MAXPOL: did you mean MAXPOOL?"),
        ("INPUT -> dropuot", 10, "unknown layer dropuot: did you mean DROPOUT?"),
        ("INPUT -> ATTENTION", 10, "unknown layer ATTENTION: choose from CONV, LOCAL, POOL"),
        ("INPUT -> CONV3-8 -> RELU -> POOLs2", 29, "POOL needs a window size, such as POOL2"),
        ("INPUT -> CONV3 -> FC", 10, "CONV needs a window size and a number of filters, such as"),
        ("INPUT -> CONV-64 -> FC", 10, "CONV needs a window size and a number of filters, such as"),
        ("INPUT -> POOL2-2", 10, "POOL takes only a window size, such as POOL2"),
        ("INPUT -> RELU6", 10, "RELU takes only its name"),
        ("INPUT -> CONV3x3-64", 15, "windows are square, as in CONV3-64"),
        ("INPUT -> CONV0-64", 14, "expected a window size, a whole number of at least 1, found"),
        ("INPUT -> CONV3-6.5", 16, "expected a number of filters, a whole number of at least 1"),
        ("INPUT -> CONV3-64s0", 19, "expected a stride, a whole number of at least 1, found '0'"),
        ("INPUT -> CONV3-64k2", 18, "CONV has no option k; it takes s (stride), p (padding), d"),
        ("INPUT -> POOL2g2", 15, "POOL has no option g; it takes s (stride), p (padding)"),
        ("INPUT -> BNs2", 12, "BN has no option s; it takes none"),
        ("INPUT -> CONV3-8s2s2", 19, "stride is given twice"),
        (
            "INPUT -> DROPOUT1.5",
            17,
            "expected a probability below 1, as in DROPOUT0.5, found '1.5'",
        ),
        ("INPUT -> [CONV -> RELU]*N -> FC", 25, "expected a number of times, a whole number of"),
        ("INPUT -> [CONV]*0 -> FC", 17, "expected a number of times, a whole number of at least 1"),
        ("INPUT -> [[CONV]*99]*99", 21, "that makes more than 1,000 layers"),
        ("INPUT -> [CONV -> POOL?]*2", 23, "? is not supported: write what is before it, or leave"),
        (
            "INPUT -> CONV3-9999999999 -> FC",
            16,
            "expected a number of filters of at most 65,536, found",
        ),
        ("INPUT -> FC99999999999", 12, "expected a number of outputs of at most 1,000,000, found"),
        (f"INPUT -> CONV*1{'0' * 26} -> FC", 15, "expected a number of times of at most 1,000"),
        (f"INPUT -> CONV*1{'0' * 5000} -> FC", 15, "found '100000000000000000000000000000...'"),
        (f"INPUT -> {'[' * 3000}CONV{']' * 3000} -> FC", 60, "more than 50 brackets within each"),
        ("INPUT" + " -> RELU" * 1001 + " -> FC", 8010, "that makes more than 1,000 layers"),
        ("INPUT -> CONV3-8d100000 -> FC", 18, "expected a dilation of at most 1,024"),
        ("INPUT -> CONV3-8p9999999 -> FC", 18, "expected a padding of at most 1,024"),
        ("INPUT -> LRN9999999999 -> FC", 13, "expected a number of channels of at most 65,536"),
        ("INPUT[1x99999x99999] -> FC", 9, "expected a size of the images of at most 10,000"),
        ("INPUT -> CONV1-65536p1024 -> FC", 10, "CONV1-65536p1024 makes [2056x2056x65536] of an"),
        ("INPUT -> [CONV1-64p1024]*9 -> FC", 11, "of an image, more than 1,073,741,824 numbers"),
        ("INPUT -> CONV1-99p999 -> FC999999 -> FC", 26, "weights, more than 1,000,000,000,000"),
        ("INPUT -> CONV1-65536 -> LOCAL7-65536 -> FC", 25, "weights, more than"),
        # Valid patterns, but not for three channels of 8 x 8 pixels and ten classes.
        ("INPUT -> [POOL2]*4 -> FC", 11, "POOL2 does not fit [1x1x3], what is left of the image"),
        ("INPUT -> CONV9-4p0 -> FC", 10, "CONV9-4p0 does not fit [8x8x3]"),
        ("INPUT -> CONV4-8 -> FC", 10, "no padding P = (F - 1)/2 keeps the size under an even"),
        ("INPUT -> CONV3-8g2 -> FC", 10, "2 groups cannot share 3 channels and 8 filters equally"),
        ("INPUT -> POOL2p2 -> FC", 10, "the padding of POOL2p2 is more than half its window"),
        ("INPUT -> FC -> CONV3-4", 16, "CONV3-4 needs an image, but stands behind an FC"),
        ("INPUT -> FC -> RELU", 16, "RELU would change the scores: end with FC"),
        ("INPUT -> FC7", 10, "the pattern ends with [1x1x7], but there are 10 classes"),
        ("INPUT -> CONV -> GAP", 18, "end it with FC, or with CONV1-10 -> GAP"),
    ],
)
def test_a_mistake_is_reported_with_its_column(pattern, column, sentence):
    with pytest.raises(PatternError) as error:
        built(pattern, in_channels=3, image_size=8)
    assert str(error.value).startswith(f"column {column}: ")
    assert sentence in str(error.value)


def test_a_pattern_without_weights_is_refused():
    with pytest.raises(PatternError, match="column 10: this pattern has nothing to learn"):
        built("INPUT -> GAP", in_channels=10, image_size=8)


# The chapter's "Layer Sizing Patterns"
@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        (
            "INPUT -> CONV5-8s2p0 -> FC",
            "column 10: CONV 5x5 stride 2 on 32 does not tile neatly: 14.5",
        ),
        (
            "INPUT -> CONV3-8s2 -> FC",
            "column 10: CONV 3x3 stride 2 padding 1 on 32 .* neatly: 16.5",
        ),
        (
            "INPUT -> POOL3 -> FC",
            "column 10: POOL 3x3 stride 3 on 32 does not tile neatly: 10.6667",
        ),
        ("INPUT -> CONV3-8 -> CONV7-8 -> FC", "column 21: CONV 7x7 behind .* stacks CONV3 instead"),
        (
            "INPUT -> POOL4 -> FC",
            "column 10: POOL 4x4 loses too much: the chapter pools 2x2, or 3x3",
        ),
    ],
)
def test_a_broken_sizing_rule_warns(pattern, sentence):
    with pytest.warns(UserWarning, match=sentence) as caught:
        network = built(pattern, in_channels=3, image_size=32)
    assert len(caught) == 1
    assert network(torch.empty(1, 3, 32, 32, device="meta")).shape == (1, 10)


@pytest.mark.parametrize(
    "pattern",
    [
        VGG16,
        "INPUT[3x227x227] -> CONV11-96s4p0 -> RELU -> POOL3s2 -> FC",  # AlexNet: 227 fits, 224 not
        "INPUT[3x32x32] -> [CONV3-8 -> RELU -> POOL2]*2 -> CONV8-9p0 -> AVGPOOL1 -> FC",
        "INPUT[3x32x32] -> CONV7-8 -> RELU -> AVGPOOL4 -> POOL8 -> FC",
    ],
)
def test_the_chapter_s_networks_do_not_warn(pattern):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        built(pattern)


def test_build_accepts_patterns_and_names():
    assert isinstance(built("INPUT[1x8x8]->FC"), PatternNetwork)
    with pytest.raises(PatternError, match="column 1: expected INPUT"):
        models.build("lenet -> FC")
    with pytest.raises(KeyError):
        models.build("lenot")
