"""Packs one model of the zoo in one form, in a process of its own: pack_one.py NAME FORM FILE; prints a line of JSON. Without
arguments: the zoo's entries.

FORM is "extern" (every library comes from the environment) or "interned" (the model's libraries are inside).
"""

import json
import random
import sys
import time
import warnings

import zoo
import zoo_architectures  # noqa: F401
import zoo_pretrained  # noqa: F401

warnings.simplefilter("ignore")


def entries():
    kept = ("name", "kind", "libraries", "reason")
    print(json.dumps([{key: getattr(entry, key) for key in kept} for entry in zoo.ZOO.values()]))


def main(name, form, path):
    import torch

    import deploy.package

    random.seed(0)
    torch.manual_seed(0)
    entry = zoo.ZOO[name]
    made = entry.build()
    obj, args = made[:2]
    start = time.monotonic()
    summary = deploy.package.save(
        path,
        obj,
        example_args=args,
        example_kwargs=made[2] if len(made) > 2 else None,
        method=made[3] if len(made) > 3 else "__call__",
        intern=entry.libraries if form == "interned" else (),
        verify=False,
    )
    seconds = time.monotonic() - start
    print(
        json.dumps(
            {
                "seconds": seconds,
                "size": summary.size,
                "interned": summary.interned,
                "externs": summary.externs,
                "notes": summary.notes,
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) > 1 else entries()
