#!/usr/bin/env python3
"""Flash, memory and instructions a step of networks on emulated machines, as a Markdown table.

    table.py SPIKELET EDGE NAME=MODEL[:BRAILLE] ...

EDGE is the folder of .ci/edge with compilers and emulators. MODEL is a graph of floats. Every network
is exported as floats, as integers, as integers with half of the weights pruned, and compared with a
plain dense loop over the same matrices in C. Instructions are those that the emulator executed for
STEPS steps, less those of the same program without steps; they are no cycles.
"""
import json, os, pathlib, re, struct, subprocess, sys

STEPS = 256
HERE = pathlib.Path(__file__).resolve().parent
FIRMWARE = HERE / "firmware"
spikelet, edge = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
ROOT = edge / "fs/usr"
BIN = ROOT / "bin"
ENV = dict(os.environ, LD_LIBRARY_PATH=f"{ROOT}/lib/x86_64-linux-gnu:{edge}/fs/lib/x86_64-linux-gnu")
WORK = edge / "table"
WORK.mkdir(exist_ok=True)


def run(*command, env=None, **more):
    return subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True,
                          env=env, **more)


run("gcc", "-shared", "-fPIC", "-O2", HERE / "count.c", "-o", WORK / "count.so")

ARM = ["-mthumb", "-ffreestanding", "-nostdlib"]
MACHINES = {
    "M4F": dict(gcc="arm-none-eabi-gcc", start="arm", machine=["qemu-system-arm", "-M", "mps2-an386"],
                flags=ARM + ["-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"]),
    "M7": dict(gcc="arm-none-eabi-gcc", start="arm", machine=["qemu-system-arm", "-M", "mps2-an500"],
               flags=ARM + ["-mcpu=cortex-m7", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard"]),
    "aarch64": dict(gcc="aarch64-linux-gnu-gcc-12", start="aarch64",
                    machine=["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a53", "-nic", "none"],
                    flags=[f"-B{BIN}/aarch64-linux-gnu-", "-ffreestanding", "-nostdlib", "-static",
                           "-mstrict-align", "-isystem", f"{ROOT}/aarch64-linux-gnu/include"]),
}


def executed(machine, program):
    """Instructions of a whole run."""
    found = run(BIN / machine[0], *machine[1:], "-icount", "shift=0", "-plugin", WORK / "count.so",
                "-nographic", "-semihosting-config", "enable=on,target=native", "-kernel", program,
                env=ENV, stdin=subprocess.DEVNULL, timeout=240)
    return int(re.search(r"instructions (\d+)", found.stderr).group(1))


def c_counts(folder, name):
    """Instructions a step, and bytes of code and tables, of state and of stack."""
    m = MACHINES[name]
    gcc = [BIN / m["gcc"], "-std=c99", "-O2", *m["flags"], f"-I{folder}"]
    counts = []
    for steps in (0, STEPS):
        out = folder / f"{name}-{steps}.elf"
        run(*gcc, "-DPRINT=0", f"-DSTEPS={steps}u", "-T", FIRMWARE / f"{m['start']}.ld",
            FIRMWARE / f"{m['start']}.c", FIRMWARE / "main.c", folder / "network.c", "-lgcc",
            "-o", out, env=ENV)
        counts.append(executed(m["machine"], out))
    obj = folder / f"{name}.o"
    run(*gcc, "-fstack-usage", "-c", folder / "network.c", "-o", obj, env=ENV)
    probe = folder / f"{name}-state.c"
    probe.write_text('#include "network.h"\nnetwork_state probe;\n')
    run(*gcc, "-c", probe, "-o", folder / f"{name}-state.o", env=ENV)
    size = str(m["gcc"]).replace("gcc-12", "size").replace("gcc", "size")

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
    return dict(instructions=(counts[1] - counts[0]) // STEPS, flash=text + data, state=state, stack=stack)


def rust_counts(folder, target):
    """Instructions a step of the exported crate on RV32."""
    crate = folder.parent / "firmware"
    (crate / "src").mkdir(parents=True, exist_ok=True)
    for name in ("Cargo.toml", "src/main.rs"):
        (crate / name).write_text((FIRMWARE / name).read_text())
    (crate / "src/samples.rs").write_text((folder / "samples.rs").read_text())
    run("rm", "-rf", crate / "network")
    run("cp", "-r", folder.parent / "rs", crate / "network")
    sysroot = run("rustc", "--print", "sysroot").stdout.strip()
    lld = f"{sysroot}/lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld"
    vendor = next(ROOT.glob("src/rustc-*/library/vendor"))
    counts = []
    for quiet in ("0", ""):
        env = dict(os.environ, RUSTC=str(edge / "rustc"), RUSTC_BOOTSTRAP="1",
                   RUSTFLAGS=f"-Clinker={lld} -Clink-arg=-T{FIRMWARE}/riscv.ld",
                   CARGO_TARGET_DIR=str(edge / "target-firmware"))
        env.pop("EDGE_STEPS", None)
        if quiet:
            env["EDGE_STEPS"] = quiet
        (crate / "src/main.rs").touch()
        run("cargo", "build", "--offline", "--release", "--features", "quiet", "--target", target,
            "-Zbuild-std=core", "--config", 'source.crates-io.replace-with="v"', "--config",
            f'source.v.directory="{vendor}"', cwd=crate, env=env)
        counts.append(executed(["qemu-system-riscv32", "-M", "virt", "-bios", "none"],
                               edge / "target-firmware" / target / "release/firmware"))
    return (counts[1] - counts[0]) // STEPS


def dense_network(model, folder):
    """The same matrices and populations as plain loops over all inputs, as network.c."""
    raw = open(model, "rb").read()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + size])
    graph = json.loads(header["__metadata__"]["spikelet.graph"])
    nodes = {n["name"]: n for n in graph["nodes"]}
    into = {}
    for e in graph["edges"]:
        into.setdefault(e["to"], []).append(e["from"])
    elements = lambda n: nodes[n]["shape"][-1]
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
        elif op == "legendre":
            sums[name] = ("legendre", into[name], n["memories"], n["order"], None)
    for n in order:
        name, op = n["name"], n["op"]
        if op != "neuron":
            continue
        declare(name)
        count = elements(name)
        tables.append(f"static int32_t v_{array(name)}[{count}], c_{array(name)}[{count}];")
        body.append(f"for (j = 0; j < {count}; ++j) c_{array(name)}[j] = 0;")
        for source in into[name]:
            table, given, rows, width, _ = sums[source]
            if table == "legendre":
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
    (folder / "network.h").write_text(
        f"#include <stdint.h>\n#define NETWORK_INPUTS {inputs}\n#define NETWORK_OUTPUTS {outputs}\n"
        "#define NETWORK_WINDOW 0u\ntypedef struct { int32_t steps; } network_state;\n"
        f"typedef struct {{ int32_t scores[{outputs}]; uint32_t decision; }} network_output;\n"
        "void network_reset(network_state *s);\n"
        "void network_step(network_state *s, const float *x, network_output *o);\n")
    (folder / "network.c").write_text(
        '#include "network.h"\n' + "\n".join(tables).replace("static const int8_t", "const int8_t") +
        "\nvoid network_reset(network_state *s) { s->steps = 0; }\n"
        "void network_step(network_state *s, const float *x, network_output *o)\n{\n"
        "    int i, j, k;\n    (void)k;\n    " + "\n    ".join(body) +
        f"\n    for (j = 0; j < {outputs}; ++j) o->scores[j] += {array(output)}[j];\n"
        "    o->decision = (uint32_t)o->scores[0];\n    ++s->steps;\n}\n")


def main():
    rows = []
    for argument in sys.argv[3:]:
        name, model = argument.split("=", 1)
        model, _, data = model.partition(":")
        base = WORK / name
        run("rm", "-rf", base)
        base.mkdir(parents=True)
        for form, options in [("float", None), ("int8", []), ("int8, 50 % pruned", ["--prune", "0.5"])]:
            short = re.sub(r"\W+", "-", form)
            graph = pathlib.Path(model)
            if options is not None:
                graph = base / f"{short}.safetensors"
                run(spikelet, "-q", "compress", model, "--integer-only", *options, "--out", graph)
            folder = base / short
            folder.mkdir()
            run(spikelet, "-q", "export", graph, "--target", "c99", "--out", folder / "c")
            run(spikelet, "-q", "export", graph, "--target", "rust-no-std", "--out", folder / "rs")
            run(sys.executable, HERE / "prepare.py", spikelet, graph, folder / "c", STEPS, *([data] if data else []))
            found = {m: c_counts(folder / "c", m) for m in MACHINES}
            rv = rust_counts(folder / "c", "riscv32imac-unknown-none-elf")
            rows.append((name, form, found, rv))
            print(rows[-1], file=sys.stderr, flush=True)
        dense = base / "dense"
        dense_network(model, dense)
        (dense / "samples.h").write_text((base / "int8/c/samples.h").read_text())
        rows.append((name, "dense loop, 8 bits", {m: c_counts(dense, m) for m in MACHINES}, None))
    print("| network | form | flash | state | stack | M4F | M7 | aarch64 | RV32 (Rust) |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, form, found, rv in rows:
        m4 = found["M4F"]
        count = lambda n: f"{n:,}" if n is not None else "-"
        memory = ["-", "-"] if form.startswith("dense") else [count(m4["state"]), count(m4["stack"])]
        cells = [name, form, count(m4["flash"]), *memory]
        cells += [count(found[m]["instructions"]) for m in MACHINES] + [count(rv)]
        print("| " + " | ".join(cells) + " |")


main()
