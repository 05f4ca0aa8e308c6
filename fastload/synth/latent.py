"""What variational autoencoders share: latent numbers that are drawn, and held near to normal ones.

Kingma, Welling: "Auto-encoding variational Bayes", ICLR 2014.
"""

from __future__ import annotations

import torch
from torch import Tensor


def drawn_near(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Normal numbers of these means and variances, [b, latent_size], drawn from torch's global generator; gradients pass."""
    return mean + torch.randn_like(mean) * (0.5 * log_variance).exp()


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """How far each row's distribution is from the standard normal one (Kullback-Leibler), [b].

    >>> divergence(torch.tensor([[0.0, 1.0]]), torch.zeros(1, 2)).tolist()
    [0.5]
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)
