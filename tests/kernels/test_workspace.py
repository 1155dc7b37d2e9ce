"""Memory for what lies between two operations."""

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from layers.kernels.workspace import DEVICE_WORKSPACE, workspace, workspace_bytes


def test_a_workspace_is_on_the_device():
    with FakeTensorMode():
        for device in ("cuda", "xpu", "mps"):
            tensor = torch.empty(1, device=device)
            assert workspace_bytes(tensor) == DEVICE_WORKSPACE
            assert workspace(tensor, 10).device.type == device
