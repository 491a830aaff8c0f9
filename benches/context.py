#!/usr/bin/env python3
"""Time and memory of a token over the context: SpikeGPT beside attention, table and plot.

Runs `spikelet bench context --json` (some minutes) or reads what it printed (--from FILE), and writes
docs/results/context.jsonl, of which `spikelet docs` makes the table, and docs/context.svg.
"""

import argparse
import json
import subprocess
import time
from pathlib import Path

from sltt_steps import DOCS, HEIGHT, LEFT, TOP, WIDTH, panel, svg

LINES = [("spikegpt", "#1f77b4"), ("attention", "#c0392b")]
PANELS = [("time", "milliseconds a token"), ("state", "KiB kept for a sequence")]


def rows(text):
    """One row for every network and context."""
    found = {}
    for line in text.splitlines():
        entry = json.loads(line)
        rule, context = entry["case"].split("/")
        row = found.setdefault((rule, context), {"network": "12 x 512", "rule": rule, "steps": int(context[:-1])})
        row[entry["metric"]] = entry["value"]
    return list(found.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spikelet", default="target/release/spikelet", help="the binary")
    parser.add_argument("--from", dest="source", type=Path, help="what the bench printed, instead of running it")
    arguments = parser.parse_args()
    if arguments.source:
        text = arguments.source.read_text()
    else:
        command = [arguments.spikelet, "bench", "context", "--json"]
        text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = rows(text)
    names = {"network": "network", "rule": "kind", "steps": "context"}
    date = time.strftime("%Y-%m-%d")
    lines = [json.dumps({**{names.get(key, key): value for key, value in row.items()}, "date": date}) for row in found]
    (DOCS / "results" / "context.jsonl").write_text("\n".join(lines) + "\n")
    parts = []
    for column, (metric, title) in enumerate(PANELS):
        parts += panel(found, "12 x 512", metric, title, LEFT + column * (WIDTH + LEFT + 40), TOP, LINES)
    (DOCS / "context.svg").write_text(svg(2 * (WIDTH + LEFT + 40), HEIGHT + TOP + 80, parts, LINES))


if __name__ == "__main__":
    main()
