#!/usr/bin/env python3
"""Flash, memory and instructions a step of networks on emulated machines, as a Markdown table.

    table.py SPIKELET EDGE [EMLEARN] NAME=MODEL[:READINGS] ...

EDGE is the folder of .ci/edge with compilers and emulators, and Debian's gcc-riscv64-unknown-elf. MODEL is
a graph, READINGS as prepare.py takes them. Every network is exported as floats, as integers, as
integers with half of the weights pruned, and compared with a plain dense loop over the same matrices,
all in C. EMLEARN is the unpacked PyPI package emlearn: its fully connected network (floats, three layers)
of as many parameters is then counted too, on Cortex-M. Instructions are those that the emulator executed
for many steps, less those of the same program without steps; they are no cycles.
"""
import json, math, os, pathlib, re, struct, subprocess, sys

# Images have many more instructions a step than readings of a sensor.
STEPS, IMAGE_STEPS = 256, 16
HERE = pathlib.Path(__file__).resolve().parent
FIRMWARE = HERE / "firmware"
spikelet, edge = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
networks = [argument for argument in sys.argv[3:] if "=" in argument]
emlearn = next((pathlib.Path(argument).resolve() for argument in sys.argv[3:] if "=" not in argument), None)
ROOT = edge / "fs/usr"
BIN = ROOT / "bin"
ENV = dict(os.environ, LD_LIBRARY_PATH=f"{ROOT}/lib/x86_64-linux-gnu:{edge}/fs/lib/x86_64-linux-gnu")
WORK = edge / "table"
WORK.mkdir(exist_ok=True)


def run(*command, env=None, **more):
    return subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True,
                          env=env, **more)


run("gcc", "-shared", "-fPIC", "-O2", HERE / "count.c", "-o", WORK / "count.so")

NEWLIB = ROOT / "lib/arm-none-eabi/newlib"
ARM = ["-mthumb", "-ffreestanding", "-nostdlib", "-isystem", ROOT / "include/newlib"]
MACHINES = {
    "M4F": dict(gcc="arm-none-eabi-gcc", start="arm", machine=["qemu-system-arm", "-M", "mps2-an386"],
                flags=ARM + ["-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"],
                libraries=[NEWLIB / "thumb/v7e-m+fp/hard/libm.a", NEWLIB / "thumb/v7e-m+fp/hard/libc.a"]),
    "M7": dict(gcc="arm-none-eabi-gcc", start="arm", machine=["qemu-system-arm", "-M", "mps2-an500"],
               flags=ARM + ["-mcpu=cortex-m7", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard"],
               libraries=[NEWLIB / "thumb/v7e-m+fp/hard/libm.a", NEWLIB / "thumb/v7e-m+fp/hard/libc.a"]),
    "RV32": dict(gcc="riscv64-unknown-elf-gcc", start="riscv",
                 machine=["qemu-system-riscv32", "-M", "virt", "-bios", "none"],
                 flags=[f"-B{BIN}/riscv64-unknown-elf-", "-march=rv32imac", "-mabi=ilp32",
                        "-mcmodel=medany", "-ffreestanding", "-nostdlib", "-static"]),
    "aarch64": dict(gcc="aarch64-linux-gnu-gcc-12", start="aarch64",
                    machine=["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a53", "-nic", "none"],
                    flags=[f"-B{BIN}/aarch64-linux-gnu-", "-ffreestanding", "-nostdlib", "-static",
                           "-isystem", f"{ROOT}/aarch64-linux-gnu/include"]),
}


def executed(machine, program):
    """Instructions of a whole run."""
    found = run(BIN / machine[0], *machine[1:], "-icount", "shift=0", "-plugin", WORK / "count.so",
                "-nographic", "-semihosting-config", "enable=on,target=native", "-kernel", program,
                env=ENV, stdin=subprocess.DEVNULL, timeout=240)
    return int(re.search(r"instructions (\d+)", found.stderr).group(1))


def c_counts(folder, name, steps, more=()):
    """Instructions a step, and bytes of code and tables, of state and of stack."""
    m = MACHINES[name]
    gcc = [BIN / m["gcc"], "-std=c99", "-O2", *m["flags"], f"-I{folder}", *more]
    counts = []
    for ran in (0, steps):
        out = folder / f"{name}-{ran}.elf"
        run(*gcc, "-DPRINT=0", f"-DSTEPS={ran}u", "-T", FIRMWARE / f"{m['start']}.ld",
            FIRMWARE / f"{m['start']}.c", FIRMWARE / "main.c", folder / "network.c",
            *m.get("libraries", []), "-lgcc", "-o", out, env=ENV)
        counts.append(executed(m["machine"], out))
    obj = folder / f"{name}.o"
    run(*gcc, "-fstack-usage", "-c", folder / "network.c", "-o", obj, env=ENV)
    probe = folder / f"{name}-state.c"
    probe.write_text('#include "network.h"\nnetwork_state probe;\n')
    run(*gcc, "-c", probe, "-o", folder / f"{name}-state.o", env=ENV)
    size = m["gcc"].replace("gcc-12", "size").replace("gcc", "size")

    def sections(path):
        words = run(BIN / size, path, env=ENV).stdout.splitlines()[1].split()
        return [int(w) for w in words[:3]]

    text, data, _ = sections(obj)
    state = sum(sections(folder / f"{name}-state.o")[1:3])
    frames = {}
    for line in obj.with_suffix(".su").read_text().splitlines():
        where, size_, _ = line.split("\t")
        frames[where.split(":")[-1]] = int(size_)
    stack = frames["network_step"] + max((v for k, v in frames.items() if k != "network_step"), default=0)
    return dict(instructions=(counts[1] - counts[0]) // steps, flash=text + data, state=state, stack=stack)


def read(model):
    """The graph of a file and the number of its weights."""
    raw = open(model, "rb").read()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + size])
    weights = [t for n, t in header.items() if n != "__metadata__" and not n.endswith(".scale")]
    return json.loads(header["__metadata__"]["spikelet.graph"]), sum(math.prod(t["shape"]) for t in weights)


