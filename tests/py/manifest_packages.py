"""Writes packages with a manifest by hand, record by record, so that tests of loading need nothing of what packs."""

import hashlib
import importlib.metadata
import io
import json
import pathlib
import sys
import zipfile

ALIGNMENT = 64


def distribution_files(name):
    """Record -> bytes of every file of an installed distribution below site-packages, byte code left out."""
    files = {}
    for file in importlib.metadata.distribution(name).files:
        if file.parts[0] != ".." and "__pycache__" not in file.parts:
            files[file.as_posix()] = pathlib.Path(file.locate()).read_bytes()
    return files


def top_level(files):
    tops = {name.partition("/")[0].removesuffix(".py") for name in files if "/" in name or name.endswith(".py")}
    return sorted(top for top in tops if not top.endswith(".dist-info"))


def interned(*names):
    """(records, the manifest's entries) of installed distributions."""
    records, entries = {}, []
    for name in names:
        files = distribution_files(name)
        records.update(files)
        entries.append({"distribution": name, "version": importlib.metadata.version(name), "modules": top_level(files)})
    return records, entries


def write(path, records, *, externs=(), manifest=None, digests=None, comment=b"", root=None, compression=zipfile.ZIP_STORED):
    """A package of `records` (name -> bytes). `manifest` replaces members of the manifest; False: there is none. `externs` are
    (module, distribution, version)."""
    root = root or pathlib.Path(path).stem
    records = {".data/extern_modules": "\n".join(module for module, *_ in externs).encode() + b"\n", **records}
    if manifest is not False:
        content = {
            "format": 1,
            "writer": "deploy tests",
            "python": ".".join(map(str, sys.version_info[:3])),
            "torch": None,
            "callables": [],
            "interned": [],
            "own_modules": [],
            "externs": [{"module": m, "distribution": d, "version": v, "stdlib": d is None} for m, d, v in externs],
            "examples": [],
            "records": {name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for name, data in records.items()},
        }
        content["records"].update(digests or {})
        records[".data/deploy/manifest.json"] = json.dumps({**content, **(manifest or {})}).encode()
    records = {**records, ".data/version": b"6\n"}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in records.items():
            info = zipfile.ZipInfo(f"{root}/{name}")
            info.compress_type = compression
            header = 30 + len(info.filename.encode()) + 4
            padding = -(archive.fp.tell() + header) % ALIGNMENT
            info.extra = b"FB" + padding.to_bytes(2, "little") + bytes(padding)
            archive.writestr(info, data)
        archive.comment = comment
    return path


def callable_entry(package, resource, kind="object"):
    return {"package": package, "resource": resource, "type": kind, "signature": [], "method": "__call__"}


def pickled_global(module, name, call=True):
    """A pickle of `module.name()`, or of `module.name` itself."""
    out = io.BytesIO()
    out.write(b"\x80\x03c" + module.encode() + b"\n" + name.encode() + b"\n")
    out.write(b")R." if call else b".")
    return out.getvalue()
