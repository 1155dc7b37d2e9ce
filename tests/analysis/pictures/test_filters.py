"""Filters as tiles: which, how many, and in what order."""

import numpy as np
import pytest
import torch

import layers
import models
from analysis.pictures.filters import draw, filter_layers, filters, local_filters, panel


def build(name, **options):
    return models.build(name, **{"num_classes": 3, "in_channels": 3, **options})


def test_the_first_layer_is_one_tile_per_filter():
    weight = torch.randn(10, 3, 5, 5)
    tiles = filters(weight).tiles.reshape(-1, 5, 5, 3)
    largest = weight[4].abs().max()
    np.testing.assert_allclose(tiles[4], (0.5 + weight[4] / largest / 2).permute(1, 2, 0))
    assert (tiles[10:] == 1).all()  # blank


def test_deeper_layers_have_a_row_for_each_filter():
    tiles = filters(torch.randn(16, 6, 5, 5)).tiles
    assert tiles.shape == (16, 6, 5, 5, 3)
    large = filters(torch.randn(64, 128, 3, 3))
    assert large.tiles.shape[:2] == (16, 32)
    assert large.words == "the first 16 of 64 filters, a row each; the first 32 of 128 maps"


def test_two_towers_stand_apart():
    with torch.device("meta"):
        found = filter_layers(build("alexnet", image_size=67))
    towers = {name: groups for name, (_, groups) in found.items()}
    assert towers["features.1"] == 2  # read by conv2, which has two groups
    assert [*towers.values()] == [2, 1, 2, 2, 1]
    shown = filters(torch.randn(96, 3, 11, 11), 2)
    assert shown.tiles.shape[:2] == (8, 12)
    assert [*shown.breaks] == [4]
    assert shown.words == "96 filters, in 2 towers"


def test_a_locally_connected_layer_has_filters_by_place():
    conv = layers.Conv2d(1, 2, 3)
    local = layers.LocallyConnected2d.from_conv(conv, 20)
    tiles = local_filters(local).tiles
    assert tiles.shape == (8, 8, 3, 3, 3)
    np.testing.assert_allclose(
        tiles, np.broadcast_to(filters(conv.weight).tiles[:1, :1], tiles.shape)
    )


@pytest.mark.parametrize("name", ["lenet5", "deepface", "allcnn_c"])
def test_every_layer_can_be_drawn(name):
    net = build(name, image_size={"lenet5": 32, "deepface": 72}.get(name, 16))
    for layer, groups in filter_layers(net).values():
        pixels = draw(
            "title", [("one", panel(layer, groups)), ("two", panel(layer, groups))]
        ).pixels()
        assert pixels.shape[0] > 100
        assert pixels.std() > 10


def test_lenet5_s_table_of_connections_is_seen():
    net = build("lenet5", in_channels=1, image_size=32)
    tiles = panel(net.c3[0]).tiles
    white = np.isclose(tiles, tiles[0, 3, 0, 0]).all((2, 3, 4))
    assert white.sum() == 16 * 6 - 60
