"""What pickles of deploy's packages call. A package that needs it has a copy, so that it loads where deploy is not installed."""

import sys

import torch.nn.utils.parametrize


def rebuild_parametrized(kind, names):
    """A module of class `kind` without its state, whose tensors `names` are parametrized; its state, with the parametrizations,
    follows."""
    module = kind.__new__(kind)
    torch.nn.utils.parametrize._inject_new_class(module)
    for name in names:
        torch.nn.utils.parametrize._inject_property(module, name)
    return module


def restore_transformers_model(model, state):
    """transformers notes in a table of the process, in a model's __init__, which outputs its class can record. A model that comes
    out of a pickle has no __init__ run; without the entry it gives no hidden states, and models that are built on these fail."""
    model.__setstate__(state)
    for name in ("transformers.utils.output_capturing", "transformers.utils.generic"):
        table = getattr(sys.modules.get(name), "_CAN_RECORD_REGISTRY", None)
        if isinstance(table, dict):
            dict.__setitem__(table, str(type(model)), model._can_record_outputs)
