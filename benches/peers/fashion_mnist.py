"""Fashion-MNIST from its idx files, and the random changes of its training images."""

import gzip
from pathlib import Path

import numpy
import torch

CROP = 2


def _idx(path):
    raw = gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes()
    sizes = numpy.frombuffer(raw, ">i4", raw[3], 4)
    return torch.from_numpy(numpy.frombuffer(raw, numpy.uint8, offset=4 + 4 * len(sizes)).reshape(sizes).copy())


def load(folder, part):
    """Images `[n, 28, 28]` in bytes and labels of `train` or `t10k`."""
    def file(kind):
        found = sorted(Path(folder).glob(f"{part}-{kind}-ubyte*"))
        if not found:
            raise SystemExit(f"error: no {part}-{kind}-ubyte.gz in {folder}: name the folder of the idx files by --data")
        return _idx(found[0])

    return file("images-idx3"), file("labels-idx1").long()


class Normalizer:
    """Mean 0 and deviation 1 over the training images."""

    def __init__(self, images):
        values = images.double() / 255
        self.mean, self.std = values.mean().item(), values.std(correction=0).item()

    def __call__(self, images):
        return ((images.float() / 255 - self.mean) / self.std).unsqueeze(1)


def changed(images, generator):
    """A window cut out of each image with a margin of black pixels, mirrored in half of the cases."""
    count, height, width = images.shape
    padded = torch.nn.functional.pad(images, [CROP] * 4)
    start = torch.randint(2 * CROP + 1, (2, count, 1), generator=generator)
    rows, columns = start[0] + torch.arange(height), start[1] + torch.arange(width)
    mirrored = torch.rand(count, 1, generator=generator) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    return padded[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
