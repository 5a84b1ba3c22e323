"""What goes into a package, and what it expects to find: the decision for each module.

  - The standard library is extern.
  - A distribution is interned or extern as a whole. Patterns decide (`intern`, `extern`); without one it is extern. One with
    extension modules can only be extern.
  - The user's own code, which no distribution has, is interned: the modules that the pickles refer to, those that these import,
    and what is loaded of the same packages; with the data files beside them.

Own code is looked through for imports; interned distributions are not, because they travel whole. Their requirements (METADATA)
that their code imports at all are decided by the same rule.
"""

from __future__ import annotations

import dataclasses
import difflib
import pathlib
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from deploy.package import own_data
from deploy.package.distributions import EXTENSION_MODULE, SKIPPED_FOLDERS, Distribution, Installed, normalized
from deploy.package.imports import Import, imports_of, ran, tops_imported_by
from deploy.package.patterns import Patterns, stem
from deploy.package.problems import Problem
from deploy.package.sources import Location, is_inside_an_extension_module, is_standard, locate, read_source


@dataclasses.dataclass(frozen=True)
class Extern:
    module: str
    distribution: Distribution | None
    stdlib: bool = False


@dataclasses.dataclass(frozen=True)
class OwnModule:
    name: str
    is_package: bool
    source: bytes


