"""Builds the CPython of the interpreter image from the distribution's source: libpython3.X.so, profile-guided and link-time optimised.

Debian's python3.11 is compiled with a profile, but is not position-independent; its libpython3.11-pic.a and libpython3.11.so are
compiled without one, and pure Python is 13 to 29 % slower in them. So the image has a library of its own, from the same source package
as the python3.11 of the machine, with the same hardening and the same modules built in. How, after CPython's `make profile-opt`:

  1. The source comes from the package mirrors that the machine is configured with (`apt-get source`, in a state folder of its own).
  2. An instrumented interpreter is built, and runs what CPython profiles itself with (`-m test --pgo`) and training.py.
  3. The library is built with that profile. `-fno-semantic-interposition` and `-Bsymbolic` let it call itself directly, as a program does.

The image has one revision of Python (revision.py says why). The source is that of the installed revision, where a mirror has it. A mirror
often has only the newest one; then the standard library and its extension modules are taken from the binary packages of the revision that was
built, unpacked into OUTPUT/stdlib and not installed, and the image takes them instead of the installed ones.

It takes three to five minutes on two cores. OUTPUT/libpython3.X.so is the result, OUTPUT/revision says what it was built from; a second call
finds them there and does nothing.
"""

import argparse
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig

import revision

HERE = pathlib.Path(__file__).resolve().parent
VERSION, FULL_VERSION = revision.VERSION, revision.FULL_VERSION
PACKAGE = f"python{VERSION}"
TRAINING_ROUNDS = 1200  # of training.py: forty seconds, as many as CPython's tests take

# Hardened as Debian's, but for -fstack-protector-strong: it costs C code like _pickle 2 %. Without debugging information.
COMMON = ["-g0", "-fvisibility=hidden", "-fno-semantic-interposition", "-fstack-protector", "-D_FORTIFY_SOURCE=2"]
INSTRUMENTED = ["-fprofile-generate"]
# Files without a profile are those that the training never reached; a changed count is threads' (CPython's configure has these too).
# By default code outside the 99 % of what ran is optimised for size: json and pickle would be, beside the loops of training.py.
OPTIMISED = ["-fprofile-use", "-fprofile-correction", "-fprofile-partial-training", "--param=hot-bb-count-ws-permille=999",
             "-Wno-missing-profile", "-flto"]  # fmt: skip


class Failure(Exception):
    pass


def run(command, log, *, cwd, env=None):
    with open(log, "ab") as output:
        done = subprocess.run([str(word) for word in command], check=False, stdin=subprocess.DEVNULL, stdout=output,
                              stderr=subprocess.STDOUT, cwd=cwd, env=env)  # fmt: skip
    if done.returncode != 0:
        last = pathlib.Path(log).read_text(errors="replace").splitlines()[-12:]
        raise Failure(f"{' '.join(map(str, command[:4]))} ... ended with status {done.returncode}:\n  " + "\n  ".join(last))


