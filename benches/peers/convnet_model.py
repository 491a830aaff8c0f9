"""The convolutional spiking networks, one time step a call; state is kept in the neurons until reset.

Names of layers and initial values are those of `crates/spikelet-train/src/models/convnet/`.
"""

import math

from torch import nn

VGG11 = "64C3-P2-128C3-P2-256C3-256C3-P2-512C3-512C3-P2-512C3-512C3-P2-A7-FC"


def conv(inputs, outputs, kernel, stride=1, bias=True):
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=bias)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def linear(inputs, classes, std):
    layer = nn.Linear(inputs, classes)
    nn.init.normal_(layer.weight, 0, std)
    nn.init.zeros_(layer.bias)
    return layer


class Chain(nn.Sequential):
    """`64C3` a convolution, normalised, with neurons; `P2` average pooling; `A7` adaptive pooling; `FC`."""

    def __init__(self, text, input_shape, classes, lif):
        height, width, channels = input_shape
        layers = []
        for part in text.split("-"):
            if part == "FC":
                layers += [nn.Flatten(), linear(channels * height * width, classes, 0.01)]
            elif part[0] == "P":
                layers.append(nn.AvgPool2d(int(part[1:])))
                height, width = height // int(part[1:]), width // int(part[1:])
            elif part[0] == "A":
                layers.append(nn.AdaptiveAvgPool2d(int(part[1:])))
                height = width = int(part[1:])
            else:
                outputs, kernel = map(int, part.split("C"))
                layers += [conv(channels, outputs, kernel), nn.BatchNorm2d(outputs), lif()]
                channels = outputs
        super().__init__(*layers)


class PreactBlock(nn.Module):
    """The shortcut carries the spikes of the block's first population."""

    def __init__(self, inputs, outputs, stride, lif):
        super().__init__()
        self.bn1, self.lif1 = nn.BatchNorm2d(inputs), lif()
        self.conv1 = conv(inputs, outputs, 3, stride)
        self.bn2, self.lif2 = nn.BatchNorm2d(outputs), lif()
        self.conv2 = conv(outputs, outputs, 3)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else conv(inputs, outputs, 1, stride)

    def forward(self, x):
        spikes = self.lif1(self.bn1(x))
        return self.conv2(self.lif2(self.bn2(self.conv1(spikes)))) + self.shortcut(spikes)


class PreactResnet18(nn.Sequential):
    def __init__(self, input_shape, classes, lif):
        height, width, channels = input_shape
        layers, last = [conv(channels, 64, 3, bias=False)], 64
        for stage, outputs in enumerate((64, 128, 256, 512)):
            for block in range(2):
                layers.append(PreactBlock(last, outputs, 2 if block == 0 and stage > 0 else 1, lif))
                last = outputs
        inputs = last * (height // 32) * (width // 32)
        layers += [nn.BatchNorm2d(last), lif(), nn.AvgPool2d(4), nn.Flatten()]
        super().__init__(*layers, linear(inputs, classes, 1 / math.sqrt(3 * inputs)))


def build(name, input_shape, classes, lif):
    """`resnet18`, `vgg11` or the text of a chain; `lif` makes one population."""
    if name == "resnet18":
        return PreactResnet18(input_shape, classes, lif)
    return Chain(VGG11 if name == "vgg11" else name, input_shape, classes, lif)
