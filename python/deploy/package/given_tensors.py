"""A tensor of the caller's as it was given: its memory, shape, type and gradient.

The memory is not looked at here if the package's file has it. What pickling left out is copied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class GivenTensor:
    """A gradient is put aside while the example runs: a package has none, and the example would add to the caller's."""

    def __init__(self, tensor: torch.Tensor, in_the_file: Callable[[Any], bool]) -> None:
        self._tensor = tensor
        self._alias = self._content = self._gradient = None
        self._leaf, self._requires_grad = tensor.is_leaf, tensor.requires_grad
        with torch._C.DisableTorchFunctionSubclass():
            self._gradient = tensor.grad if self._leaf else None
            self.put_gradient_aside()
            if type(tensor).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__:
                return  # a class that only wraps other tensors, which are noted as well
            try:
                self._alias = tensor.detach()
                storage = self._alias.untyped_storage()
            except (RuntimeError, NotImplementedError):  # sparse tensors, whose parts are in the file
                self._alias = None
                return
            if storage.device.type != "meta" and not in_the_file(storage):
                self._content = storage.clone()

    def put_gradient_aside(self) -> None:
        if self._gradient is not None:
            self._tensor.grad = None

    def put_back(self) -> None:
        tensor, alias = self._tensor, self._alias
        with torch._C.DisableTorchFunctionSubclass(), torch.no_grad():
            if alias is not None:
                storage = alias.untyped_storage()
                if self._content is not None:
                    if storage.nbytes() != self._content.nbytes():
                        storage.resize_(self._content.nbytes())
                    storage.copy_(self._content)
                if not _same_place(tensor, alias):
                    tensor.data = alias
            if self._leaf:
                if not tensor.is_leaf:
                    tensor.detach_()
                if tensor.requires_grad != self._requires_grad:
                    tensor.requires_grad_(self._requires_grad)
                if tensor.grad is not self._gradient:
                    tensor.grad = self._gradient


def _same_place(one: torch.Tensor, other: torch.Tensor) -> bool:
    return (
        one.layout is other.layout
        and one.dtype is other.dtype
        and one.shape == other.shape
        and one.stride() == other.stride()
        and one.storage_offset() == other.storage_offset()
        and one.untyped_storage()._cdata == other.untyped_storage()._cdata
    )
