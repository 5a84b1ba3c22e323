"""PyTorch's grad mode for a call: where an example is recorded, and, as a module inside, in the interpreters of verify and run."""

import contextlib
import sys

MODES = ("no_grad", "inference_mode", "enable_grad")
DEFAULT = "no_grad"

# What torch says where a gradient was wanted and nothing was recorded for it.
SYMPTOMS = ("does not require grad", "Inference tensors cannot", "inference tensor", "outside InferenceMode")


def within(mode, function, *args):
    """The function's result, in that mode where one is given and torch is loaded."""
    torch = sys.modules.get("torch")
    with contextlib.nullcontext() if mode is None or torch is None else getattr(torch, mode)():
        return function(*args)


def is_reason(error):
    """Whether an error of a call shows that it wants gradients."""
    return isinstance(error, RuntimeError) and any(symptom in str(error) for symptom in SYMPTOMS)
