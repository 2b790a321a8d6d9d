"""VGG-16 (arXiv 1409.1556) as the SSD backbone (SSD paper, section 3), with L2Norm, dilated fc6 and fc7."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Output channels of each 3×3 convolution; "M" is a 2×2 max pooling, "C" one that keeps an odd last row and column.
LAYOUT = (64, 64, "M", 128, 128, "M", 256, 256, 256, "C", 512, 512, 512, "M", 512, 512, 512)
CONV4_3 = 23
"""Number of modules in ``features`` up to and including the ReLU of conv4_3."""


class L2Norm(nn.Module):
    """Scale each position's feature vector to a learned length, initially 20 (SSD paper, section 3.1; ParseNet).

    eps is added inside the root, and is large enough that no exporter rounds it away, so that a black image gives 0 and
    not NaN.
    """

    def __init__(self, channels: int, length: float = 20.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), length))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Compute (B, C, H, W) → the same shape."""
        norm = torch.sqrt(x.square().sum(dim=1, keepdim=True) + self.eps)
        return x / norm * self.weight.view(1, -1, 1, 1)


class VGG16(nn.Module):
    """VGG-16 with two feature maps: conv4_3 (stride 8, 512 channels, normalised), fc7 (stride 16, 1024 channels).

    Args:
        norm: normalises conv4_3 for its heads; the paper's ``L2Norm`` if None.
    """

    channels = (512, 1024)

    def __init__(self, norm: nn.Module | None = None) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for item in LAYOUT:
            if isinstance(item, int):
                layers += [nn.Conv2d(inputs, item, 3, padding=1), nn.ReLU(inplace=True)]
                inputs = item
            else:
                layers.append(nn.MaxPool2d(2, 2, ceil_mode=item == "C"))
        self.features = nn.Sequential(*layers)
        self.l2norm = L2Norm(512) if norm is None else norm  # the name stands in all checkpoints
        self.pool5 = nn.MaxPool2d(3, stride=1, padding=1)
        self.fc6 = nn.Conv2d(512, 1024, 3, padding=6, dilation=6)
        self.fc7 = nn.Conv2d(1024, 1024, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Compute feature maps of (B, 3, H, W) images, largest first."""
        conv4_3 = self.features[:CONV4_3](images)
        x = self.pool5(self.features[CONV4_3:](conv4_3))
        fc7 = torch.relu(self.fc7(torch.relu(self.fc6(x))))
        return [self.l2norm(conv4_3), fc7]

    def load(self, state: dict[str, Tensor]) -> None:
        """Load weights in torchvision's classification layout.

        If the file holds the classifier, fc6 and fc7 are subsampled from its two large layers: every third row and
        column and every fourth channel (à trous, SSD paper section 3). A file with ``features`` alone is accepted too.

        Raises:
            RuntimeError: a feature weight is missing or has another shape.
        """
        own = self.state_dict()
        own.update({k: v for k, v in state.items() if k.startswith("features.")})
        if "classifier.0.weight" in state and "classifier.3.weight" in state:
            fc6 = state["classifier.0.weight"].view(4096, 512, 7, 7)
            own["fc6.weight"] = fc6[::4, :, ::3, ::3].clone()
            own["fc6.bias"] = state["classifier.0.bias"][::4].clone()
            own["fc7.weight"] = state["classifier.3.weight"].view(4096, 4096, 1, 1)[::4, ::4].clone()
            own["fc7.bias"] = state["classifier.3.bias"][::4].clone()
        missing = {k for k in own if k.startswith("features.")} - set(state)
        if missing:
            raise RuntimeError(f"missing {sorted(missing)[0]} and {len(missing) - 1} more")
        self.load_state_dict(own)
