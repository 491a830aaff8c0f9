#!/usr/bin/env python3
"""The energy table of Meta-SpikeFormer's paper, of fresh networks at chosen firing rates, under every accounting.

Lets `spikelet bench metaspikeformer --prepare` make each network (some minutes), runs `spikelet profile --energy paper`
over one made-up photograph of 224 x 224, and writes docs/results/metaspikeformer-energy.jsonl, of which `spikelet docs`
makes the table. Weights are random and no checkpoint is involved: thresholds are such that about the rate named fires
in every population. A sum is a constant, the first convolution, and a part that grows with the rate; `rate_of_paper` is
the rate at which the sum under the paper's accounting would be the figure in the paper.
"""

import argparse
import json
import random
import struct
import subprocess
import tempfile
import time
from pathlib import Path

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results" / "metaspikeformer-energy.jsonl"
# Millijoules of an image in the paper, by size and steps.
PAPER = {("15m", 1): 4.0, ("15m", 4): 16.7, ("31m", 1): 7.8, ("31m", 4): 32.8, ("55m", 1): 13.0, ("55m", 4): 52.4}
# Percent of the neurons.
RATES = [10, 20]
# Columns of the table, and the choices of each.
CHOICES = {
    "paper": [],
    "first_once": ["--first-conv", "once"],
    "rep_parts": ["--rep-conv", "parts"],
    "sep_parts": ["--sep-conv", "parts"],
    "all_three": ["--first-conv", "once", "--rep-conv", "parts", "--sep-conv", "parts"],
}
VALUES = 224 * 224 * 3


def photograph(path, steps):
    """One sample, the same values in every step, about as those of a normalised photograph."""
    generator = random.Random(3)
    frame = [2.0 * (generator.random() + generator.random() + generator.random()) - 3.0 for _ in range(VALUES)]
    values = struct.pack(f"<{VALUES}f", *frame) * steps
    about = {"classes": ["any"], "channels": [str(k) for k in range(VALUES)], "step_ms": 0.0}
    at, header = 0, {"__metadata__": {"spikelet.sequences": json.dumps(about)}}
    for name, dtype, shape in [("x", "F32", [1, steps, VALUES]), ("y", "U32", [1]), ("group", "U32", [1])]:
        size = 4 * (steps * VALUES if name == "x" else 1)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + values + bytes(8))


def row(spikelet, folder, size, steps, rate):
    graph, data = folder / "graph.safetensors", folder / f"image-{steps}.safetensors"
    case = f"{size}/{steps}/{rate}"
    subprocess.run([spikelet, "bench", "metaspikeformer", "--case", case, "--prepare", graph], check=True)
    found = {"size": size, "steps": steps, "rate": rate}
    for name, choice in CHOICES.items():
        command = [spikelet, "profile", graph, "--data", data, "--energy", "paper", "--json", *choice]
        report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        found[name] = report["paper_energy"]["millijoules_per_sample"]
        fired = [layer for layer in report["layers"] if layer["firing_rate"] is not None]
        spikes = sum(layer["activation_nonzeros"] for layer in fired)
        found["measured_rate"] = 100 * spikes / sum(layer["activation_elements"] for layer in fired)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spikelet", default="target/release/spikelet", help="the binary")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for steps in (1, 4):
            photograph(folder / f"image-{steps}.safetensors", steps)
        for (size, steps), published in PAPER.items():
            low, high = (row(arguments.spikelet, folder, size, steps, rate) for rate in RATES)
            slope = (high["paper"] - low["paper"]) / (high["measured_rate"] - low["measured_rate"])
            needed = low["measured_rate"] + (published - low["paper"]) / slope
            for one in (low, high):
                rows.append(one | {"published": published, "rate_of_paper": needed, "date": time.strftime("%Y-%m-%d")})
    RESULTS.write_text("".join(json.dumps(one) + "\n" for one in rows))


if __name__ == "__main__":
    main()