class Plan:
    """Filled by the calls of add_*(), in any order; finish() then decides what is left.

    `imports` are those that ran while the example did: (module that has the import, module that it imports).
    """

    def __init__(
        self, intern: Iterable[str], extern: Iterable[str], resource_package: str, imports: set[tuple[str, str]] | None = None
    ) -> None:
        self._imports = imports
        self.installed = Installed()
        self.own: dict[str, OwnModule] = {}
        self.data: dict[str, pathlib.Path] = {}  # record -> file
        self.interned: dict[str, tuple[Distribution, str]] = {}  # normalized name -> it, and why
        self.externs: dict[str, Extern] = {}
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self._patterns = Patterns(intern, extern)
        self.python_part = Patterns((), ())  # of those in `intern`, which go in without their extension modules
        self._resource_package = resource_package
        self._seen: dict[str, bool] = {}  # module -> whether something cannot do without it
        self._decided: dict[str, bool] = {}

    # What is needed.

    def add_reference(self, module: str) -> None:
        """A module that a pickle imports."""
        self._need(module, f"a pickle refers to {module}", required=True)

    def add_source(self, name: str, source: bytes, namespace: Mapping[str, Any] | None = None, folder: str | None = None) -> None:
        """A module that is written as given. `namespace`: its names, if it was imported here, under whatever name; `folder`: where
        its data files are."""
        if name in self.own:
            return
        self._seen[name] = True
        self.own[name] = OwnModule(name, False, source)
        if name.rpartition(".")[0]:
            self._need_parent(name.rpartition(".")[0], f"{name} is in it", required=True)
        if folder is not None:
            self._add_data(own_data.mentioned(source, pathlib.Path(folder)))
        self._follow(self.own[name], name, True, namespace)

    def finish(self) -> None:
        for pattern, name in self._patterns.named("intern"):
            self._add_named(pattern, name)
        self._add_loaded()
        for module in list(self.own.values()):
            self._add_data_of(module)
        for pattern in self._patterns.lists["intern"]:
            if ("intern", pattern) not in self._patterns.matched:
                self._unmatched(pattern)
        if self._resource_package.partition(".")[0] in self.externs:
            self.problems.append(
                Problem(
                    self._resource_package,
                    "is both the package's folder for pickles and an extern module",
                    "give another `package`",
                )
            )

    # Decisions.

    def _need(self, module: str, why: str, required: bool, caught: bool = False) -> None:
        """`required`: it was imported, or a pickle refers to it. `caught`: the code that imports it goes on without it. Then a
        package does not ask the environment for it; own code goes in, with what that needs in turn."""
        if not module or self._seen.get(module, False) or (module in self._seen and not required):
            return
        top = module.partition(".")[0]
        if is_standard(top):
            self._seen[module] = required
            if required or locate(top) is not None:
                self.externs.setdefault(top, Extern(top, None, stdlib=True))
            return
        location = locate(module)
        where = (location.file or next(iter(location.search), None)) if location else None
        owner = self.installed.owner(module, where)
        self._seen[module] = required and not (caught and owner is not None)
        if owner is not None:
            if location is not None or required:
                self._need_distribution(owner, module, why, required and not caught)
        elif location is None:
            if required and not caught:
                self._need_nowhere(module, why)
        else:
            self._need_own(module, location, why, required)

    def _need_nowhere(self, module: str, why: str) -> None:
        top = module.partition(".")[0]
        match = self._patterns.decide([module, top])
        if match and match[0] == "extern":
            self.externs.setdefault(top, Extern(top, None))
            return
        self.problems.append(
            Problem(
                module,
                f"is not to be found ({why})",
                f"install it, put its folder on sys.path, or give extern=[{top!r}] if it is there where the package is loaded",
            )
        )

    def _need_distribution(self, distribution: Distribution, module: str, why: str, required: bool) -> None:
        if self._interns(distribution, module, why):
            return
        if required:
            top = module.partition(".")[0]
            shared = len(self.installed.with_top(top)) > 1
            names = [module] if shared else [top]
            if is_inside_an_extension_module(module):
                names.append(module)  # torch.package's importer wants to be told each of these
            for name in names:
                self.externs.setdefault(name, Extern(name, distribution))

    def _interns(self, distribution: Distribution, module: str, why: str) -> bool:
        key = normalized(distribution.name)
        if key in self._decided:
            return self._decided[key]
        match = self._patterns.decide([distribution.name, *distribution.tops, module])
        native = distribution.native_files
        if native and match and match[0] == "intern" and self.python_part.decide([distribution.name, *distribution.tops]):
            distribution.python_part = True
            count = f"{len(native)} files" if len(native) > 1 else "one file"
            self.notes.append(f"{distribution.name} is inside without its extension modules and libraries ({count}: {native[0]})")
            native = []
        intern = match[0] == "intern" if match else distribution.editable_root is not None and not native
        if intern and native:
            if match and match[2]:
                self.problems.append(
                    Problem(
                        distribution.name,
                        f"cannot be interned: it has extension modules ({native[0]}{' and others' if len(native) > 1 else ''}), "
                        f"which are built for one Python and one machine, and cannot be loaded out of a package",
                        f"take {match[1]!r} out of `intern`: {distribution.name} then comes from the environment (extern); or, if "
                        f"the object needs none of them, intern_python=[{match[1]!r}] takes all but these",
                    )
                )
            intern = False
        self._decided[key] = intern
        if intern:
            kind = "intern_python" if distribution.python_part else "intern"
            why = f"{kind} pattern {match[1]!r}" if match else f"installed as editable from {distribution.editable_root}"
            self.interned[key] = distribution, why
            self._add_requirements(distribution)
        return intern

    def _add_requirements(self, distribution: Distribution) -> None:
        """What an interned distribution needs: of what its code imports, the standard library, and what its metadata requires."""
        imported: set[str] = set()
        for path, file in distribution.files:
            if path.endswith(".py"):
                imported |= tops_imported_by(file.read_bytes())
        required = {normalized(distribution.name), *distribution.requirements}
        for name in sorted(imported):
            if name in sys.stdlib_module_names:
                self._need(name, f"{distribution.name} imports it", required=False)
                continue
            for other in self.installed.with_top(name):
                if normalized(other.name) in required and other is not distribution:
                    self._need_distribution(other, name, f"{distribution.name} requires it", required=True)

    # Own code.

    def _need_own(self, module: str, location: Location, why: str, required: bool) -> None:
        top = module.partition(".")[0]
        match = self._patterns.decide([module, top])
        if match and match[0] == "extern":
            if required:
                self.externs.setdefault(top, Extern(top, None))
            return
        if module.rpartition(".")[0]:
            self._need_parent(module.rpartition(".")[0], why, required)
        if top == "deploy" and locate("deploy._deploy") is not None:
            return  # told by _follow()
        if location.file is None and location.search:
            return  # a namespace package: a folder only
        source = read_source(module, location)
        if source is not None:
            self.own[module] = OwnModule(module, location.is_package, source)
            namespace = getattr(sys.modules.get(module), "__dict__", None)
            self._follow(self.own[module], location.file or module, required, namespace)
        elif location.file and EXTENSION_MODULE.search(location.file) and "." not in module:
            self.externs.setdefault(module, Extern(module, None))
            self.notes.append(f"{module} is an extension module ({location.file}): extern")
        elif required:
            what = "an extension module" if EXTENSION_MODULE.search(location.file or "") else "without source"
            self.problems.append(
                Problem(
                    module,
                    f"cannot be interned: it is {what} ({location.file}) inside own package {top!r}",
                    f"extern=[{top!r}], and have it installed where the package is loaded",
                )
            )

    def _need_parent(self, package: str, why: str, required: bool) -> None:
        """The package that a module is in; where a module was made under a name with dots, there may be none."""
        if locate(package) is not None or self.installed.owner(package, None) is not None:
            self._need(package, why, required)

    def _follow(self, module: OwnModule, filename: str, required: bool, namespace: Mapping[str, Any] | None) -> None:
        """What a module imports. `namespace`: the module's names, if it has been imported."""
        try:
            imports = imports_of(module.source, module.name, module.is_package, filename)
        except (SyntaxError, ValueError) as error:
            self.problems.append(Problem(module.name, f"cannot be parsed: {error}", "its source has to be Python of this version"))
            return
        for found in imports:
            if found.module.partition(".")[0] == "deploy" and locate("deploy._deploy") is not None:
                self._refuse_deploy(module, found)
            else:
                needed = self._ran(module, found, required, namespace)
                self._need(found.module, f"{module.name} imports it", needed, found.caught)

    def _refuse_deploy(self, module: OwnModule, found: Import) -> None:
        match = self._patterns.decide([found.module, "deploy"])
        if found.certain and not found.deferred and not found.maybe_name and not (match and match[0] == "extern"):
            problem = Problem(
                module.name,
                "imports deploy, which is the host's side and not there inside an interpreter",
                "import it inside the function that packs, or keep the model in a module of its own",
            )
            if problem not in self.problems:
                self.problems.append(problem)

    def _ran(self, module: OwnModule, found: Import, required: bool, namespace: Mapping[str, Any] | None) -> bool:
        """Whether an import is a condition of loading the package: it ran when the module was imported, or, inside a function,
        while the example did; without an example, if its target is loaded."""
        if found.never:
            return False
        if found.deferred:
            loaded = sys.modules.get(found.module) is not None
            if self._imports is None or (found.maybe_name and not loaded):
                return loaded
            return (module.name, found.module) in self._imports
        if namespace is None:
            return required and found.certain and not found.maybe_name
        return required and ran(found, namespace)

    def _add_named(self, pattern: str, name: str) -> None:
        """What `intern` names is interned whether something is known to need it or not."""
        distribution = self.installed.by_name.get(normalized(name))
        candidates = [distribution] if distribution else self.installed.with_top(name.partition(".")[0])
        for found in candidates:
            self._interns(found, name, f"intern pattern {pattern!r}")
        if candidates:
            return
        location = locate(name)
        if location is None:
            return
        self._patterns.matched.add(("intern", pattern))
        self._need(name, f"intern pattern {pattern!r}", required=True)
        for folder in location.search:
            for file in sorted(pathlib.Path(folder).rglob("*.py")):
                inner = file.relative_to(folder).with_suffix("").parts
                if not SKIPPED_FOLDERS.intersection(inner) and all(part.isidentifier() for part in inner):
                    parts = inner[:-1] if inner[-1] == "__init__" else inner
                    self._need(".".join([name, *parts]), f"intern pattern {pattern!r}", required=False)

    def _add_loaded(self) -> None:
        """Modules of own packages that are loaded: code may have imported them by names that it computed."""
        tops = {name.partition(".")[0] for name in self.own if "." in name or self.own[name].is_package}
        for name in sorted(sys.modules):
            if name.partition(".")[0] in tops and "." in name and sys.modules[name] is not None:
                self._need(name, "it is loaded", required=False)

    def _add_data_of(self, module: OwnModule) -> None:
        """The files beside a module's code: all in the folder of a package, and those that a single module names."""
        location = locate(module.name)
        if location is None or location.file is None or not location.is_source:
            return
        folder, parent = pathlib.Path(location.file).parent, module.name.rpartition(".")[0]
        if module.is_package:
            self._add_data(own_data.below(folder, module.name.replace(".", "/")))
        elif parent not in self.own:
            above = locate(parent) if parent else None
            if above is not None and str(folder) in above.search:  # a namespace package: a folder without __init__.py
                self._add_data(own_data.below(folder, parent.replace(".", "/")))
            else:
                self._add_data(own_data.mentioned(module.source, folder, f"{parent.replace('.', '/')}/" if parent else ""))

    def _add_data(self, files: Iterable[tuple[str, pathlib.Path]]) -> None:
        limit = own_data.LIMIT
        for record, file in files:
            size = file.stat().st_size
            if not file.is_dir() and size <= limit:
                self.data[record] = file
                continue
            what = "it has more than" if file.is_dir() else f"{size >> 20} MiB; only data files of up to"
            note = f"{file} is left out: {what} {limit >> 20} MiB" + ("" if file.is_dir() else " travel with own code")
            if note not in self.notes:
                self.notes.append(note)

    def _unmatched(self, pattern: str) -> None:
        near = difflib.get_close_matches(stem(pattern), [*self.installed.by_name, *self.own], n=2)
        similar = f"; there is {' and '.join(near)}" if near else ""
        why = f"matches nothing that is installed or needed by the object{similar}"
        self.problems.append(Problem(f"intern={pattern!r}", why, "correct it or leave it out"))

    # The result.

    def extra_paths(self) -> list[str]:
        """The folders of extern code that is in no site-packages folder: own code, and editable installations."""
        folders: dict[str, None] = {}
        for extern in self.externs.values():
            if extern.stdlib or (extern.distribution and extern.distribution.editable_root is None):
                continue
            location = locate(extern.module.partition(".")[0])
            if location is not None and location.file is not None:
                file = pathlib.Path(location.file).absolute()
                folders[str(file.parent.parent if location.is_package else file.parent)] = None
        return list(folders)

    def record_of(self, module: OwnModule) -> str:
        path = module.name.replace(".", "/")
        # A module beside a folder of its name would hide it: the pickles' folder is called `model`, as many a module is.
        folder = module.is_package or module.name == self._resource_package
        return f"{path}/__init__.py" if folder else f"{path}.py"
