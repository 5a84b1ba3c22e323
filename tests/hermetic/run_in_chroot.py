"""Runs hermetic_program in a root folder that holds it, libdeploy, the system libraries that they need, one folder of packages, and
no Python. Exit status 77, with the reason, where this machine lets nobody change the root.

The libraries are those that ldd finds for the program, for what is in the image and for the standard extension modules. All but
one, so that it shows how the lack of one is reported: libreadline.
"""

import argparse
import glob
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile

LEFT_OUT = "libreadline"
MODEL = """
try:
    import numpy
except ModuleNotFoundError:
    numpy = None


class Model:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, numbers):
        if numpy is None:
            return [float(self.factor * number) for number in numbers]
        return (numpy.asarray(numbers, dtype="float64") @ (numpy.eye(len(numbers)) * self.factor)).tolist()
"""


def needed(files):
    """Path to find it by -> file, of all libraries that the files are linked to."""
    listing = subprocess.run(["ldd", *files], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"=> (/\S+) \(|^\s*(/\S+ld-linux\S+) \(", listing, re.MULTILINE)
    return {first or second for first, second in found}


def copy_numpy(python, packages):
    """The numpy of another Python's environment, if it has one: its folders, and its extension modules."""
    code = "import numpy, os; print(os.path.dirname(os.path.dirname(numpy.__file__)))"
    asked = subprocess.run([python, "-c", code], capture_output=True, text=True) if python else None
    if not asked or asked.returncode != 0:
        return []
    for folder in ("numpy", "numpy.libs"):
        if os.path.isdir(f"{asked.stdout.strip()}/{folder}"):
            shutil.copytree(f"{asked.stdout.strip()}/{folder}", f"{packages}/{folder}", ignore=shutil.ignore_patterns("tests"))
    return glob.glob(f"{packages}/numpy/**/*.so", recursive=True)


def make_root(root, options):
    packages = f"{root}/site-packages"
    os.makedirs(packages)
    os.makedirs(f"{root}/tmp")
    with open(f"{packages}/model.py", "w") as stream:
        stream.write(MODEL)
    extensions = glob.glob(f"{sysconfig.get_config_var('DESTSHARED')}/*.so")
    libraries = needed([options.program, options.image_library, *extensions, *copy_numpy(options.packages_of, packages)])
    for library in libraries:
        name = os.path.basename(library)
        if not name.startswith((LEFT_OUT, "libpython", "libdeploy")) and not library.startswith(packages):
            os.makedirs(os.path.dirname(root + library), exist_ok=True)
            shutil.copyfile(library, root + library)
            shutil.copymode(library, root + library)
    shutil.copy(options.library, f"{root}/tmp/libdeploy.so.0")
    shutil.copy(options.program, f"{root}/program")


def chroot_command(root):
    """How to run a command in `root`, or None."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    change_root, unshare = (shutil.which(name, path=path) or name for name in ("chroot", "unshare"))
    for tool in ([change_root], [unshare, "-r", change_root]):
        try:
            tried = subprocess.run([*tool, "/", "/bin/true"], capture_output=True, text=True)
        except FileNotFoundError:
            continue
        if tried.returncode == 0:
            return [*tool, root]
        print(f"{' '.join(tool)}: {tried.stderr.strip()}")
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--library", required=True)
    parser.add_argument("--image-library", required=True, help="libdeploy_guest.so, of which libdeploy holds a copy")
    parser.add_argument("--packages-of", help="a Python of the same version, whose numpy is taken where it has one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="deploy-hermetic-") as root:
        command = chroot_command(root)
        if command is None:
            print("neither root nor a user namespace: a program cannot be run without this machine's Python")
            return 77
        make_root(root, options)
        run = subprocess.run([*command, "/program"], capture_output=True, text=True, env={"LD_LIBRARY_PATH": "/tmp"})
    print(run.stdout + run.stderr, end="")
    lines = dict(line.split(": ", 1) for line in run.stdout.splitlines())
    if run.returncode != 0 or lines.get("model") != "[3.0, 6.0]" or f"{LEFT_OUT}.so" not in lines.get("readline", ""):
        print(f"status {run.returncode}; expected 0, an ImportError that names {LEFT_OUT}.so, and the model's [3.0, 6.0]")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
