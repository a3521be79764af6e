"""GCN + BR on a ResNet-50 in PyTorch: what `gcn_keras.gcn` builds.

Its maps are enlarged by transposed convolutions that learn, as here; many public repositories
interpolate bilinearly instead, which is less work. The backbone is torchvision's, written out, so
that PyTorch alone is needed.
"""

from torch import nn
from torch.nn import functional


class Bottleneck(nn.Module):
    """ResNet's bottleneck, stride in the 3×3 convolution as in torchvision."""

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        outputs = 4 * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x):
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = functional.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        return functional.relu(y + (self.shortcut(x) if self.shortcut else x), inplace=True)


def stage(inputs: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    """One of ResNet's stages."""
    first = Bottleneck(inputs, width, stride)
    return nn.Sequential(first, *(Bottleneck(4 * width, width, 1) for _ in range(blocks - 1)))


class GlobalConvolution(nn.Module):
    """k×1 then 1×k, plus 1×k then k×1."""

    def __init__(self, inputs: int, classes: int, kernel: int):
        super().__init__()
        tall, wide = (kernel, 1), (1, kernel)
        half = kernel // 2
        self.left = nn.Sequential(
            nn.Conv2d(inputs, classes, tall, padding=(half, 0)),
            nn.Conv2d(classes, classes, wide, padding=(0, half)),
        )
        self.right = nn.Sequential(
            nn.Conv2d(inputs, classes, wide, padding=(0, half)),
            nn.Conv2d(classes, classes, tall, padding=(half, 0)),
        )

    def forward(self, x):
        return self.left(x) + self.right(x)


class BoundaryRefinement(nn.Module):
    """x + conv(relu(conv(x)))."""

    def __init__(self, classes: int):
        super().__init__()
        self.conv1 = nn.Conv2d(classes, classes, 3, padding=1)
        self.conv2 = nn.Conv2d(classes, classes, 3, padding=1)

    def forward(self, x):
        return x + self.conv2(functional.relu(self.conv1(x), inplace=True))


class GCN(nn.Module):
    """Figure 2 A on ResNet-50: float `[B, 3, H, W]` to logits `[B, classes, H, W]`."""

    def __init__(self, classes: int = 21, kernel: int = 15):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)
        )
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.stages = nn.ModuleList(
            [stage(64, 64, 3, 1), stage(256, 128, 4, 2), stage(512, 256, 6, 2)]
            + [stage(1024, 512, 3, 2)]
        )
        widths = (256, 512, 1024, 2048)
        self.gcn = nn.ModuleList(GlobalConvolution(width, classes, kernel) for width in widths)
        self.br = nn.ModuleList(BoundaryRefinement(classes) for _ in range(9))
        self.deconvolutions = nn.ModuleList(
            nn.ConvTranspose2d(classes, classes, 4, 2, 1, bias=False) for _ in range(5)
        )

    def forward(self, images):
        stem = self.stem(images)
        maps, x = [], self.pool(stem)
        for part in self.stages:
            x = part(x)
            maps.append(x)
        scores = [self.br[i](self.gcn[i](x)) for i, x in enumerate(maps)]
        score = scores[3]
        for i in (2, 1, 0):
            score = self.br[4 + i](self.deconvolutions[2 - i](score) + scores[i])
        score = self.br[7](self.deconvolutions[3](score))
        return self.br[8](self.deconvolutions[4](score))