class Sources:
    """The machine's package mirrors, asked for source packages and for what is unpacked and not installed, in state and cache folders of
    their own (no root, no change to the machine)."""

    def __init__(self, folder):
        self._folder = folder
        parts = folder / "sources.list.d"
        for part in (parts, folder / "lists" / "partial", folder / "archives" / "partial"):
            part.mkdir(parents=True, exist_ok=True)
        for file in self._files():
            text = file.read_text()
            if file.suffix == ".sources":  # deb822, see sources.list(5)
                lines = ["Types: deb deb-src" if line.startswith("Types:") else line for line in text.splitlines()]
            else:
                binary = [line for line in text.splitlines() if line.startswith("deb ")]
                lines = binary + ["deb-src " + line.removeprefix("deb ") for line in binary]
            (parts / file.name).write_text("\n".join(lines) + "\n")

    def _files(self):
        """Those that this machine has fetched from; all, where it has fetched nothing."""
        command = ["apt-get", "indextargets", "--format", "$(SOURCESENTRY)", "Identifier: Packages"]
        listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\n")
        fetched = {pathlib.Path(entry.rpartition(":")[0]) for entry in listed if entry}
        every = [pathlib.Path("/etc/apt/sources.list"), *pathlib.Path("/etc/apt/sources.list.d").glob("*")]
        return sorted(file for file in fetched or every if file.suffix in (".list", ".sources") and file.is_file())

    def _apt(self, tool):
        here = self._folder
        options = {"Dir::Etc::sourcelist": "/dev/null", "Dir::Etc::sourceparts": here / "sources.list.d", "Dir::State::lists": here / "lists",
                   "Dir::Cache": here, "APT::Sandbox::User": ""}  # fmt: skip
        return [tool, "-q", *(f"-o{name}={value}" for name, value in options.items())]

    def fetch(self, package, upstream, installed):
        """(revision, folder with the unpacked source of `package`, folder with the standard library of that revision or None for the
        installed one). The installed revision if a mirror has its source, or else the newest one with that upstream version of which
        everything can be fetched."""
        log = self._folder / "apt.log"
        # A mirror without sources is no failure if another has them.
        subprocess.run([*self._apt("apt-get"), "update"], check=False, stdout=log.open("wb"), stderr=subprocess.STDOUT)
        shown = subprocess.run([*self._apt("apt-cache"), "showsrc", package], check=False, capture_output=True, text=True).stdout
        found = list(dict.fromkeys(line.split()[1] for line in shown.splitlines() if line.startswith("Version:")))
        fitting = [version for version in found if version.partition("-")[0] == upstream]
        if not fitting:
            raise Failure(f"the package mirrors have no source of {package} {upstream} (found: {', '.join(found) or 'none'})")
        for version in sorted(fitting, key=lambda version: version != installed):
            try:
                run([*self._apt("apt-get"), "source", "--download-only", f"{package}={version}"], log, cwd=self._folder)
                stdlib = None if version == installed else self._stdlib(version, log)
                return version, self._unpacked(package, version, log), stdlib
            except Failure as error:
                failure = error
        raise failure

    def _unpacked(self, package, version, log):
        source = self._folder / "source"
        shutil.rmtree(source, ignore_errors=True)
        (description,) = self._folder.glob(f"{package}_{version.partition(':')[2] or version}.dsc")
        run(["dpkg-source", "--no-check", "-x", description.name, source.name], log, cwd=self._folder)
        return source

    def _stdlib(self, version, log):
        """The standard library of a revision that is not installed. What comes from other source packages (lib2to3, tkinter) is not in it."""
        root = self._folder / "root"
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        for package in revision.STDLIB_PACKAGES:
            run([*self._apt("apt-get"), "download", f"{package}={version}"], log, cwd=root)
        for file in sorted(root.glob("*.deb")):
            run(["dpkg-deb", "-x", file.name, "."], log, cwd=root)
        stdlib = root / "usr" / "lib" / f"python{VERSION}"
        if not (stdlib / "os.py").is_file() or not (stdlib / "lib-dynload").is_dir():
            raise Failure(f"the packages {' and '.join(revision.STDLIB_PACKAGES)} {version} have no standard library in /usr/lib/python{VERSION}")
        (stdlib / revision.FILE).write_text(version)
        return stdlib