def in_floats(model, to):
    """The same graph with 8-bit weights as floats; what has none is copied."""
    raw = open(model, "rb").read()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + size])
    meta = header.pop("__metadata__")
    graph = json.loads(meta["spikelet.graph"])
    data = lambda t: raw[8 + size + t["data_offsets"][0]:8 + size + t["data_offsets"][1]]
    values = {name: (t, data(t)) for name, t in header.items()}

    def weights(found):
        for value in found.values() if isinstance(found, dict) else found if isinstance(found, list) else []:
            if isinstance(value, dict) and value.get("scale"):
                yield value
            yield from weights(value)

    for weight in weights(graph["nodes"]):
        tensor, bytes_ = values[weight["tensor"]]
        scales = struct.unpack(f"<{len(values[weight['scale']][1]) // 4}f", values.pop(weight.pop("scale"))[1])
        # A scale belongs to an output: to a row, or to a column of weights listed by input.
        row = tensor["shape"][-1]
        scale = (lambda i: scales[i % row]) if weight["layout"] == "by_input" else (lambda i: scales[i // row])
        floats = [w * scale(i) for i, w in enumerate(struct.unpack(f"{len(bytes_)}b", bytes_))]
        values[weight["tensor"]] = dict(tensor, dtype="F32"), struct.pack(f"<{len(floats)}f", *floats)
    header, body = {"__metadata__": {"spikelet.graph": json.dumps(graph)}}, b""
    for name, (tensor, bytes_) in values.items():
        header[name] = dict(tensor, data_offsets=[len(body), len(body) + len(bytes_)])
        body += bytes_
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    to.write_bytes(struct.pack("<Q", len(text)) + text + body)


def emlearn_network(model, folder):
    """A fully connected network of emlearn with as many parameters as a model, as network.c."""
    graph, parameters = read(model)
    inputs = sum(math.prod(n["shape"]) for n in graph["nodes"] if n["op"] == "input")
    outputs = len(graph["task"]["classes"])
    # Two hidden layers of n: n^2 + n (inputs + outputs + 2) + outputs parameters.
    n = max(k for k in range(1, 4096) if k * k + k * (inputs + outputs + 2) + outputs <= parameters)
    room = max(n, inputs)
    folder.mkdir(parents=True, exist_ok=True)
    shapes = [(inputs, n), (n, n), (n, outputs)]
    tables = "".join(f"const float w{k}[{i * o}] = {{1.0f}};\nconst float c{k}[{o}] = {{1.0f}};\n"
                     for k, (i, o) in enumerate(shapes))
    layers = ", ".join(f"{{{o}, {i}, w{k}, c{k}, EmlNetActivation{'Identity' if k == 2 else 'Relu'}}}"
                       for k, (i, o) in enumerate(shapes))
    header(folder, inputs, outputs, "float")
    (folder / "network.c").write_text(
        f'#include <stdbool.h>\n#include <stddef.h>\n#include <eml_net.h>\n#include "network.h"\n{tables}'
        f"static const EmlNetLayer layers[3] = {{{layers}}};\nstatic float a[{room}], b[{room}];\n"
        f"static EmlNet net = {{3, layers, a, b, {room}}};\n"
        "void network_reset(network_state *s) { s->steps = 0; }\n"
        "void network_step(network_state *s, const float *x, network_output *o)\n{\n"
        f"    eml_net_predict_proba(&net, x, {inputs}, o->scores, {outputs});\n"
        "    o->decision = (uint32_t)o->scores[0];\n    ++s->steps;\n}\n")


def header(folder, inputs, outputs, number):
    (folder / "network.h").write_text(
        f"#include <stdint.h>\n#define NETWORK_INPUTS {inputs}\n#define NETWORK_OUTPUTS {outputs}\n"
        "#define NETWORK_WINDOW 0u\ntypedef struct { int32_t steps; } network_state;\n"
        f"typedef struct {{ {number} scores[{outputs}]; uint32_t decision; }} network_output;\n"
        "void network_reset(network_state *s);\n"
        "void network_step(network_state *s, const float *x, network_output *o);\n")


def dense_egru(name, units, inputs, source, own, declare, tables, body):
    """A GRU as plain loops, with tables for its functions."""
    declare(name)
    tables.append(f"static const int8_t wi_{own}[{3 * units * inputs}] = {{1}}, wh_{own}[{3 * units * units}] = {{1}};")
    tables.append(f"static int32_t p_{own}[{3 * units}], q_{own}[{3 * units}], h_{own}[{units}];")
    tables.append(f"static const int16_t t_{own}[1024] = {{1}};")
    for to, table, width, given in ((f"p_{own}", f"wi_{own}", inputs, source), (f"q_{own}", f"wh_{own}", units, own)):
        body.append(f"for (j = 0; j < {3 * units}; ++j) {{ int32_t s = 0; for (i = 0; i < {width}; ++i) "
                    f"s += {table}[j * {width} + i] * {given}[i]; {to}[j] = (int32_t)(((int64_t)s * 29491) >> 16); }}")
    look = lambda x: f"t_{own}[(uint32_t)(({x}) >> 6) & 1023u]"
    body.append(
        f"for (j = 0; j < {units}; ++j) {{ const int32_t z = {look(f'p_{own}[j] + q_{own}[j]')}; "
        f"const int32_t r = {look(f'p_{own}[{units} + j] + q_{own}[{units} + j]')}; "
        f"const int32_t g = {look(f'p_{own}[{2 * units} + j] + ((r * q_{own}[{2 * units} + j]) >> 15)')}; "
        f"h_{own}[j] = g + (((h_{own}[j] - g) * z) >> 15); {own}[j] = (int16_t)h_{own}[j]; }}")


def dense_convolution(node, source, to, tables):
    """A convolution of channels-last values as plain loops; sums go to an array of 32-bit integers."""
    (h, w, channels), (oh, ow, outputs) = source["shape"], node["shape"]
    (sh, sw), (ph, pw) = node["stride"], node["padding"]
    kh, kw = h + 2 * ph - sh * (oh - 1), w + 2 * pw - sw * (ow - 1)
    table = f"w_{len(tables)}"
    tables.append(f"static const int8_t {table}[{outputs * kh * kw * channels}] = {{1}};")
    tables.append(f"static int32_t {to}[{oh * ow * outputs}];")
    given = "b_" + re.sub(r"\W", "_", source["name"])
    return (f"for (y = 0; y < {oh}; ++y) for (u = 0; u < {ow}; ++u) for (j = 0; j < {outputs}; ++j) {{ int32_t s = 0; "
            f"for (k = 0; k < {kh}; ++k) for (l = 0; l < {kw}; ++l) {{ "
            f"const int row = y * {sh} + k - {ph}, at = u * {sw} + l - {pw}; "
            f"if (row < 0 || row >= {h} || at < 0 || at >= {w}) continue; "
            f"for (i = 0; i < {channels}; ++i) s += {table}[((j * {kh} + k) * {kw} + l) * {channels} + i] * "
            f"{given}[(row * {w} + at) * {channels} + i]; }} "
            f"{to}[(y * {ow} + u) * {outputs} + j] = (int32_t)(((int64_t)s * 29491) >> 16); }}")


def dense_pool(node, source):
    """The mean of windows that touch, as plain loops."""
    (_, w, channels), (oh, ow, _), (kh, kw) = source["shape"], node["shape"], node["kernel"]
    given, to = ("b_" + re.sub(r"\W", "_", n["name"]) for n in (source, node))
    return (f"for (y = 0; y < {oh}; ++y) for (u = 0; u < {ow}; ++u) for (j = 0; j < {channels}; ++j) {{ int32_t s = 0; "
            f"for (k = 0; k < {kh}; ++k) for (l = 0; l < {kw}; ++l) "
            f"s += {given}[((y * {kh} + k) * {w} + u * {kw} + l) * {channels} + j]; "
            f"{to}[(y * {ow} + u) * {channels} + j] = (int16_t)((s << 4) / {kh * kw}); }}")


def dense_network(model, folder):
    """The same matrices and populations as plain loops over all inputs, as network.c."""
    graph, _ = read(model)
    nodes = {n["name"]: n for n in graph["nodes"]}
    into = {}
    for e in graph["edges"]:
        into.setdefault(e["to"], []).append(e["from"])
    elements = lambda n: math.prod(nodes[n]["shape"])
    body, tables, seen = [], [], set()
    array = lambda n: "b_" + re.sub(r"\W", "_", n)

    def declare(n):
        if n not in seen:
            seen.add(n)
            tables.append(f"static int16_t {array(n)}[{elements(n)}];")

    order = [n for n in graph["nodes"]]
    output = None
    for n in order:
        name, op = n["name"], n["op"]
        if op == "input":
            declare(name)
            body.append(f"for (i = 0; i < {elements(name)}; ++i) {array(name)}[i] = (int16_t)(x[i] * 256.0f);")
    sums = {}
    for n in order:
        name, op = n["name"], n["op"]
        if op == "linear":
            source = into[name][0]
            rows, width = elements(name), elements(source)
            declare(source)
            tables.append(f"static const int8_t w_{len(tables)}[{rows * width}] = {{1}};")
            sums[name] = (f"w_{len(tables) - 1}", source, rows, width, None)
        elif op == "conv2d":
            sums[name] = ("conv", into[name][0], 0, 0, None)
        elif op == "legendre":
            sums[name] = ("legendre", into[name], n["memories"], n["order"], None)
    for n in order:
        name, op = n["name"], n["op"]
        if op == "egru":
            source = next(e["from"] for e in graph["edges"] if e["to"] == name and e["port"] == 0)
            dense_egru(name, elements(name), elements(source), array(source), array(name), declare, tables, body)
            continue
        if op == "readout" and into[name][0] in sums:
            # A linear read-out: its products go to the scores.
            table, given, rows, width, _ = sums[into[name][0]]
            tables.append(f"static int16_t {array(name)}[{rows}];")
            body.append(f"for (j = 0; j < {rows}; ++j) {{ int32_t s = 0; for (i = 0; i < {width}; ++i) "
                        f"s += {table}[j * {width} + i] * {array(given)}[i]; {array(name)}[j] = (int16_t)(s >> 8); }}")
            output = name
            continue
        if op == "pool2d":
            declare(name)
            body.append(dense_pool(n, nodes[into[name][0]]))
        elif op == "flatten":
            declare(name)
            body.append(f"for (i = 0; i < {elements(name)}; ++i) {array(name)}[i] = {array(into[name][0])}[i];")
        if op != "neuron":
            continue
        declare(name)
        if nodes[into[name][0]]["op"] == "scale":
            source = array(into[into[name][0]][0])
            tables.append(f"static int32_t v_{array(name)}[{elements(name)}];")
            body.append(f"for (j = 0; j < {elements(name)}; ++j) {{ v_{array(name)}[j] = (int32_t)(((int64_t)"
                        f"v_{array(name)}[j] * 58982) >> 16) + {source}[j] * 26; "
                        f"{array(name)}[j] = (int16_t)(v_{array(name)}[j] >> 4); }}")
            continue
        count = elements(name)
        tables.append(f"static int32_t v_{array(name)}[{count}], c_{array(name)}[{count}];")
        body.append(f"for (j = 0; j < {count}; ++j) c_{array(name)}[j] = 0;")
        for source in into[name]:
            table, given, rows, width, _ = sums[source]
            if table == "conv":
                declare(given)
                to = f"s_{array(source)}"
                body.append(dense_convolution(nodes[source], nodes[given], to, tables))
                body.append(f"for (j = 0; j < {count}; ++j) c_{array(name)}[j] += {to}[j];")
            elif table == "legendre":
                u, m = given
                declare(u), declare(m)
                tables.append(f"static const int8_t a_{array(source)}[{width * width}] = {{1}}, "
                              f"g_{array(source)}[{width}] = {{1}};")
                body.append(
                    f"for (k = 0; k < {rows}; ++k) for (j = 0; j < {width}; ++j) {{ "
                    f"int32_t s = g_{array(source)}[j] * {array(u)}[k]; "
                    f"for (i = 0; i < {width}; ++i) s += a_{array(source)}[j * {width} + i] * {array(m)}[k * {width} + i]; "
                    f"c_{array(name)}[k * {width} + j] += s; }}")
            else:
                body.append(
                    f"for (j = 0; j < {rows}; ++j) {{ int32_t s = 0; "
                    f"for (i = 0; i < {width}; ++i) s += {table}[j * {width} + i] * {array(given)}[i]; "
                    f"c_{array(name)}[j] += (int32_t)(((int64_t)s * 29491) >> 16); }}")
        body.append(
            f"for (j = 0; j < {count}; ++j) {{ int32_t v = (int32_t)(((int64_t)v_{array(name)}[j] * 29491) >> 16) "
            f"+ c_{array(name)}[j]; if (v_{array(name)}[j] > 13107) v -= 13107; v_{array(name)}[j] = v; "
            f"{array(name)}[j] = v > 13107; }}")
        output = name
    folder.mkdir(parents=True, exist_ok=True)
    inputs = sum(elements(n["name"]) for n in order if n["op"] == "input")
    outputs = elements(output)
    header(folder, inputs, outputs, "int32_t")
    (folder / "network.c").write_text(
        '#include "network.h"\n' + "\n".join(tables).replace("static const int8_t", "const int8_t") +
        "\nvoid network_reset(network_state *s) { s->steps = 0; }\n"
        "void network_step(network_state *s, const float *x, network_output *o)\n{\n"
        "    int i, j, k, l, y, u;\n    (void)k, (void)l, (void)y, (void)u;\n    " + "\n    ".join(body) +
        f"\n    for (j = 0; j < {outputs}; ++j) o->scores[j] += {array(output)}[j];\n"
        "    o->decision = (uint32_t)o->scores[0];\n    ++s->steps;\n}\n")


def main():
    rows = []
    for argument in networks:
        name, model = argument.split("=", 1)
        model, _, data = model.partition(":")
        base = WORK / name
        run("rm", "-rf", base)
        base.mkdir(parents=True)
        graph, parameters = read(model)
        ops = {n["op"] for n in graph["nodes"]}
        steps = IMAGE_STEPS if "conv2d" in ops else STEPS
        forms = [("float", None), ("int8", []), ("int8, 50 % pruned", ["--prune", "0.5"])]
        # In floats event-based GRUs and large convolutions have no form for small devices.
        for form, options in forms[bool(ops & {"egru", "conv2d"}):]:
            folder = base / re.sub(r"\W+", "-", form)
            file = folder.with_suffix(".safetensors")
            if options is None:
                in_floats(model, file)
            else:
                run(spikelet, "-q", "compress", model, "--integer-only", *options, "--out", file)
            run(spikelet, "-q", "export", file, "--target", "c99", "--out", folder)
            run(sys.executable, HERE / "prepare.py", spikelet, file, folder, steps, *([data] if data else []))
            rows.append((name, form, {m: c_counts(folder, m, steps) for m in MACHINES}))
            print(rows[-1], file=sys.stderr, flush=True)
        samples = (base / "int8/samples.h").read_text()
        dense_network(model, base / "dense")
        (base / "dense/samples.h").write_text(samples)
        rows.append((name, "dense loop, 8 bits", {m: c_counts(base / "dense", m, steps) for m in MACHINES}))
        if emlearn:
            emlearn_network(model, base / "emlearn")
            (base / "emlearn/samples.h").write_text(samples)
            found = {m: c_counts(base / "emlearn", m, steps, ["-isystem", emlearn, "-fno-builtin"]) for m in ("M4F", "M7")}
            rows.append((name, "emlearn, fully connected, float", found))
        print(rows[-1], parameters, file=sys.stderr, flush=True)
    print("| network | form | flash | state | stack | M4F | M7 | RV32 | aarch64 |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, form, found in rows:
        m4 = found["M4F"]
        ours = not form.startswith(("dense", "emlearn"))
        memory = [f"{m4[what]:,}" if ours else "-" for what in ("state", "stack")]
        counts = [f"{found[m]['instructions']:,}" if m in found else "-" for m in MACHINES]
        print("| " + " | ".join([name, form, f"{m4['flash']:,}", *memory, *counts]) + " |")


main()
