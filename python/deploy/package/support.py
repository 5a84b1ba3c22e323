"""What pickles of deploy's packages call. A package that needs it has a copy, so that it loads where deploy is not installed."""

import torch.nn.utils.parametrize


def rebuild_parametrized(kind, names):
    """A module of class `kind` without its state, whose tensors `names` are parametrized; its state, with the parametrizations,
    follows."""
    module = kind.__new__(kind)
    torch.nn.utils.parametrize._inject_new_class(module)
    for name in names:
        torch.nn.utils.parametrize._inject_property(module, name)
    return module
