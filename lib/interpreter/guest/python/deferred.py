"""Environment.deferred_imports: the parts of PyTorch that inference seldom uses are imported at their first use.

`import torch` imports a thousand modules, and a model that is only called uses less than half of them. The others are listed
here. An import of one of them makes its module object, with its spec, and stops there; the first look at any attribute of it
executes it, as an ordinary import would have. What is deferred is therefore only when a module runs. Three things need more
than that.

Order. PyTorch's compiler side (fx, export, higher-order operators, the Meta kernels written in Python) imports itself in
circles, and they hold only in the order in which torch/__init__.py goes into them. It is a group: the first use of one executes
all of them, in the order in which they would have been imported.

Names. `from torch._higher_order_ops import cond`, in torch/__init__.py itself, would be a first use. Such names are left out of
torch until they are asked for.

Effects. torch._meta_registrations is imported for what it does: it registers Meta kernels, for tensors on the device meta and
for fake tensors. Tensors of Meta are made by two operators; until the group is executed these have a kernel that executes it
and calls the operator again. An import of what deals in fake tensors or decompositions (_GROUP_USERS) executes it first. The
operators in torch.ops.higher_order come with the group as well.

The list of names is of one time: PyTorch 2.13. A name that is not there, or that torch/__init__.py has come to use itself,
costs only the time that is not saved: a module that is looked at is executed.
"""

import _thread
import sys
from _frozen_importlib import ModuleSpec, _DeadlockError, _ModuleLockManager
from _frozen_importlib_external import _LoaderBasics

_ModuleType = type(sys)

_DEFERRED = frozenset((
    "torch._higher_order_ops", "torch._lobpcg", "torch._meta_registrations", "torch.accelerator", "torch.ao",
    "torch.autograd.functional", "torch.autograd.profiler", "torch.compiler", "torch.cuda.tunable", "torch.distributions",
    "torch.export", "torch.func", "torch.fx", "torch.hub", "torch.masked", "torch.mps", "torch.mtia", "torch.nested",
    "torch.nn.attention", "torch.nn.intrinsic", "torch.nn.qat", "torch.nn.quantizable", "torch.nn.quantized",
    "torch.nn.utils.parametrizations", "torch.nn.utils.parametrize", "torch.nn.utils.stateless", "torch.optim",
    "torch.profiler", "torch.quantization", "torch.quasirandom", "torch.utils.collect_env", "torch.utils.data", "torchgen",
    "unittest",
))  # fmt: skip

_GROUP = frozenset((
    "torch._higher_order_ops", "torch._meta_registrations", "torch.compiler", "torch.export", "torch.func", "torch.fx",
    "torch.nested",
))  # fmt: skip
_GROUP_USERS = frozenset((
    "torch._decomp", "torch._dynamo", "torch._export", "torch._inductor", "torch._prims", "torch._refs", "torch._subclasses",
    "torch.onnx",
))  # fmt: skip

# Executed while the packages that it is in are deferred: libtorch takes a class out of it for the first tensor, in a call_once that
# an execution of the group would enter again.
_NOT_DEFERRED = "torch.fx.experimental.sym_node"

# module -> names that torch/__init__.py takes out of it
_NAMES_OF_TORCH = {"torch._higher_order_ops": ("cond", "while_loop"), "torch._lobpcg": ("lobpcg",), "torch.func": ("vmap",)}

# torch.library clears this cache when operators go; that is no first use. The module adopts the object when it is executed.
_CACHES = {"torch.fx.operator_schemas": {"_SCHEMA_TO_SIGNATURE_CACHE": {}}}

# Attributes that import systems, inspect and warnings ask all modules for. A module that is not executed has the former and not the
# latter.
_MACHINERY = frozenset((
    "__builtins__", "__cached__", "__class__", "__file__", "__loader__", "__name__", "__package__", "__path__", "__spec__",
    "__warningregistry__",
))  # fmt: skip

_waiting = []  # modules that are deferred, in the order of their imports
_left_out = {}  # name in torch -> its module
_meta_library = None  # of the kernels of _watch_meta
_in_group = False
_running = set()
_running_thread = 0  # which has the lock


