#!/usr/bin/env python3
"""Time of a step at batch 1 over the fraction of units with an event: table and plot.

Runs `spikelet bench egru` and its peer (benches/peers/egru_torch.py) in turn, case by case, or reads what they
printed (--from FILE, one JSON object a line; rows of the peer have "peer": true), and writes
docs/results/egru-activity.jsonl, of which `spikelet docs` makes the table, and docs/egru-activity.svg.
"""

import argparse
import json
import math
import platform
import subprocess
import time
from pathlib import Path

BENCHES = Path(__file__).resolve().parent
DOCS = BENCHES.parent / "docs"
CASES = [f"step/activity-{a}" for a in (1, 5, 10, 20, 50, 100)] + ["step/table", "step/pruned", "step/decoder"]
NAMES = {
    "step/table": "10 %, the first layer's product looked up by token",
    "step/pruned": "10 %, 95 % of all weights zero",
    "step/decoder": "10 %, with a decoder of 10,000 words",
}
WIDTH, HEIGHT, LEFT, TOP = 460, 300, 60, 40


def measure(spikelet, python, runs):
    """Lines of both programs, which take turns so that both meet the same machine."""
    for _ in range(runs):
        for case in CASES:
            mine = [spikelet, "bench", "egru", "--case", case, "--json"]
            peer = [python, BENCHES / "peers" / "egru_torch.py", "--case", case]
            for command, other in ((mine, False), (peer, True)):
                text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                yield from ({**json.loads(line), "peer": other} for line in text.splitlines())


def rows(lines):
    """One row a case: the fastest run of either program, and the activity."""
    found = {case: {} for case in CASES}
    for line in lines:
        row, value = found[line["case"]], line["value"]
        if line["metric"] == "time":
            key = "peer" if line["peer"] else "time"
            row[key] = min(value, row.get(key, math.inf))
        elif line["metric"] == "activity" and not line["peer"]:
            row["activity"] = value
    done = []
    for case, row in found.items():
        if "time" in row:
            name = NAMES.get(case, f"{case.rsplit('-', 1)[-1]} %")
            ratio = {"ratio": row["peer"] / row["time"]} if "peer" in row else {}
            done.append({"case": case, "layers": name, **row, **ratio})
    return done


def plot(found):
    """Both axes logarithmic; the peer's time does not depend on the activity."""
    line = [(row["activity"], row["time"]) for row in found if row["case"].startswith("step/activity")]
    peers = [row["peer"] for row in found if row["case"].startswith("step/activity") and "peer" in row]
    values = [time for _, time in line] + peers
    low, high = math.floor(math.log2(min(values))), math.ceil(math.log2(max(values)))
    x = lambda activity: LEFT + WIDTH * math.log(activity) / math.log(100)
    y = lambda value: TOP + HEIGHT * (high - math.log2(value)) / (high - low)
    width, height = LEFT + WIDTH + 30, TOP + HEIGHT + 70
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="{TOP - 14}" font-weight="bold">milliseconds a step, 750 / 1350 x 3, batch 1, one thread</text>',
    ]
    for power in range(low, high + 1):
        label = f"{2**power:g}" if power >= 0 else f"1/{2**-power}"
        at = y(2.0**power)
        out.append(f'<line x1="{LEFT}" y1="{at:.1f}" x2="{LEFT + WIDTH}" y2="{at:.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{label}</text>')
    for activity, _ in line:
        out.append(f'<text x="{x(activity):.1f}" y="{TOP + HEIGHT + 16}" text-anchor="middle">{activity:.0f}</text>')
    middle = LEFT + WIDTH / 2
    out.append(f'<text x="{middle}" y="{TOP + HEIGHT + 34}" text-anchor="middle">units with an event (%)</text>')
    if peers:
        at = y(min(peers))
        out.append(f'<line x1="{LEFT}" y1="{at:.1f}" x2="{LEFT + WIDTH}" y2="{at:.1f}" stroke="#c0392b" stroke-width="2"/>')
        out.append(f'<text x="{LEFT + WIDTH}" y="{at - 6:.1f}" text-anchor="end" fill="#c0392b">nn.GRU of PyTorch</text>')
    points = " ".join(f"{x(a):.1f},{y(t):.1f}" for a, t in line)
    out.append(f'<polyline points="{points}" fill="none" stroke="#1f77b4" stroke-width="2"/>')
    out += [f'<circle cx="{x(a):.1f}" cy="{y(t):.1f}" r="3" fill="#1f77b4"/>' for a, t in line]
    out.append(f'<text x="{LEFT + 8}" y="{y(line[0][1]) + 18:.1f}" fill="#1f77b4">Spikelet</text>')
    return "\n".join([*out, "</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spikelet", default="target/release/spikelet", help="the binary")
    parser.add_argument("--python", default="python3", help="a Python with PyTorch (benches/peers/README.md)")
    parser.add_argument("--runs", type=int, default=3, help="runs of every case; the fastest counts")
    parser.add_argument("--from", dest="source", type=Path, help="what was printed, instead of running it")
    parser.add_argument("--keep", type=Path, help="write what was printed to this file")
    arguments = parser.parse_args()
    if arguments.source:
        lines = [json.loads(line) for line in arguments.source.read_text().splitlines()]
    else:
        lines = list(measure(arguments.spikelet, arguments.python, arguments.runs))
    if arguments.keep:
        arguments.keep.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = rows(lines)
    about = {"date": time.strftime("%Y-%m-%d"), "machine": platform.machine()}
    (DOCS / "results" / "egru-activity.jsonl").write_text("".join(json.dumps({**row, **about}) + "\n" for row in found))
    (DOCS / "egru-activity.svg").write_text(plot(found))


if __name__ == "__main__":
    main()
