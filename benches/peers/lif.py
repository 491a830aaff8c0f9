"""The neuron of Meng et al. 2023 with SpikingJelly, in two versions that differ in one gradient.

    u[t] = (1 - 1/tau) (u[t-1] - s[t-1]) + x[t],   s[t] = 1 where u[t] >= 1

Backward a spike has the slope max(0, 1 - |u - 1|).
"""

import torch
from spikingjelly.clock_driven import neuron

TAU = 1.1


class Triangle(torch.autograd.Function):
    @staticmethod
    def forward(context, excess):
        context.save_for_backward(excess)
        return (excess >= 0).to(excess.dtype)

    @staticmethod
    def backward(context, gradient):
        (excess,) = context.saved_tensors
        return gradient * (1 - excess.abs()).clamp_(min=0)


class Lif(neuron.LIFNode):
    """Gradients flow through the potential and the reset, as backpropagation through time needs."""

    def __init__(self, tau=TAU):
        super().__init__(tau=tau, decay_input=False, v_reset=None, surrogate_function=Triangle.apply)


class DetachedLif(Lif):
    """The potential that is carried to the next step has no gradient: that is all of SLTT in the neuron."""

    def neuronal_reset(self, spike):
        self.v = self.v.detach() - spike.detach() * self.v_threshold
