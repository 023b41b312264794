"""The two formulations of the predictor in PyTorch: six graph convolutions with linear layers, an LSTM, a linear layer."""
import torch
from torch import nn


class Trunk(nn.Module):
    """`self_weights`: a layer keeps its own row apart from the mean of its neighbours and adds to it (default); without, as in the paper,
    one matrix over the mean of itself and its neighbours. `carried`: what the last forward() gave to the LSTM."""

    def __init__(self, inputs, hidden, self_weights=True, lstm=True, depth=6):
        super().__init__()
        self.self_weights = self_weights
        sizes = [inputs] + [hidden] * (depth - 1)
        self.near = nn.ModuleList(nn.Linear(s, hidden) for s in sizes)
        self.own = nn.ModuleList(nn.Linear(s, hidden, bias=False) for s in sizes) if self_weights else None
        self.linear = nn.ModuleList(nn.Linear(hidden, hidden) for _ in sizes)
        self.lstm = nn.LSTM(hidden, hidden, batch_first=True) if lstm else None
        self.out = nn.Linear(hidden, 1)
        if self_weights:
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)

    def forward(self, x, near):
        """x [B, N, F]; near [B, N, N] rows of neighbours that sum to 1 (or 0); both already in the direction of the device."""
        for i in range(len(self.near)):
            h = self.near[i](near @ x)
            if self.self_weights:
                h = h + self.own[i](x)
            h = torch.relu(self.linear[i](torch.relu(h)))
            x = h + x if self.self_weights and i > 0 else h
        self.carried = x
        if self.lstm is not None:
            x = self.lstm(x)[0]
        return self.out(x)[..., 0]
