"""Notebook 01's three pieces of code in PyTorch. The course reads this file and does not import it.

``classifier`` maps images [n, 3, 32, 32] in [0, 1] to logits; ``classifier.eval()`` was called before.
"""

import torch
from torch.nn import functional


def gradient_of_loss(classifier, x, y):
    """Return the gradient of the summed loss with respect to the images."""
    x = x.clone().requires_grad_(True)
    loss = functional.cross_entropy(classifier(x), y, reduction="sum")
    return torch.autograd.grad(loss, x)[0]


def fgsm(classifier, x, y, eps):
    """Take one step of eps along the gradient's sign."""
    step = eps * torch.sign(gradient_of_loss(classifier, x, y))
    return torch.clamp(x + step, 0, 1)


def pgd(classifier, x, y, eps, step_size=0.01, steps=10):
    """Take short steps, and return to the box after each."""
    attacked = x
    for _ in range(steps):
        gradient = gradient_of_loss(classifier, attacked, y)
        attacked = attacked + step_size * torch.sign(gradient)
        attacked = torch.clamp(attacked, x - eps, x + eps)
        attacked = torch.clamp(attacked, 0, 1)
    return attacked
