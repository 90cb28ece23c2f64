"""A loss whose gradient is worked out with it, so that nothing in between waits for the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


def at_once(loss: Callable[[Tensor], Tensor], view: Tensor, parameters: Iterable[Tensor] = ()) -> Tensor:
    """`loss(view)`, with the gradient of `view` and of `parameters` computed now and handed out in the backward pass.

    A loss over the catalogue holds score matrices until its backward pass; of several losses, each holds its own. At
    once, they can follow each other through the same memory.

    Args:
        loss: view -> scalar.
        view: a tensor with history.
        parameters: what else the loss depends on; those that need no gradient are left out.

    Returns:
        Scalar, with the gradient of `loss(view)`; it has no second derivative.

    Example:
        >>> import torch
        >>> view = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> at_once(lambda v: v.square().sum(), view).backward()
        >>> view.grad
        tensor([2., 4.])
    """
    if not torch.is_grad_enabled():
        return loss(view)
    inputs = (view, *(parameter for parameter in parameters if parameter.requires_grad))
    return _AtOnce.apply(loss, *inputs)


class _AtOnce(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: Callable[[Tensor], Tensor], view: Tensor, *parameters: Tensor) -> Tensor:
        with torch.enable_grad():
            view = view.detach().requires_grad_()
            value = loss(view)
        ctx.save_for_backward(*torch.autograd.grad(value, (view, *parameters)))
        return value.detach()

    @staticmethod
    def backward(ctx: Any, of_value: Tensor) -> tuple[Tensor | None, ...]:
        return None, *(of_value * gradient for gradient in ctx.saved_tensors)
