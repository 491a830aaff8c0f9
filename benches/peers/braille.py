"""The seven-letter Braille data set and the published L2MU checkpoint, as PyTorch tensors."""

import os
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file

REPOSITORY = Path(__file__).resolve().parents[2]

# Hyper-parameters of the published seven-letter network.
INPUTS, CLASSES = 12, 7
ORDER, THETA = 7, 10.0
MEMORIES, HIDDEN = 70, 120
BETA_THRESHOLD = {"u": (0.8, 0.2), "h": (0.45, 0.65), "m": (0.2, 0.4), "output": (0.6, 0.15)}
LEARNING_RATE, BATCH = 0.00145, 64


def data_folder(given=None, holding="braille/braille7.safetensors"):
    """Looks where `spikelet` looks: `--data`, then the environment, then the repository, then beside it."""
    places = [given, os.environ.get("SPIKELET_DATA"), REPOSITORY / "data", REPOSITORY.parent / "shared" / "data"]
    for place in places:
        if place and (Path(place) / holding).exists():
            return Path(place)
    raise SystemExit(f"no data folder holds {holding}: give the folder with --data")


def golden_folder():
    return Path(os.environ.get("SPIKELET_GOLDEN", REPOSITORY / "tests" / "golden")) / "l2mu_braille"


def load(data=None):
    """Returns events `[sample, time, channel]` as 0/1 floats, labels, and the ten validation splits."""
    raw = load_file(data_folder(data) / "braille" / "braille7.safetensors")
    bits = np.unpackbits(raw["events_packed"], axis=1, bitorder="little")
    events = torch.from_numpy(bits.reshape(len(bits), -1, INPUTS).astype(np.float32))
    return events, torch.from_numpy(raw["labels"].astype(np.int64)), raw["val_index"].astype(np.int64)


def split(count, val_index, k):
    """Training and validation samples of split `k`: everything that is not validated on is trained on."""
    validation = val_index[k]
    return np.setdiff1d(np.arange(count), validation), validation


def checkpoint():
    """Weights of the published network, under the names that `L2mu` gives them."""
    prefix = "model.l2mu_cell."
    tensors = load_file(golden_folder() / "l2mu_braille7_best.safetensors")
    return {name.removeprefix(prefix): torch.from_numpy(np.array(t)) for name, t in tensors.items()}
