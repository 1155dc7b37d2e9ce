import torch

from training.evaluation.confused import confused_pairs


def test_the_most_frequent_mistakes():
    targets = torch.tensor([0, 0, 0, 0, 1, 1, 2])
    predictions = torch.tensor([1, 1, 2, 0, 0, 1, 2])
    found = confused_pairs(predictions, targets, ["cat", "dog", "cow"])
    assert found == [
        {"true": "cat", "predicted": "dog", "images": 2, "share": 0.5},
        {"true": "cat", "predicted": "cow", "images": 1, "share": 0.25},
        {"true": "dog", "predicted": "cat", "images": 1, "share": 0.5},
    ]
    assert confused_pairs(predictions, targets, ["cat", "dog", "cow"], most=1) == found[:1]
    assert confused_pairs(targets, targets, ["cat", "dog", "cow"]) == []
