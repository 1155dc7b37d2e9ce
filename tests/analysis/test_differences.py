"""The table of differences between the papers' networks and torchvision's."""

from pathlib import Path

from analysis.differences import differences, document


def test_resnet_v1_strides_in_the_first_convolution():
    found = list(differences("resnet50_v1", "resnet50"))
    strided = [left for left, _ in found if "stride 2" in left]
    assert all(".conv1`" in left for left in strided)
    assert len(strided) == 3
    assert all(".conv2`" in right for _, right in found if "stride 2" in right)


def test_the_paper_s_alexnet_has_groups_and_response_normalisation():
    left = " ".join(left for left, _ in differences("alexnet", "alexnet_owt"))
    assert "groups 2" in left
    assert "LocalResponseNorm" in left


def test_a_network_does_not_differ_from_itself():
    assert list(differences("resnet18", "resnet18")) == []


def test_the_document_is_up_to_date():
    assert Path("docs/differences.md").read_text() == document()
