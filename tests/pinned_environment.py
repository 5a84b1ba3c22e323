"""Virtual environments with exactly the packages that a file of pins names, for the checks that need large ones."""

from __future__ import annotations

import hashlib
import pathlib
import subprocess


def make_environment(folder: pathlib.Path, pins: pathlib.Path, base_python: str) -> pathlib.Path:
    """The environment's own python; installs what the pins name, torch first and alone so that nothing else chooses its build."""
    python = folder / "bin" / "python"
    stamp = folder / ".pins"
    want = hashlib.sha256(pins.read_bytes()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == want:
        return python
    print(f"installing {pins.name} into {folder} (about 2 GB)", flush=True)
    subprocess.run([base_python, "-m", "venv", str(folder)], check=True)
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--only-binary", ":all:"]
    torch = next(line for line in pins.read_text().splitlines() if line.startswith("torch=="))
    subprocess.run([*pip, "-c", str(pins), torch], check=True)
    subprocess.run([*pip, "--no-deps", "-r", str(pins)], check=True)
    stamp.write_text(want)
    return python
