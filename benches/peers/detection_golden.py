"""A Mask R-CNN detector on Meta-SpikeFormer in PyTorch, written from its description, and torchvision's NMS and
RoIAlign on random inputs: what `crates/spikelet/tests/it/train/detection.rs` compares with.

    python benches/peers/detection_golden.py tests/golden-extra/detection.safetensors

Weights of neck and heads are multiples of 1/64: their sums of spikes are exact. Those of the backbone and of the heads
of regions are not, so seeds are tried until no membrane lies within `MARGIN` of its threshold.
"""

import sys

import metaspikeformer_model as backbone
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

STEPS, SIZE, WIDTHS, HEADS = 2, 32, (4, 8, 8, 16), 2
CHANNELS, CLASSES, HIDDEN, MASK_CONVS = 16, 3, 32, 2
MARGIN = 5e-5
# What the official code declares is 4, 8, 16, 32; the fourth feature has stride 16.
STRIDES = (4, 8, 16, 16)
FINEST = 8


class Lif(nn.Module):
    """LIF over the first axis: decayed input, hard reset, tau 2. Remembers how near membranes came to the threshold."""

    margin = float("inf")

    def __init__(self, threshold=1.0):
        super().__init__()
        self.threshold = threshold

    def forward(self, x):
        v, spikes = torch.zeros_like(x[0]), []
        for current in x:
            v = v + (current - v) / 2
            s = (v >= self.threshold).to(x)
            off = (v - self.threshold).abs()
            # Exact ties have to fire on both sides.
            off = off[off > 0]
            if len(off):
                Lif.margin = min(Lif.margin, off.min().item())
            v = (1 - s) * v
            spikes.append(s)
        return torch.stack(spikes)


def folded(module, x):
    return module(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def spiking(module):
    """Neurons, then a module; the middle name is that of the container in the official code."""
    return nn.Sequential(Lif(), nn.Sequential(module))


def run(layer, x):
    return folded(layer[1], layer[0](x))


class ConvModule(nn.Module):
    def __init__(self, inputs, outputs, kernel, activate=False):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
        self.activate = activate

    def forward(self, x):
        x = self.conv(x)
        return F.relu(x) if self.activate else x


class Neck(nn.Module):
    def __init__(self):
        super().__init__()
        self.lateral_convs = nn.ModuleList(spiking(ConvModule(width, CHANNELS, 1)) for width in WIDTHS)
        self.fpn_convs = nn.ModuleList(spiking(ConvModule(CHANNELS, CHANNELS, 3)) for _ in WIDTHS)

    def forward(self, features):
        levels = [run(lateral, x) for lateral, x in zip(self.lateral_convs, features)]
        for i in range(len(levels) - 1, 0, -1):
            up = folded(lambda x: F.interpolate(x, size=levels[i - 1].shape[-2:], mode="nearest"), levels[i])
            levels[i - 1] = levels[i - 1] + up
        levels = [run(conv, x) for conv, x in zip(self.fpn_convs, levels)]
        return [*levels, folded(lambda x: F.max_pool2d(x, 1, stride=2), levels[-1])]


class Rpn(nn.Module):
    def __init__(self):
        super().__init__()
        self.rpn_conv = spiking(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1))
        self.rpn_cls = spiking(nn.Conv2d(CHANNELS, 3, 1))
        self.rpn_reg = spiking(nn.Conv2d(CHANNELS, 12, 1))

    def forward(self, level):
        x = run(self.rpn_conv, level)
        return run(self.rpn_cls, x).mean(0), run(self.rpn_reg, x).mean(0)


class BoxHead(nn.Module):
    def __init__(self):
        super().__init__()
        sizes = [CHANNELS * 49, HIDDEN]
        self.shared_fcs = nn.ModuleList(nn.Sequential(Lif(), nn.Linear(size, HIDDEN)) for size in sizes)
        self.fc_cls, self.fc_reg = nn.Linear(HIDDEN, CLASSES + 1), nn.Linear(HIDDEN, 4 * CLASSES)

    def forward(self, x):
        x = x.flatten(2)
        for lif, linear in self.shared_fcs:
            x = linear(lif(x))
        return self.fc_cls(x).mean(0), self.fc_reg(x).mean(0)


class MaskHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(spiking(ConvModule(CHANNELS, CHANNELS, 3, True)) for _ in range(MASK_CONVS))
        self.upsample = nn.Sequential(Lif(), nn.ConvTranspose2d(CHANNELS, CHANNELS, 2, 2))
        self.conv_logits = nn.Sequential(Lif(), nn.Conv2d(CHANNELS, CLASSES, 1))

    def forward(self, x):
        for conv in self.convs:
            x = run(conv, x)
        return run(self.conv_logits, run(self.upsample, x)).mean(0)


class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.bbox_head, self.mask_head = BoxHead(), MaskHead()


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = backbone.MetaSpikeformer(WIDTHS, 1, heads=HEADS)
        self.neck, self.rpn_head, self.roi_head = Neck(), Rpn(), Heads()

    def features(self, image):
        """The membranes behind four of the stages, `[time, batch, channels, height, width]`."""
        net, found = self.backbone, []
        hooks = [
            module.register_forward_hook(lambda _, __, out: found.append(out))
            for module in (net.ConvBlock1_2[0], net.ConvBlock2_2[0], net.block3[-1], net.block4[-1])
        ]
        net(image, STEPS)
        [hook.remove() for hook in hooks]
        return found


