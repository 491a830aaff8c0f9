"""Meta-SpikeFormer in PyTorch: the arithmetic of the official code, written from its description.

Names of parameters are the official ones. Time is folded into the batch of every convolution; neurons are
SpikingJelly's `MultiStepLIFNode` (tau 2, hard reset, sigmoid surrogate, detached reset).
"""

import torch
from spikingjelly.clock_driven import surrogate
from spikingjelly.clock_driven.neuron import MultiStepLIFNode
from torch import nn

SIZES = {"15m": (64, 128, 256, 360), "31m": (96, 192, 384, 480), "55m": (128, 256, 512, 640)}


def lif(threshold=1.0):
    return MultiStepLIFNode(
        tau=2.0, v_threshold=threshold, detach_reset=True, surrogate_function=surrogate.Sigmoid(), backend="torch"
    )


def folded(module, x):
    """A module of images over `[time, batch, ...]`."""
    return module(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class Embed(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride, first):
        super().__init__()
        if not first:
            self.encode_lif = lif()
        self.encode_conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)
        self.encode_bn = nn.BatchNorm2d(outputs)

    def forward(self, x):
        if hasattr(self, "encode_lif"):
            x = self.encode_lif(x)
        return folded(lambda x: self.encode_bn(self.encode_conv(x)), x)


class SepConv(nn.Module):
    def __init__(self, channels):
        super().__init__()
        inner = 2 * channels
        self.lif1, self.lif2 = lif(), lif()
        self.pwconv1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.dwconv = nn.Conv2d(inner, inner, 7, padding=3, groups=inner, bias=False)
        self.pwconv2 = nn.Conv2d(inner, channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x):
        x = folded(lambda x: self.bn1(self.pwconv1(x)), self.lif1(x))
        return folded(lambda x: self.bn2(self.pwconv2(self.dwconv(x))), self.lif2(x))


class ConvBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.Conv = SepConv(channels)
        self.lif1, self.lif2 = lif(), lif()
        self.conv1 = nn.Conv2d(channels, 4 * channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4 * channels)
        self.conv2 = nn.Conv2d(4 * channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x):
        x = x + self.Conv(x)
        y = folded(lambda y: self.bn1(self.conv1(y)), self.lif1(x))
        return x + folded(lambda y: self.bn2(self.conv2(y)), self.lif2(y))


class Bordered(nn.Module):
    """Batch normalisation, then one position more on every side with what it makes of zeros."""

    def __init__(self, channels):
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x):
        x = self.bn(x)
        bn = self.bn
        value = bn.bias.detach() - bn.running_mean * bn.weight.detach() / torch.sqrt(bn.running_var + bn.eps)
        n, channels, height, width = x.shape
        framed = value.view(1, -1, 1, 1).repeat(n, 1, height + 2, width + 2)
        framed[:, :, 1:-1, 1:-1] = x
        return framed


class RepConv(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 1, bias=False),
            Bordered(channels),
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, groups=channels, bias=False),
                nn.Conv2d(channels, channels, 1, bias=False),
                nn.BatchNorm2d(channels),
            ),
        )

    def forward(self, x):
        return self.body(x)


class Attention(nn.Module):
    def __init__(self, channels, heads):
        super().__init__()
        self.heads = heads
        self.head_lif, self.q_lif, self.k_lif, self.v_lif = lif(), lif(), lif(), lif()
        self.attn_lif = lif(0.5)
        projection = lambda: nn.Sequential(RepConv(channels), nn.BatchNorm2d(channels))
        self.q_conv, self.k_conv, self.v_conv, self.proj_conv = (projection() for _ in range(4))

    def forward(self, x):
        time, batch, channels, height, width = x.shape
        spikes = self.head_lif(x)

        def project(conv, neurons):
            y = neurons(folded(conv, spikes)).flatten(3)
            return y.view(time, batch, self.heads, channels // self.heads, height * width).transpose(3, 4)

        q, k = project(self.q_conv, self.q_lif), project(self.k_conv, self.k_lif)
        v = project(self.v_conv, self.v_lif)
        y = (q @ (k.transpose(3, 4) @ v)) * 0.125
        y = self.attn_lif(y.transpose(3, 4).reshape(time, batch, channels, height * width))
        return folded(self.proj_conv, y.view(time, batch, channels, height, width))


class Mlp(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.fc1_lif, self.fc2_lif = lif(), lif()
        self.fc1_conv, self.fc1_bn = nn.Conv1d(channels, 4 * channels, 1), nn.BatchNorm1d(4 * channels)
        self.fc2_conv, self.fc2_bn = nn.Conv1d(4 * channels, channels, 1), nn.BatchNorm1d(channels)

    def forward(self, x):
        y = folded(lambda y: self.fc1_bn(self.fc1_conv(y)), self.fc1_lif(x.flatten(3)))
        y = folded(lambda y: self.fc2_bn(self.fc2_conv(y)), self.fc2_lif(y))
        return y.view(x.shape)


class Block(nn.Module):
    def __init__(self, channels, heads):
        super().__init__()
        self.attn, self.mlp = Attention(channels, heads), Mlp(channels)

    def forward(self, x):
        x = x + self.attn(x)
        return x + self.mlp(x)


class MetaSpikeformer(nn.Module):
    def __init__(self, widths, classes, channels=3, heads=8):
        super().__init__()
        c1, c2, c3, c4 = widths
        self.downsample1_1 = Embed(channels, c1 // 2, 7, 2, True)
        self.ConvBlock1_1 = nn.ModuleList([ConvBlock(c1 // 2)])
        self.downsample1_2 = Embed(c1 // 2, c1, 3, 2, False)
        self.ConvBlock1_2 = nn.ModuleList([ConvBlock(c1)])
        self.downsample2 = Embed(c1, c2, 3, 2, False)
        self.ConvBlock2_1 = nn.ModuleList([ConvBlock(c2)])
        self.ConvBlock2_2 = nn.ModuleList([ConvBlock(c2)])
        self.downsample3 = Embed(c2, c3, 3, 2, False)
        self.block3 = nn.ModuleList([Block(c3, heads) for _ in range(6)])
        self.downsample4 = Embed(c3, c4, 3, 1, False)
        self.block4 = nn.ModuleList([Block(c4, heads) for _ in range(2)])
        self.lif = lif()
        self.head = nn.Linear(c4, classes)

    def forward(self, x, steps):
        """Logits of images `[batch, channels, height, width]`, shown at every step."""
        x = x.unsqueeze(0).repeat(steps, 1, 1, 1, 1)
        x = self.ConvBlock1_1[0](self.downsample1_1(x))
        x = self.ConvBlock1_2[0](self.downsample1_2(x))
        x = self.ConvBlock2_2[0](self.ConvBlock2_1[0](self.downsample2(x)))
        x = self.downsample3(x)
        for block in self.block3:
            x = block(x)
        x = self.downsample4(x)
        for block in self.block4:
            x = block(x)
        return self.head(self.lif(x.flatten(3).mean(3))).mean(0)
