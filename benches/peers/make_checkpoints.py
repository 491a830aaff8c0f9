"""Writes the checkpoint fixtures of crates/spikelet-data/tests/fixtures with the real torch.save.

    python benches/peers/make_checkpoints.py crates/spikelet-data/tests/fixtures

`expected.json` beside them says what a reader must find: per file the tensors (element type, shape,
values) and some metadata values by path. Needs torch and numpy; the files in the repository were
written by torch 2.15.0 and numpy 2.4.
"""

import argparse
import collections
import datetime
import enum
import io
import json
import pathlib
import pickle
import sys
import zipfile

import numpy as np
import torch

NAMES = {
    torch.float64: "f64", torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16",
    torch.int64: "i64", torch.int32: "i32", torch.int16: "i16", torch.int8: "i8",
    torch.uint64: "u64", torch.uint32: "u32", torch.uint16: "u16", torch.uint8: "u8",
    torch.bool: "bool",
}


class Trainer:
    """A class no reader knows: must stay opaque, its tensors must be found."""

    def __init__(self):
        self.note = "never call me"
        self.best = torch.tensor([0.5, -0.5])

    def __setstate__(self, state):
        raise RuntimeError("a reader must not run this")


class Slotted:
    __slots__ = ("first", "second")

    def __init__(self):
        self.first, self.second = 1, "two"


class Colour(enum.Enum):
    RED = 1


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
        self.register_buffer("scale", torch.tensor(0.25))
        self.gain = torch.nn.Parameter(torch.tensor([1.0, 2.0]))


class Unit(torch.nn.Module):
    """Legacy files hold the source text of every module class: this one is ours."""

    def __init__(self, inner=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([[1.0, 2.0]]))
        self.register_buffer("scale", torch.tensor(0.25))
        self.inner = inner


def seeded(seed=0):
    torch.manual_seed(seed)


def described(tensor):
    if isinstance(tensor, np.ndarray):
        values = tensor.astype(np.float64).ravel().tolist()
        return {"dtype": tensor.dtype.newbyteorder("=").name
                .replace("float", "f").replace("uint", "u").replace("int", "i"),
                "shape": list(tensor.shape), "values": values}
    values = tensor.detach().to(torch.float64).reshape(-1).tolist()
    return {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "values": values}


def dtypes():
    return collections.OrderedDict([
        ("f64", torch.tensor([[1.5, -2.25], [0.1, 1e-3]], dtype=torch.float64)),
        ("f32", torch.tensor([[1.5, -2.25, 3.0]], dtype=torch.float32)),
        ("f16", torch.tensor([0.1, -65504.0, 6e-8], dtype=torch.float16)),
        ("bf16", torch.tensor([0.1, -3.0e38, 1e-40], dtype=torch.bfloat16)),
        ("i64", torch.tensor([-(2**40), 7])),
        ("i32", torch.tensor([-(2**30), 7], dtype=torch.int32)),
        ("i16", torch.tensor([-300, 7], dtype=torch.int16)),
        ("i8", torch.tensor([-128, 7], dtype=torch.int8)),
        ("u8", torch.tensor([200, 7], dtype=torch.uint8)),
        ("bool", torch.tensor([True, False, True])),
        ("scalar", torch.tensor(3.5)),
        ("empty", torch.zeros(0, 4)),
    ])


def views():
    base = torch.arange(24, dtype=torch.float32).reshape(6, 4)
    return {
        "base": base, "window": base[2:5, 1:3], "transposed": base.t(), "every_other": base[::2],
        "element": base[3, 2], "repeated": base[1, :2].expand(3, 2),
        "permuted": base.reshape(2, 3, 4).permute(2, 0, 1), "copy": base.clone(),
    }


