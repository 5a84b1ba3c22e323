"""The manifest record: what a package is, for who loads it and for who only looks. docs/format.md has the keys."""

from __future__ import annotations

import json
import platform
import sys
from typing import Any

from deploy.package.plan import Extern, Plan
from deploy.package.zip_writer import ZipWriter

RECORD = ".data/deploy/manifest.json"
FORMAT = 1
WRITER = "deploy 0.1.0"


def _extern_entry(extern: Extern) -> dict[str, Any]:
    if extern.stdlib:
        return {"module": extern.module, "distribution": None, "version": None, "stdlib": True}
    distribution = extern.distribution
    version = distribution.version if distribution else None
    return {"module": extern.module, "distribution": distribution.name if distribution else None, "version": version}


def build(plan: Plan, writer: ZipWriter, callables: list[Any], examples: list[Any]) -> bytes:
    torch = sys.modules.get("torch")
    interned = [
        {
            "distribution": distribution.name,
            "version": distribution.version,
            "modules": distribution.tops,
            "reason": reason,
            **({"left_out": distribution.native_files} if distribution.python_part else {}),
        }
        for distribution, reason in plan.interned.values()
    ]
    content = {
        "format": FORMAT,
        "writer": WRITER,
        "python": platform.python_version(),
        "torch": torch.__version__ if torch is not None and "torch" in plan.externs else None,
        "callables": callables,
        "interned": interned,
        "own_modules": sorted(plan.own),
        "externs": [_extern_entry(plan.externs[name]) for name in sorted(plan.externs)],
        "examples": examples,
        "records": {name: {"sha256": digest, "size": size} for name, (digest, size) in writer.digests.items()},
    }
    return json.dumps(content, indent=1).encode()