class DeferredModule(_ModuleType):
    """A module that is executed at the first look at it, and an ordinary one from then on."""

    def __getattribute__(self, name):
        held = _ModuleType.__getattribute__(self, "__dict__")
        if name in _MACHINERY or (name in held and name != "__dict__"):  # submodules are there before their package is executed
            return _ModuleType.__getattribute__(self, name)
        if _runs_here(self):
            return _ModuleType.__getattribute__(self, name)
        me = held["__name__"]
        if name in _CACHES.get(me, ()):
            return _CACHES[me][name]
        if name in _NAMES_OF_TORCH.get(me, ()) and _torch_imports():
            _left_out[name] = me
            return None
        _execute(self)
        return getattr(self, name)

    def __setattr__(self, name, value):
        if name not in _MACHINERY and not isinstance(value, _ModuleType) and not _runs_here(self):
            _execute(self)
        _ModuleType.__setattr__(self, name, value)

    def __delattr__(self, name):
        if not _runs_here(self):
            _execute(self)
        _ModuleType.__delattr__(self, name)


class IncompleteTorch(_ModuleType):
    """torch, as long as there are names that were left out of it."""

    def __getattr__(self, name):  # after torch's own __getattr__
        home = _left_out.get(name)
        if home is None:
            raise AttributeError(f"module 'torch' has no attribute {name!r}")
        value = getattr(sys.modules[home], name)
        setattr(self, name, value)
        _left_out.pop(name, None)
        if not _left_out:
            self.__class__ = _ModuleType
        return value


def _runs_here(module):
    """Whether a module is being executed by this thread. Others wait."""
    return module in _running and _running_thread == _thread.get_ident()


def _torch_imports():
    """Whether who looks at a deferred module is `from ... import ...` in torch/__init__.py."""
    frame = sys._getframe(2)
    if frame.f_code.co_name == "_handle_fromlist":
        frame = frame.f_back
    return frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") == "torch"


def _is_of(name, names):
    """Whether a module is one of `names`, or inside one."""
    while name:
        if name in names:
            return True
        name = name.rpartition(".")[0]
    return False


class _Lock:
    """One for all that is deferred. It is one of importlib's, which see a deadlock of several threads and let one through."""

    def __enter__(self):
        self._lock = _ModuleLockManager("<deferred imports>")
        try:
            self._lock.__enter__()
        except _DeadlockError:
            self._lock = None

    def __exit__(self, *exception):
        if self._lock is not None:
            self._lock.__exit__(*exception)


def _execute(module):
    with _Lock():
        if type(module) is not DeferredModule:
            return  # another thread was faster
        if not _in_group and _is_of(module.__name__, _GROUP):
            execute_group()
        if type(module) is DeferredModule:
            _execute_now(module)


def _execute_now(module):
    global _running_thread
    if module in _running:
        return
    name = module.__name__
    package = sys.modules.get(name.rpartition(".")[0])
    if type(package) is DeferredModule:
        _execute_now(package)
        if type(module) is not DeferredModule:
            return
    spec = module.__spec__
    before = dict(_ModuleType.__getattribute__(module, "__dict__"))
    _running.add(module)
    _running_thread = _thread.get_ident()
    spec._initializing = True  # for importlib's message about circular imports
    try:
        spec.loader.exec_module(module)
    except BaseException:  # the next look fails the same way
        held = _ModuleType.__getattribute__(module, "__dict__")
        held.clear()
        held.update(before)
        raise
    finally:
        spec._initializing = False
        _running.discard(module)
    if type(module) is DeferredModule:  # else it has made itself a module of another kind
        module.__class__ = _ModuleType
    for cache, value in _CACHES.get(name, {}).items():
        value.update(getattr(module, cache, ()))
        setattr(module, cache, value)
    _waiting.remove(module)