def lightning():
    seeded()
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.5)
    net.body(torch.randn(4, 3)).sum().backward()
    net.gain.grad = torch.ones(2)
    optimizer.step()
    checkpoint = {
        "epoch": 3, "global_step": 40, "pytorch-lightning_version": "2.4.0",
        "state_dict": net.state_dict(),
        "optimizer_states": [optimizer.state_dict()],
        "hyper_parameters": {
            "args": argparse.Namespace(lr=0.00145, hidden=120, name="l2mu", nested={"a": [1, 2]}),
            "order": np.float64(7.0), "batch": np.int32(64), "flag": np.bool_(True),
            "half": np.float16(0.5), "big": 2**70, "negative": -129, "none": None,
            "sizes": torch.Size([2, 3]),
        },
        "callbacks": {"ModelCheckpoint{'monitor': 'val'}": {"best": np.float32(0.25)}},
    }
    state = {f"state_dict.{k}": v for k, v in net.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        for key, value in slots.items():
            state[f"optimizer_states.0.state.{index}.{key}"] = value
    values = {
        "epoch": 3, "global_step": 40, "pytorch-lightning_version": "2.4.0",
        "hyper_parameters/args/lr": 0.00145, "hyper_parameters/args/hidden": 120,
        "hyper_parameters/args/name": "l2mu", "hyper_parameters/args/nested": {"a": [1, 2]},
        "hyper_parameters/order": 7.0, "hyper_parameters/batch": 64,
        "hyper_parameters/flag": True, "hyper_parameters/half": 0.5,
        "hyper_parameters/big": str(2**70), "hyper_parameters/negative": -129,
        "hyper_parameters/none": None, "hyper_parameters/sizes": [2, 3],
        "callbacks/ModelCheckpoint{'monitor': 'val'}/best": 0.25,
    }
    return checkpoint, state, values


def plain():
    """Python and numpy objects only, for the bare pickle protocols."""
    arrays = {
        "c": np.arange(6, dtype=np.float32).reshape(2, 3) - 2.5,
        "fortran": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3) * -200),
        "big_endian": np.arange(3, dtype=">f8") / 3,
        "bool": np.array([True, False]), "f16": np.array([0.1], dtype=np.float16),
        "empty": np.zeros((0, 2), dtype=np.int64),
    }
    shared = ["shared", 1.5]
    data = {
        "arrays": arrays, "tuple": (1, (2,), ()), "set": {5}, "frozen": frozenset([6]),
        "bytes": b"\x00\xff\x80", "bytearray": bytearray(b"abc"), "text": "gr\u00fc\u00df\U0001f600\n'\\\"",
        "long": -(2**100), "small": [0, -1, 255, 256, 65535, 65536, -(2**31), 2**31],
        "floats": [0.1, -1e300], "bool": [True, False], "twice": [shared, shared],
        "ordered": collections.OrderedDict([("z", 1), ("a", 2)]),
        "default": collections.defaultdict(list, {"k": [1]}),
        "counter": collections.Counter("aab"), "complex": 1 + 2j,
        "when": datetime.date(2024, 7, 5), "colour": Colour.RED, "path": pathlib.PurePosixPath("a/b"),
        "slotted": None, "function": len, 3: "int key",
    }
    data["cycle"] = [data["twice"]]
    data["cycle"].append(data["cycle"])
    values = {
        "tuple": [1, [2], []], "set": [5], "frozen": [6], "bytes": "3 bytes", "bytearray": "3 bytes",
        "text": data["text"], "long": str(-(2**100)), "small": data["small"], "floats": data["floats"],
        "bool": [True, False], "twice": [shared, shared], "ordered": {"z": 1, "a": 2},
        "default": {"k": [1]}, "counter": {"a": 2, "b": 1},
    }
    return data, {f"arrays.{name}": array for name, array in arrays.items()}, values


def custom():
    trainer = Trainer()
    slotted = Slotted()
    data = {"trainer": trainer, "slotted": slotted, "colour": Colour.RED,
            "state_dict": {"w": torch.tensor([1.0, 2.0])}}
    tensors = {"trainer.best": trainer.best, "state_dict.w": data["state_dict"]["w"]}
    values = {"trainer/note": "never call me", "slotted/first": 1, "slotted/second": "two"}
    return data, tensors, values


