"""L2MU, a Legendre Memory Unit made of LIF neurons only (Fra et al. 2024), the way a user of snnTorch writes it."""

import math

import numpy as np
import snntorch as snn
import torch
from torch import nn


def legendre(order, theta):
    """Discretised Legendre memory (zero-order hold, step 1): the state matrix and the input vector.

    The state matrix is returned transposed: the published networks apply their memory that way round.
    """
    i = np.arange(order)
    r = (2 * i + 1)[:, None]
    signs = np.where(i[:, None] < i[None, :], -1.0, (-1.0) ** (i[:, None] - i[None, :] + 1))
    a = r * signs / theta
    b = r * ((-1.0) ** i)[:, None] / theta
    block = np.zeros((order + 1, order + 1))
    block[:order, :order], block[:order, order:] = a, b
    hold = torch.matrix_exp(torch.from_numpy(block))
    return hold[:order, :order].T.contiguous().float(), hold[:order, order:].contiguous().float()


class L2mu(nn.Module):
    """Input `[batch, time, channel]`, output spikes `[batch, time, class]`."""

    def __init__(self, inputs, classes, order, theta, memories, hidden, beta_threshold):
        super().__init__()
        self.order, self.memories = order, memories
        state = memories * order
        self.e_x = nn.Linear(inputs, memories, bias=False)
        self.e_h = nn.Linear(hidden, memories, bias=False)
        self.e_m = nn.Linear(state, memories, bias=False)
        self.A = nn.Linear(order, order, bias=False)
        self.B = nn.Linear(1, order, bias=False)
        self.W_x = nn.Linear(inputs, hidden, bias=False)
        self.W_h = nn.Linear(hidden, hidden, bias=False)
        self.W_m = nn.Linear(state, hidden, bias=False)
        self.output_transformation = nn.Linear(hidden, classes)
        for population in ("u", "m", "h", "output"):
            beta, threshold = beta_threshold[population]
            neuron = snn.Leaky(beta=beta, threshold=threshold, learn_beta=True, learn_threshold=True)
            self.add_module(f"spk_{population}", neuron)
        self.initialise(theta)

    def initialise(self, theta):
        for layer in (self.e_x, self.e_h):
            bound = math.sqrt(3 / layer.in_features)
            nn.init.uniform_(layer.weight, -bound, bound)
        nn.init.zeros_(self.e_m.weight)
        for layer in (self.W_x, self.W_h, self.W_m):
            nn.init.xavier_normal_(layer.weight)
        a, b = legendre(self.order, theta)
        self.A.weight = nn.Parameter(a, requires_grad=False)
        self.B.weight = nn.Parameter(b, requires_grad=False)

    def start(self, batch):
        """Silent spikes and zero membranes."""
        h = torch.zeros(batch, self.W_h.in_features)
        m = torch.zeros(batch, self.memories * self.order)
        membranes = (
            torch.zeros(batch, self.memories),
            torch.zeros(batch, self.memories, self.order),
            torch.zeros(batch, self.W_h.in_features),
            torch.zeros(batch, self.output_transformation.out_features),
        )
        return h, m, membranes

    def step(self, x, state):
        """One time step: `u` sees the previous `h` and `m`, `h` sees the new `m`."""
        h, m, (v_u, v_m, v_h, v_out) = state
        u, v_u = self.spk_u(self.e_x(x) + self.e_h(h) + self.e_m(m), v_u)
        memory = m.view(-1, self.memories, self.order)
        memory, v_m = self.spk_m(self.A(memory) + self.B(u.unsqueeze(-1)), v_m)
        m = memory.flatten(1)
        h, v_h = self.spk_h(self.W_x(x) + self.W_h(h) + self.W_m(m), v_h)
        out, v_out = self.spk_output(self.output_transformation(h), v_out)
        return out, (h, m, (v_u, v_m, v_h, v_out))

    def forward(self, x):
        state = self.start(len(x))
        spikes = []
        for t in range(x.shape[1]):
            out, state = self.step(x[:, t], state)
            spikes.append(out)
        return torch.stack(spikes, dim=1)
