#!/usr/bin/env python3
"""Readings for a model, as C and as Rust, and what `spikelet run` makes of them.

    prepare.py SPIKELET MODEL FOLDER STEPS [READINGS]

writes samples.h, samples.rs and expected.txt into FOLDER. READINGS is a file of the Braille data set,
images of Fashion-MNIST (*-idx3-ubyte.gz), or a CSV with the model's channels; without one, readings are
made up from a fixed sequence. Needs no package.
"""
import csv, gzip, json, math, pathlib, struct, subprocess, sys

spikelet, model, folder, steps = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]), int(sys.argv[4])
raw = open(model, "rb").read()
size = struct.unpack("<Q", raw[:8])[0]
graph = json.loads(json.loads(raw[8:8 + size])["__metadata__"]["spikelet.graph"])
task = graph["task"]
inputs = [n for n in graph["nodes"] if n["op"] == "input"]
width = sum(math.prod(n["shape"]) for n in inputs)
binary = inputs[0]["signal"] == "binary"


def braille(path):
    """Events of the first samples, [time, channels], bits from the lowest of a byte."""
    data = open(path, "rb").read()
    size = struct.unpack("<Q", data[:8])[0]
    entry = json.loads(data[8:8 + size])["events_packed"]
    samples, row = entry["shape"]
    start = 8 + size + entry["data_offsets"][0]
    for sample in range(samples):
        packed = data[start + sample * row:start + (sample + 1) * row]
        for k in range(row * 8):
            yield float(packed[k // 8] >> (k % 8) & 1)


def images(path):
    """Every image for all steps of a window, from 0 to 1."""
    with gzip.open(path) as file:
        _, _, height, width = struct.unpack(">4I", file.read(16))
        while image := file.read(height * width):
            pixels = [struct.unpack("f", struct.pack("f", v / 255))[0] for v in image]
            for _ in range(task["window"]):
                yield from pixels


def recording(path):
    """The model's channels of a CSV, from the start again where it ends."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    while True:
        for row in rows:
            for name in task["channels"]:
                yield struct.unpack("f", struct.pack("f", float(row[name])))[0]


def read(path):
    if path.endswith(".csv"):
        return recording(path)
    return images(path) if path.endswith(".gz") else braille(path)


def made_up():
    """Numbers of a linear congruence: spikes of rate 0.2, or values around the mean."""
    seed = 1
    k = 0
    while True:
        seed = (seed * 1664525 + 1013904223) % 2**32
        u = seed / 2**32
        if binary:
            yield float(u < 0.2)
        else:
            channel = k % len(task["mean"]) if task.get("mean") else None
            mean, std = (task["mean"][channel], task["std"][channel]) if channel is not None else (0.0, 1.0)
            # As few digits as a sensor gives, so that text and binary forms are the same number.
            yield struct.unpack("f", struct.pack("f", round(mean + std * 4 * (u - 0.5), 3)))[0]
        k += 1


source = read(sys.argv[5]) if len(sys.argv) > 5 else made_up()
x = [next(source) for _ in range(steps * width)]
names = task.get("channels") or [f"c{k}" for k in range(width)]
rows = [x[k:k + width] for k in range(0, len(x), width)]
table = folder / "readings.csv"
if len(names) == width:
    text = [",".join(names)] + [",".join(repr(v) for v in row) for row in rows]
else:
    text = [",".join(f"c{k}" for k in range(width))] + [",".join(repr(v) for v in row) for row in rows]
table.write_text("\n".join(text) + "\n")
out = folder / "decisions.jsonl"
subprocess.run([spikelet, "run", model, "--input", table, "--stream", "--output", out], check=True,
               stdout=subprocess.DEVNULL)

header = (folder / "network.h").read_text()
fraction = int(header.split("NETWORK_FRACTION ")[1].split()[0])
is_integer = "int32_t scores" in header


def bits(score):
    if is_integer:
        return int(round(score * 2**fraction)) & 0xFFFFFFFF
    return struct.unpack("<I", struct.pack("<f", score))[0]


lines = []
for line in out.read_text().splitlines():
    decision = json.loads(line)
    scores = decision["scores"]
    words = [decision["step"], scores.index(max(scores))] + [bits(s) for s in scores]
    lines.append("".join(f"{w:08x} " for w in words))
(folder / "expected.txt").write_text("\n".join(lines) + "\n")
numbers = ",\n".join(", ".join(f"{v!r}f" for v in row) for row in rows)
(folder / "samples.h").write_text(
    f"#define SAMPLES_STEPS {steps}u\n#define SAMPLES_FLOAT {int(not is_integer)}\n"
    f"static const float SAMPLES[{len(x)}] = {{\n{numbers}\n}};\n")
kind, how = ("i32", "score as u32") if is_integer else ("f32", "score.to_bits()")
numbers = ",\n".join(", ".join(f"{v!r}" for v in row) for row in rows)
(folder / "samples.rs").write_text(
    "const STEPS: usize = match option_env!(\"EDGE_STEPS\") { Some(_) => 0, None => SAMPLES_STEPS };\n"
    f"const SAMPLES_STEPS: usize = {steps};\nfn bits(score: {kind}) -> u32 {{ {how} }}\n"
    f"static SAMPLES: [f32; {len(x)}] = [\n{numbers}\n];\n")
