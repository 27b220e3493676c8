"""CRReLU for transformers: import this before a model whose activation is "crrelu" is made.

    import crrelu
    model = GPT2LMHeadModel.from_pretrained(directory)

The activation is max(0, x) + epsilon x exp(-x^2 / 2) (arXiv 2405.12954) with an epsilon of its own
in every layer, the parameter `act.lr` of the authors' name. Where config.json has
crrelu_epsilon_init, pass that to `crrelu.CRReLU.initial` first; checkpoints bring their own values.
"""

import torch
from transformers.activations import ACT2FN


class CRReLU(torch.nn.Module):
    initial = 0.01

    def __init__(self):
        super().__init__()
        self.lr = torch.nn.Parameter(torch.tensor([self.initial]))

    def forward(self, x):
        wide = x.float()
        bounded = wide.clamp(-16, 16)  # where the correction is 0 in fp32
        correction = bounded * torch.exp(-bounded * bounded / 2)
        return (torch.relu(wide) + self.lr.float() * correction).to(x.dtype)


ACT2FN["crrelu"] = CRReLU