def execute_group():
    """Executes all of the group that is still deferred."""
    global _in_group
    with _Lock():
        if _in_group:
            return
        _in_group = True
        try:
            _unwatch_meta()
            for module in [each for each in _waiting if _is_of(each.__name__, _GROUP)]:
                if type(module) is DeferredModule:
                    _execute_now(module)
        finally:
            _in_group = False


def _watch_meta():
    """Executes the group before there is a first tensor on the device meta."""
    import torch

    library = torch.library.Library("aten", "IMPL", "Meta")

    def watch(name):
        packet, _, overload = name.partition(".")
        operator = getattr(getattr(torch.ops.aten, packet), overload or "default")

        def kernel(*args, **kwargs):
            # Executing the group takes this kernel away. It still runs, and is kept alive by what get_kernel gives.
            running = torch.library.get_kernel(operator, "Meta") if hasattr(torch.library, "get_kernel") else None
            execute_group()
            result = operator(*args, **kwargs)
            del running
            return result

        library.impl(name, kernel)

    for name in ("empty.memory_format", "empty_strided"):
        watch(name)
    return library


def _unwatch_meta():
    global _meta_library
    library, _meta_library = _meta_library, None
    if library is not None:
        library._destroy()


def _after_torch(torch):
    global _meta_library
    for name in _left_out:
        vars(torch).pop(name, None)
    if _left_out:
        torch.__class__ = IncompleteTorch

    # The group also gives torch.Generator its metaclass, without which there are no generators (torch._prims.rng_prims).
    set_metaclass = getattr(torch._C, "_set_generator_metaclass", None)
    if set_metaclass is not None and "torch._prims.rng_prims" not in sys.modules:
        from torch._opaque_base import OpaqueBaseMeta

        set_metaclass(OpaqueBaseMeta)

    operators = torch._ops._HigherOrderNamespace
    look = operators.__getattr__

    def look_again(self, name):
        try:
            return look(self, name)
        except AttributeError:
            if name.startswith("__"):
                raise
            execute_group()
            return look(self, name)

    operators.__getattr__ = look_again
    if any(module.__name__ == "torch._meta_registrations" for module in _waiting):
        _meta_library = _watch_meta()


class _Around:
    """A loader around the file's own."""

    def __init__(self, loader):
        self._loader = loader

    def create_module(self, spec):
        return None


class _Deferring(_Around):
    def exec_module(self, module):
        module.__loader__ = module.__spec__.loader = self._loader
        module.__class__ = DeferredModule
        _waiting.append(module)


class _OfTorch(_Around):
    def exec_module(self, module):
        module.__loader__ = module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        _after_torch(module)


class _Imported:
    """Of a module that was imported while it was looked for. importlib takes the spec that the module has by then."""

    def __init__(self, module):
        self._module, self._spec = module, module.__spec__
        module.__spec__ = ModuleSpec(module.__name__, self)

    def create_module(self, spec):
        return self._module

    def exec_module(self, module):
        module.__spec__ = self._spec


def _find_user(name):
    """Before a user of the group is imported."""
    torch = sys.modules.get("torch")
    if torch is None or getattr(torch.__spec__, "_initializing", False) or _in_group:
        return None
    execute_group()
    module = sys.modules.get(name)
    if module is not None:
        _Imported(module)
        return module.__spec__
    return None


def _find_elsewhere(name, path, target):
    for finder in sys.meta_path:
        if finder is not DeferringFinder:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                return spec
    return None


class DeferringFinder:
    """The meta-path finder, in front of all others."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in _GROUP_USERS and _waiting:
            return _find_user(name)
        if name == _NOT_DEFERRED:
            return None
        package = sys.modules.get(name.rpartition(".")[0])
        in_deferred = type(package) is DeferredModule and package not in _running
        if name != "torch" and name not in _DEFERRED and not in_deferred:
            return None
        spec = _find_elsewhere(name, path, target)
        if spec is not None and isinstance(spec.loader, _LoaderBasics):  # of Python code
            spec.loader = (_OfTorch if name == "torch" else _Deferring)(spec.loader)
        return spec

    @staticmethod
    def invalidate_caches():
        pass


def install():
    sys.meta_path.insert(0, DeferringFinder)
