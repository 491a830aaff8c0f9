"""Runs PyPI `neurobench` on the published Braille L2MU and writes what it counts to a golden file.

The totals are NeuroBench's own. The figures by layer are NeuroBench's function for one layer call
(`single_layer_MACs`), summed over the same calls; the program checks that they add up to the totals.
"""

import argparse
import json
import sys
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path

import torch
from neurobench.benchmarks import Benchmark
from neurobench.metrics.abstract import AccumulatedMetric
from neurobench.metrics.static import ConnectionSparsity, Footprint, ParameterCount
from neurobench.metrics.utils.layers import single_layer_MACs
from neurobench.metrics.workload import (
    ActivationSparsity,
    ActivationSparsityByLayer,
    ClassificationAccuracy,
    MembraneUpdates,
    NeuronOperations,
    SynapticOperations,
)
from neurobench.models import SNNTorchModel
from neurobench.processors.postprocessors import ChooseMaxCount
from torch.utils.data import DataLoader, TensorDataset

import braille
from l2mu_model import L2mu

SPLIT = 9


class OperationsByLayer(AccumulatedMetric):
    """Sums of `single_layer_MACs` and of the spikes going in, for each connection layer by name."""

    def __init__(self):
        super().__init__(requires_hooks=True)
        self.reset()

    def reset(self):
        self.sums = defaultdict(lambda: {"effective_acs": 0, "effective_macs": 0, "dense": 0, "calls": 0})

    def __call__(self, model, preds, data):
        names = {layer: name for name, layer in model.__net__().named_modules()}
        for hook in model.connection_hooks:
            sums = self.sums[names[hook.layer]]
            hook.hook.remove()
            for (inputs,) in hook.inputs:
                operations, spiking = single_layer_MACs(inputs, hook.layer)
                sums["effective_acs" if spiking else "effective_macs"] += operations
                sums["dense"] += single_layer_MACs(inputs, hook.layer, total=True)[0]
                sums["calls"] += 1
            hook.register_hook()
        return self.compute()

    def compute(self):
        return {name: dict(sums) for name, sums in self.sums.items()}


class SpikesByLayer(AccumulatedMetric):
    """Spikes that each population fired, and membrane values that changed, as whole numbers."""

    def __init__(self):
        super().__init__(requires_hooks=True)
        self.reset()

    def reset(self):
        self.sums = defaultdict(lambda: {"neuron_steps": 0, "spikes": 0, "membrane_updates": 0})

    def __call__(self, model, preds, data):
        for hook in model.activation_hooks:
            sums = self.sums[hook.name]
            before, after = hook.pre_fire_mem_potential, hook.post_fire_mem_potential
            sums["neuron_steps"] += sum(out.numel() for out in hook.activation_outputs)
            sums["spikes"] += sum(int(torch.count_nonzero(out)) for out in hook.activation_outputs)
            sums["membrane_updates"] += after[0].numel()
            sums["membrane_updates"] += sum(int(torch.count_nonzero(a - b)) for a, b in zip(before[1:], after[1:]))
        return self.compute()

    def compute(self):
        return {name: dict(sums) for name, sums in self.sums.items()}


class WholeSequence(torch.nn.Module):
    """`SNNTorchModel` with `custom_forward` wants spikes as `[time, batch, class]`."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x).transpose(0, 1)


def counts(net, samples, labels, batch):
    static = [ParameterCount, Footprint, ConnectionSparsity]
    workload = [
        ClassificationAccuracy,
        ActivationSparsity,
        ActivationSparsityByLayer,
        SynapticOperations,
        MembraneUpdates,
        NeuronOperations,
        OperationsByLayer,
        SpikesByLayer,
    ]
    loader = DataLoader(TensorDataset(samples, labels), batch_size=batch)
    # Fresh neurons hold no membranes yet: the buffer `mem`, empty before the first call, then adds nothing to the footprint.
    model = SNNTorchModel(WholeSequence(net), custom_forward=True)
    with torch.no_grad():
        return Benchmark(model, loader, [], [ChooseMaxCount()], [static, workload]).run(quiet=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder that holds braille/")
    parser.add_argument("--batch", type=int, default=56, help="samples a batch; sums are exact up to 2^24 operations a call")
    parser.add_argument("--samples", type=int, help="only the first samples of the split")
    parser.add_argument(
        "--out", type=Path, default=braille.REPOSITORY / "tests" / "golden-extra" / "neurobench_braille.json"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    net = L2mu(
        braille.INPUTS, braille.CLASSES, braille.ORDER, braille.THETA,
        braille.MEMORIES, braille.HIDDEN, braille.BETA_THRESHOLD,
    )
    net.load_state_dict(braille.checkpoint())
    events, labels, val_index = braille.load(arguments.data)
    chosen = val_index[SPLIT][: arguments.samples]
    result = counts(net, events[chosen], labels[chosen], arguments.batch)

    layers = result.pop("OperationsByLayer")
    layers = {name.removeprefix("net."): sums for name, sums in layers.items()}
    synaptic = result["SynapticOperations"]
    for total, part in (("Effective_ACs", "effective_acs"), ("Effective_MACs", "effective_macs"), ("Dense", "dense")):
        if synaptic[total] != sum(sums[part] for sums in layers.values()) / len(chosen):
            sys.exit(f"{total} by layer do not add up to NeuroBench's total")

    weights = [layer.weight for layer in net.modules() if isinstance(layer, torch.nn.Linear)]
    document = {
        "source": "PyPI neurobench on the published Braille L2MU checkpoint, through our own PyTorch model",
        "versions": {name: version(name) for name in ("neurobench", "torch", "snntorch", "numpy")},
        "checkpoint": "l2mu_braille7_best.safetensors",
        "split": SPLIT,
        "samples": len(chosen),
        "steps": events.shape[1],
        "batch": arguments.batch,
        "input_spikes": int(events[chosen].sum()),
        "weights": {"total": sum(w.numel() for w in weights), "zero": sum(int((w == 0).sum()) for w in weights)},
        "neurobench": result,
        "sums_over_all_samples": {"connections": layers, "populations": result.pop("SpikesByLayer")},
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    partial = arguments.out.with_suffix(".partial")
    partial.write_text(json.dumps(document, indent=1) + "\n")
    partial.replace(arguments.out)
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