def level_of(rois):
    side = ((rois[:, 3] - rois[:, 1]) * (rois[:, 4] - rois[:, 2])).sqrt()
    return torch.floor(torch.log2(side / FINEST + 1e-6)).clamp(0, 3).long()


def cut(levels, rois, side):
    """Regions of every time step, each from the level of its size: `[time, region, channels, side, side]`."""
    out = torch.zeros(STEPS, len(rois), CHANNELS, side, side)
    for level, stride in enumerate(STRIDES):
        mine = level_of(rois) == level
        for step in range(STEPS):
            out[step, mine] = torchvision.ops.roi_align(
                levels[level][step], rois[mine], side, 1 / stride, sampling_ratio=-1, aligned=True
            )
    return out


def fill(model, generator):
    for name, p in model.named_parameters():
        if name.startswith("backbone."):
            continue
        values = torch.randn(p.shape, generator=generator)
        gain = 1.0 if p.ndim == 1 else 3.0 * (p[0].numel() * 0.3) ** -0.5
        p.data = torch.round(values * gain * 64) / 64


def case(seed):
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = Detector()
    fill(model, generator)
    for module in model.backbone.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm1d)):
            module.weight.data = 1.5 + torch.rand(module.weight.shape, generator=generator)
            module.bias.data = torch.rand(module.bias.shape, generator=generator)
            module.momentum = 0.5
    image = torch.randn(2, 3, SIZE, SIZE, generator=generator)
    with torch.no_grad():
        for _ in range(8):
            model.features(torch.randn(4, 3, SIZE, SIZE, generator=generator))
        model.eval()
        Lif.margin = float("inf")
        features = model.features(image)
        levels = model.neck(features)
        outputs = [model.rpn_head(level) for level in levels]
        rois = torch.tensor(
            [[0, 1.0, 2, 9, 8], [1, 0, 0, 32, 32], [0, 3.5, 1, 30, 20], [1, 10, 11, 19.5, 30], [1, 2, 5, 7, 9.0]]
        )
        boxes = model.roi_head.bbox_head(cut(levels, rois, 7))
        masks = model.roi_head.mask_head(cut(levels, rois, 14))
    tensors = {f"weight.{k}": v for k, v in model.state_dict().items() if "num_batches" not in k}
    tensors = {k: v for k, v in tensors.items() if not k.startswith("weight.backbone.head.")}
    tensors |= {"image": image, "rois": rois, "classes": boxes[0], "boxes": boxes[1], "masks": masks}
    for i, level in enumerate(levels):
        tensors[f"level.{i}"], tensors[f"scores.{i}"], tensors[f"deltas.{i}"] = level, *outputs[i]
    return Lif.margin, tensors


def reference(generator):
    """torchvision on random inputs."""
    corner = torch.rand(300, 2, generator=generator) * 80
    boxes = torch.cat([corner, corner + 4 + torch.rand(300, 2, generator=generator) * 40], 1)
    scores, kinds = torch.rand(300, generator=generator), torch.randint(0, 4, (300,), generator=generator)
    out = {"nms.boxes": boxes, "nms.scores": scores, "nms.kinds": kinds.float()}
    for overlap in (0.3, 0.5, 0.7):
        kept = torchvision.ops.nms(boxes, scores, overlap)
        by_kind = torchvision.ops.batched_nms(boxes, scores, kinds, overlap)
        out |= {f"nms.kept.{overlap}": kept.float(), f"nms.kept_by_kind.{overlap}": by_kind.float()}
    features = torch.randn(2, 5, 13, 17, generator=generator, requires_grad=True)
    rois = torch.rand(12, 5, generator=generator) * 50 - 4
    rois[:, 0] = torch.arange(12) % 2
    rois[:, 3:] = rois[:, 1:3] + 0.5 + torch.rand(12, 2, generator=generator) * 40
    aligned = torchvision.ops.roi_align(features, rois, 7, 1 / 4, sampling_ratio=-1, aligned=True)
    weights = torch.randn(aligned.shape, generator=generator)
    (aligned * weights).sum().backward()
    return out | {
        "roi.features": features.detach(), "roi.rois": rois, "roi.aligned": aligned.detach(),
        "roi.weights": weights, "roi.gradient": features.grad,
    }


def main():
    backbone.lif = Lif
    best = (0.0, None, -1)
    for seed in range(400):
        margin, tensors = case(seed)
        if margin > best[0]:
            best = (margin, tensors, seed)
            print(f"seed {seed}: margin {margin:.2e}", file=sys.stderr)
        if margin > MARGIN:
            break
    margin, tensors, seed = best
    tensors |= reference(torch.Generator().manual_seed(seed))
    tensors = {k: v.contiguous() for k, v in tensors.items()}
    save_file(tensors, sys.argv[1], metadata={"seed": str(seed), "margin": f"{margin:.3e}", "steps": str(STEPS)})
    print(f"{sys.argv[1]}: seed {seed}, no membrane nearer than {margin:.2e} to its threshold, exact ties apart")


if __name__ == "__main__":
    main()