def unsupported():
    quantised = torch.quantize_per_tensor(torch.tensor([0.5, 1.0]), 0.1, 3, torch.qint8)
    return {"good": torch.tensor([1.0]), "sparse": torch.eye(3).to_sparse(),
            "complex": torch.tensor([1 + 2j]), "quantised": quantised}


def repacked(data, change):
    """The zip archive `data`, each entry passed through `change(name, bytes)`, deflated."""
    output = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(
            output, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            with new.open(zipfile.ZipInfo(name), "w", force_zip64=True) as entry:
                entry.write(change(name, old.read(name)))
    return output.getvalue()


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    expected = {}

    def keep(name, data, tensors, values=None, **more):
        (folder / name).write_bytes(data)
        expected[name] = {"tensors": {k: described(v) for k, v in tensors.items()},
                          "values": values or {}, **more}

    def save(name, value, tensors, values=None, more=None, **options):
        buffer = io.BytesIO()
        torch.save(value, buffer, **options)
        keep(name, buffer.getvalue(), tensors, values, **(more or {}))
        return buffer.getvalue()

    legacy = {"_use_new_zipfile_serialization": False}
    zipped = save("dtypes.pt", dtypes(), dtypes())
    save("dtypes_legacy.pt", dtypes(), dtypes(), **legacy)
    save("dtypes_protocol4.pt", dtypes(), dtypes(), pickle_protocol=4)
    save("dtypes_legacy_protocol5.pt", dtypes(), dtypes(), pickle_protocol=5, **legacy)
    unsigned = {"u16": torch.tensor([65535, 1], dtype=torch.uint16),
                "u32": torch.tensor([2**32 - 1, 1], dtype=torch.uint32)}
    save("unsigned.pt", unsigned, unsigned)
    keep("dtypes_deflated.pt", repacked(zipped, lambda _, content: content), dtypes())

    def swap(name, content):
        if name.endswith("byteorder"):
            return b"big"
        return content[::-1] if "/data/" in name else content

    words = {"w": torch.tensor([1.5, -2.0]), "n": torch.tensor([2**40], dtype=torch.int64)}
    buffer = io.BytesIO()
    torch.save(words, buffer)
    # Reversing the bytes of a storage also reverses its elements.
    keep("big_endian.pt", repacked(buffer.getvalue(), swap),
         {name: tensor.flip(0) for name, tensor in words.items()})
    torch.serialization.set_crc32_options(False)
    save("no_checksums.pt", {"w": torch.arange(4.0)}, {"w": torch.arange(4.0)})
    torch.serialization.set_crc32_options(True)

    save("views.pt", views(), views())
    save("views_legacy.pt", views(), views(), **legacy)
    checkpoint, tensors, values = lightning()
    save("lightning.ckpt", checkpoint, tensors, values)
    save("lightning_legacy.ckpt", checkpoint, tensors, values, **legacy)
    seeded()
    net = Net().eval()
    save("module.pt", net, net.state_dict())
    unit = Unit(Unit())
    # The path of the source file would be kept, too.
    torch.serialization.get_source_lines_and_file = lambda _: (["class Unit\n"], 1, "unit.py")
    save("module_legacy.pt", unit, unit.state_dict(), **legacy)
    save("custom.pt", *custom())
    tensor = torch.arange(3.0)
    save("tensor.pt", tensor, {"tensor": tensor})
    save("list.pt", [tensor, (tensor + 1,)], {"0": tensor, "1.0": tensor + 1})
    save("unsupported.pt", unsupported(), {"good": torch.tensor([1.0])},
         more={"unsupported": ["sparse", "complex", "quantised"]})
    for protocol in range(6):
        data, tensors, values = plain()
        if protocol >= 2:
            data["slotted"] = Slotted()
            values["slotted/second"] = "two"
        keep(f"plain_protocol{protocol}.pkl", pickle.dumps(data, protocol), tensors, values)
    (folder / "expected.json").write_text(json.dumps(expected, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
