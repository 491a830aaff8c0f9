"""The PyPI package nir on files that Spikelet reads and writes.

    python benches/peers/nir_peer.py rewrite IN OUT     read with type checking, write again
    python benches/peers/nir_peer.py simulate FILE T    spikes a made-up input of T steps causes, as JSON

Needs nir 1.0.8. The simulation is forward Euler with a step of 1e-4 s, reset at once, and one step of delay
for a node that is needed before it has run; IF integrates whole steps. At step t, element i of the input in
NIR's order (channels first) is 1 where (7919 i + 104729 t) % 97 < 40, else 0. Printed is, for every node that
spikes, the total of its spikes, and for every output the sum of each of its values over time.
"""

import json
import sys

import nir
import numpy as np

DT = 1e-4


def windows(x, kernel, stride, padding, dilation=(1, 1)):
    """[channels, kh, kw, rows, columns] of what every window of an image covers."""
    x = np.pad(x, ((0, 0), (padding[0],) * 2, (padding[1],) * 2))
    extent = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    rows, columns = [(size - e) // s + 1 for size, e, s in zip(x.shape[1:], extent, stride)]
    taps = [[x[:, r * dilation[0]:, c * dilation[1]:][:, ::stride[0], ::stride[1]][:, :rows, :columns]
             for c in range(kernel[1])] for r in range(kernel[0])]
    return np.array(taps).transpose(2, 0, 1, 3, 4)


def conv(node, x):
    out, per_group = node.weight.shape[:2]
    groups = int(node.groups)
    taps = windows(x, node.weight.shape[2:], node.stride, node.padding, node.dilation)
    taps = taps.reshape(groups, per_group, *taps.shape[1:])
    weight = node.weight.astype(np.float64).reshape(groups, out // groups, *node.weight.shape[1:])
    y = np.einsum("goikl,giklrc->gorc", weight, taps).reshape(out, *taps.shape[-2:])
    return y + node.bias[:, None, None]


def fire(node, state, v):
    spikes = v > node.v_threshold
    state["v"] = np.where(spikes, node.v_reset, v)
    return spikes.astype(np.float64)


def step(node, state, x):
    v, i = state.get("v", 0.0), state.get("i", 0.0)
    match node:
        case nir.Affine():
            return node.weight @ x + node.bias
        case nir.Linear():
            return node.weight @ x
        case nir.Conv2d():
            return conv(node, x)
        case nir.SumPool2d():
            return windows(x, node.kernel_size, node.stride, node.padding).sum((1, 2))
        case nir.Flatten():
            return x.reshape(-1)
        case nir.IF():
            return fire(node, state, v + node.r * x)
        case nir.LIF():
            return fire(node, state, v + DT / node.tau * (node.v_leak - v + node.r * x))
        case nir.CubaLIF():
            state["i"] = i = i + DT / node.tau_syn * (-i + node.w_in * x)
            return fire(node, state, v + DT / node.tau_mem * (node.v_leak - v + node.r * i))
        case nir.Output():
            return x
    raise NotImplementedError(type(node).__name__)


def order(graph):
    """Names from input to output; where only a loop is left, what comes after a neuron goes last."""
    left, done = set(graph.nodes), []
    feeds = {name: [a for a, b in graph.edges if b == name] for name in graph.nodes}
    while left:
        ready = sorted(n for n in left if not set(feeds[n]) & left)
        # A recurrent weight waits for its neuron: the neuron goes first.
        looped = sorted(n for n in left if hasattr(graph.nodes[n], "v_threshold") and set(feeds[n]) - left)
        name = (ready or looped)[0]
        left.remove(name)
        done.append(name)
    return done, feeds


def simulate(graph, steps):
    names, feeds = order(graph)
    shapes = {n: tuple(int(s) for s in next(iter(node.output_type.values()))) for n, node in graph.nodes.items()}
    values = {n: np.zeros(shape) for n, shape in shapes.items()}
    states, spikes, sums = {n: {} for n in names}, {}, {}
    for t in range(steps):
        for name in names:
            node, before = graph.nodes[name], names[:names.index(name)]
            if isinstance(node, nir.Input):
                at = np.arange(np.prod(shapes[name]))
                values[name] = ((7919 * at + 104729 * t) % 97 < 40).astype(np.float64).reshape(shapes[name])
                continue
            # A recurrent layer is computed here from the spikes of the step before.
            late = [f for f in feeds[name] if f not in before]
            for f in late:
                inputs = sum(values[g] for g in feeds[f])
                values[f] = step(graph.nodes[f], states[f], inputs)
            if late or not any(name in feeds[n] for n in before):
                values[name] = step(node, states[name], sum(values[f] for f in feeds[name]))
            if hasattr(node, "v_threshold"):
                spikes[name] = spikes.get(name, 0) + int(values[name].sum())
            if isinstance(node, nir.Output):
                sums[name] = sums.get(name, 0) + values[name]
    return {"spikes": spikes, "outputs": {name: value.ravel().tolist() for name, value in sums.items()}}


def main():
    match sys.argv[1:]:
        case ["rewrite", source, target]:
            nir.write(target, nir.read(source))
        case ["simulate", source, steps]:
            print(json.dumps(simulate(nir.read(source), int(steps))))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
