"""The chapter's opening figure, for any network."""

import pytest
import torch

import models
from analysis.pictures.columns import chosen_maps, draw
from analysis.volumes import choose, volumes


@pytest.mark.parametrize("name", ["lenet", "lenet5", "INPUT -> FC", "resnet20", "deepface"])
def test_any_network_can_be_drawn(name):
    size = {"deepface": 72, "INPUT -> FC": 8}.get(name, 32)
    net = models.build(name, num_classes=10, in_channels=1, image_size=size).eval()
    x = torch.rand(1, 1, size, size)
    seen, output = volumes(net, x)
    chosen = choose(net, seen, 5)
    classes = [f"a rather long name {number}" for number in range(10)]
    sheet = draw("title", x[0], chosen, output[0].softmax(0), classes, truth=3, maps=2)
    assert sheet.pixels().std() > 10
    words = [text.get_text() for text in sheet.figure.texts]
    assert "a rather long name 3" in words or "a rather l…" in words
    assert sum(word.endswith("%") for word in words) == 5
    assert {volume.name for volume in chosen} <= {*words}


def test_maps_keep_their_places_until_filters_mix_them():
    net = models.build("lenet").eval()
    seen, _ = volumes(net, torch.randn(1, 1, 32, 32))
    columns = [seen[f"features.{number}"] for number in range(6)]
    maps = chosen_maps(columns, 4)
    assert torch.equal(maps[0], maps[1])
    assert torch.equal(maps[0], maps[2])
    assert torch.equal(maps[3], maps[5])
    spread = columns[5].x[0].flatten(1).std(1)
    assert {*maps[5].tolist()} == {*spread.topk(4).indices.tolist()}
