"""Trains the preset quick/fashion-mnist with Spikelet and with its peer, for `benches/compare fashion-mnist`."""

import json
import statistics
import subprocess
import tempfile
from pathlib import Path

PRESET = "quick/fashion-mnist"
RULES = ["bptt", "sltt", "sltt-k=1"]


def spikelet(program, rule, seed, data, epochs):
    """The figures of one run, {(case, metric): (value, unit)}."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [program, "train", PRESET, "--rule", rule, "--seed", str(seed), "--out", str(run), "--json"]
        command += ["--data", data, "--set", f"train.epochs={epochs}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        result = json.loads((run / "result.json").read_text())
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    if result["part"] != "test":
        raise ValueError(f"the accuracy is that of the {result['part']} part")
    return _figures(rule, result["accuracy"], rows)


def peer(python, program, rule, seed, data, epochs):
    """The same of the peer."""
    command = [python, program, "--rule", rule, "--seed", str(seed), "--data", data, "--epochs", str(epochs)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    *rows, result = map(json.loads, done.stdout.splitlines())
    return _figures(rule, result["test_accuracy"], rows)


def _figures(rule, accuracy, epochs):
    seconds = statistics.median(row["seconds"] for row in epochs)
    return {(rule, "test_accuracy"): (100 * accuracy, "%"), (rule, "epoch"): (seconds, "s")}