class Build:
    def __init__(self, source, stdlib, folder, jobs):
        self._source, self._folder, self._jobs = source, folder, jobs
        self._extensions = stdlib / "lib-dynload" if stdlib else pathlib.Path(sysconfig.get_config_var("DESTSHARED"))
        self._log = folder / "build.log"
        folder.mkdir()

    def configure(self):
        options = ["--with-computed-gotos", "--with-system-expat", "--with-system-ffi", "--without-ensurepip"]
        configure = os.path.relpath(self._source / "configure", self._folder)  # it is compiled in, as VPATH
        run([configure, "--quiet", *options, "CFLAGS=-fPIC"], self._log, cwd=self._folder)
        # Which modules are part of the library, and which are files: as in the distribution, whose files the image takes.
        installed = pathlib.Path(sysconfig.get_config_var("LIBPL")) / "Setup.local"
        shutil.copyfile(installed, self._folder / "Modules" / "Setup.local")
        (self._folder / "objects.mk").write_text(
            "objects: $(LIBRARY_OBJS)\n"
            "library: objects\n"
            "\t$(CC) -shared $(PY_CORE_CFLAGS) $(LINK_FLAGS) -o $(LINK_OUTPUT) $(LIBRARY_OBJS) $(MODLIBS) $(LIBS) $(SYSLIBS)\n"
        )

    def _make(self, target, flags, *variables):
        # The programs that freeze modules stay as they are: what they write does not depend on how they were optimised.
        keep = ["-o", "_bootstrap_python", "-o", "Programs/_freeze_module"] if target != "python" else []
        run(["make", f"-j{self._jobs}", "-f", "Makefile", "-f", "objects.mk", *keep, target, f"CFLAGS_NODIST={' '.join(['-std=c11', *flags])}",
             *variables], self._log, cwd=self._folder)  # fmt: skip

    def train(self):
        self._make("python", [*COMMON, *INSTRUMENTED], f"LDFLAGS_NODIST={' '.join(INSTRUMENTED)}")
        python = self._folder / "python"
        run([python, "-E", "-S", "-m", "sysconfig", "--generate-posix-vars"], self._log, cwd=self._folder)
        extensions = self._folder / (self._folder / "pybuilddir.txt").read_text()
        for file in self._extensions.glob("*.so"):
            shutil.copy(file, extensions)
        # The same work at every build: how registers are given out in the interpreter's loop hangs on small differences of the profile,
        # and with them the speed of a program like nbody, by up to 15 %.
        env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | {"PYTHONHASHSEED": "0"}
        # A test that fails here has still run; what counts is that there is a profile.
        with self._log.open("ab") as log:
            command = [python, "-m", "test", "--pgo", "--timeout=600"]
            subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder, env=env)
        run([python, HERE / "training.py", TRAINING_ROUNDS], self._log, cwd=self._folder, env=env)
        if not (self._folder / "Python" / "ceval.gcda").is_file():
            raise Failure("the instrumented interpreter wrote no profile")

    def link(self, name):
        for file in [*self._folder.rglob("*.o"), *self._folder.glob("*.a")]:
            file.unlink()
        flags = [*COMMON, *OPTIMISED]
        link = [f"-flto={self._jobs}", "-Wl,-Bsymbolic", "-Wl,-z,defs", "-Wl,-z,now", f"-Wl,-soname,{name}",
                f"-Wl,--version-script={HERE / 'exports.map'}"]  # fmt: skip
        self._make("library", flags, f"LINK_FLAGS={' '.join(link)}", f"LINK_OUTPUT={name}")
        return self._folder / name


def fingerprint():
    """What the result depends on, as far as it can be told without fetching."""
    digest = hashlib.sha256()
    for file in sorted(HERE.iterdir()):
        if file.is_file():
            digest.update(file.read_bytes())
    for command in (["gcc", "--version"], ["dpkg-query", "-W", PACKAGE]):
        digest.update(subprocess.run(command, check=True, capture_output=True).stdout)
    return digest.hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    output = arguments.output.resolve()
    name = f"libpython{VERSION}.so.1.0"
    stamp = output / "fingerprint"
    want = fingerprint()
    if stamp.is_file() and stamp.read_text() == want and (output / name).is_file():
        return
    print(f"==> building Python {FULL_VERSION} for the image (once, three to five minutes)", flush=True)
    shutil.rmtree(output, ignore_errors=True)
    work = output / "work"
    work.mkdir(parents=True)
    try:
        built, source, stdlib = Sources(work).fetch(PACKAGE, FULL_VERSION, revision.installed())
        build = Build(source, stdlib, work / "build", arguments.jobs)
        build.configure()
        build.train()
        shutil.copy(build.link(name), output / name)
        if stdlib:
            shutil.copytree(stdlib, output / "stdlib", symlinks=True)
        (output / revision.FILE).write_text(built)
    except (Failure, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"build.py: Python {FULL_VERSION} could not be built for the image: {error}")
    stamp.write_text(want)


if __name__ == "__main__":
    main()
