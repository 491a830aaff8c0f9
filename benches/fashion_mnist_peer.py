#!/usr/bin/env python3
"""Trains the network of the preset quick/fashion-mnist in PyTorch + SpikingJelly under learning rules and seeds.

A run takes about an hour on one core and goes on where it was cut off (--work). What is finished stands in
docs/results/peer-fashion-mnist.jsonl and is not run again; `spikelet docs` makes the table. Spikelet's own runs:
`spikelet sweep docs/results/fashion-mnist.toml --resume`.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

BENCHES = Path(__file__).resolve().parent
RESULTS = BENCHES.parent / "docs" / "results" / "peer-fashion-mnist.jsonl"
VARIANTS = {"bptt": "BPTT", "sltt": "SLTT", "sltt-k=2": "SLTT-2", "sltt-k=1": "SLTT-1"}


def train(arguments, rule, seed):
    """The row of one run."""
    command = [arguments.python, BENCHES / "peers" / "fashion_mnist_train.py", "--data", arguments.data]
    command += ["--rule", rule, "--seed", str(seed), "--threads", str(arguments.threads)]
    arguments.work.mkdir(parents=True, exist_ok=True)
    command += ["--checkpoint", arguments.work / f"{rule}-{seed}.pt"]
    result = None
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        for line in run.stdout:
            result = json.loads(line)
            print(f"{rule}, seed {seed}: {line.strip()}", file=sys.stderr, flush=True)
    if run.returncode != 0 or "test_accuracy" not in (result or {}):
        sys.exit(f"error: the run of {rule}, seed {seed} ended with code {run.returncode} and no result")
    return {
        "variant": VARIANTS[rule],
        "seed": seed,
        "accuracy": result["test_accuracy"],
        "last_accuracy": result["last_test_accuracy"],
        "best_epoch": result["best_epoch"],
        "train_sequences": result["train"],
        "sequences": result["test"],
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of the idx files")
    parser.add_argument("--rule", action="append", choices=VARIANTS, help="only these (may be repeated)")
    parser.add_argument("--seed", action="append", type=int, help="default 1, 2 and 3 (may be repeated)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, default=BENCHES.parent / "runs" / "peer-fashion-mnist", help="checkpoints")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has the peers' packages")
    arguments = parser.parse_args()
    for seed in arguments.seed or [1, 2, 3]:
        for rule in arguments.rule or VARIANTS:
            lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
            done = {(row["variant"], row["seed"]) for row in map(json.loads, lines)}
            if (VARIANTS[rule], seed) not in done:
                row = train(arguments, rule, seed)
                with RESULTS.open("a") as results:
                    results.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
