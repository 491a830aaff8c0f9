#!/usr/bin/env python3
"""Time and memory of a training step over the number of time steps: table and plot.

Runs `spikelet bench sltt --json` (about ten minutes) or reads what it printed (--from FILE), and writes
docs/results/sltt-steps.jsonl, of which `spikelet docs` makes the table, and docs/sltt-steps.svg.
"""

import argparse
import json
import platform
import subprocess
import time
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
RULES = {"bptt": "BPTT", "bptt-checkpoint=1": "BPTT, checkpointed", "sltt": "SLTT", "sltt-k=1": "SLTT-1"}
COLOURS = ("#c0392b", "#e08e0b", "#1f77b4", "#2ca02c")
LINES = list(zip(RULES.values(), COLOURS))
PANELS = [("step_memory", "MiB above model and optimiser"), ("time", "seconds a training step")]
WIDTH, HEIGHT, LEFT, TOP = 380, 240, 60, 40


def rows(text):
    """One row for every network, rule and number of steps."""
    found = {}
    for line in text.splitlines():
        entry = json.loads(line)
        network, rule, steps = entry["case"].split("/")
        if rule in RULES:
            key = (network, rule, int(steps))
            found.setdefault(key, {})[entry["metric"]] = entry["value"]
    return [
        {"network": network, "rule": RULES[rule], "steps": steps, **metrics}
        for (network, rule, steps), metrics in sorted(
            found.items(), key=lambda item: (item[0][0], list(RULES).index(item[0][1]), item[0][2])
        )
    ]


def panel(rows, network, metric, title, x0, y0, lines=LINES):
    """Lines over steps, one for each (rule, colour), both axes logarithmic."""
    import math

    mine = [row for row in rows if row["network"] == network]
    steps = sorted({row["steps"] for row in mine})
    values = [row[metric] for row in mine]
    low, high = math.floor(math.log2(min(values))), math.ceil(math.log2(max(values)))
    x = lambda step: x0 + WIDTH * math.log2(step / steps[0]) / math.log2(steps[-1] / steps[0])
    y = lambda value: y0 + HEIGHT * (high - math.log2(value)) / (high - low)
    out = [f'<text x="{x0}" y="{y0 - 12}" font-weight="bold">{network}: {title}</text>']
    for power in range(low, high + 1):
        label = f"{2**power:g}" if power >= 0 else f"1/{2**-power}"
        out.append(f'<line x1="{x0}" y1="{y(2.0**power):.1f}" x2="{x0 + WIDTH}" y2="{y(2.0**power):.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{x0 - 6}" y="{y(2.0**power) + 4:.1f}" text-anchor="end">{label}</text>')
    for step in steps:
        out.append(f'<text x="{x(step):.1f}" y="{y0 + HEIGHT + 16}" text-anchor="middle">{step}</text>')
    for name, colour in lines:
        line = [(x(row["steps"]), y(row[metric])) for row in mine if row["rule"] == name]
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in line)
        out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in line]
    return out


def svg(width, height, parts, lines):
    """A picture of panels, with a legend of lines below."""
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        *parts,
    ]
    for index, (name, colour) in enumerate(lines):
        x, y = LEFT + 170 * index, height - 16
        out.append(f'<line x1="{x}" y1="{y - 4}" x2="{x + 24}" y2="{y - 4}" stroke="{colour}" stroke-width="2"/>')
        out.append(f'<text x="{x + 30}" y="{y}">{name}</text>')
    return "\n".join([*out, "</svg>", ""])


def plot(rows):
    networks = sorted({row["network"] for row in rows}, reverse=True)
    width, height = 2 * (WIDTH + LEFT + 40), len(networks) * (HEIGHT + TOP + 40) + 40
    parts = []
    for row, network in enumerate(networks):
        for column, (metric, title) in enumerate(PANELS):
            parts += panel(rows, network, metric, title, LEFT + column * (WIDTH + LEFT + 40), TOP + row * (HEIGHT + TOP + 40))
    return svg(width, height, parts, LINES)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spikelet", default="target/release/spikelet", help="the binary")
    parser.add_argument("--from", dest="source", type=Path, help="what the bench printed, instead of running it")
    arguments = parser.parse_args()
    if arguments.source:
        text = arguments.source.read_text()
    else:
        command = [arguments.spikelet, "bench", "sltt", "--json"]
        text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = rows(text)
    about = {"date": time.strftime("%Y-%m-%d"), "machine": f"{platform.machine()}"}
    lines = [json.dumps({**row, **about}) for row in found]
    (DOCS / "results" / "sltt-steps.jsonl").write_text("\n".join(lines) + "\n")
    (DOCS / "sltt-steps.svg").write_text(plot(found))


if __name__ == "__main__":
    main()
