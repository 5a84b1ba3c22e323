// Which libraries an interpreter has for itself (D1), in terms that the loader understands. A library that uses Python or libtorch
// shows it by its undefined symbols, wherever it lies and whatever it is called; the lists are for what does not.

#include <array>
#include <filesystem>
#include <string_view>

#include "lib/interpreter/environment.h"

namespace deploy::detail {

namespace {

constexpr const char* kPrivate[] = {"libc10*", "libtorch*", "libshm*", "libstdc++.so*"};

// Private beside a private library, but no reason to be private. libgcc_s: nearly everything needs it. libffi: what Python calls
// through it (dlopen as a ctypes function) sees it as its caller, and must know whose.
constexpr const char* kPrivateQuiet[] = {"libgcc_s[.-]*", "libffi*.so*"};

// One device and one heap a process: CUDA's contexts and libraries, and glibc's own family.
constexpr const char* kShared[] = {
    "libcuda.so*",    "libcudart*",     "libcublas*",   "libcudnn*",     "libcufft*",     "libcurand*",
    "libcusparse*",   "libcusolver*",   "libnvrtc*",    "libnvJitLink*", "libnccl*",      "libcupti*",
    "libnvToolsExt*", "libnvidia-ml*",  "libcufile*",   "libnvshmem*",   "libc.so*",      "libm.so*",
    "libdl.so*",      "libpthread.so*", "librt.so*",    "libutil.so*",   "libresolv.so*", "libanl.so*",
    "libnsl.so*",     "libmvec.so*",    "libcrypt.so*", "ld-linux*.so*", "libthread_db*", "linux-vdso*",
};

// C libraries of the system that keep for the whole process what their users gave them: functions of error handlers and allocators,
// tables of types and plug-ins. What the environment brings along needs no such list.
constexpr const char* kStateful[] = {
    "libhdf5*", "libnetcdf*", "libxml2*", "libxslt*", "libexslt*", "libreadline*",
    "libedit*", "libavutil*", "libgmp*",  "libmpfr*", "libmpdec*", "libgit2*",
};

// Libraries of wheels that keep nothing of their users, and are large (BLAS), or ought to be in a process once: run times of
// OpenMP, whose threads would be as many more, and of compilers; what profiles and steers one device.
constexpr const char* kStateless[] = {
    "libopenblas*", "libscipy_openblas*", "libblas[.-]*", "libcblas*",         "liblapack*",         "libblis*",
    "libmkl_*",     "libgomp*",           "libiomp*",     "libomp[.-]*",       "libgfortran*",       "libquadmath*",
    "libatomic*",   "libnvperf*",         "libnvvm*",     "libnvfatbin*",      "libnvjpeg*",         "libnpp*",
    "libcutensor*", "libcustatevec*",     "libcudss*",    "libcheckpoint.so*", "libpcsamplingutil*",
};

bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }

// Py_Initialize, PyList_New, _PyObject_New, _Py_NoneStruct: the CPython API. Not PyInit_*: that is what an extension module
// defines.
bool is_python_symbol(std::string_view symbol) {
  if (symbol.starts_with('_')) symbol.remove_prefix(1);
  return symbol.size() > 2 && symbol.starts_with("Py") && (is_upper(symbol[2]) || symbol[2] == '_') &&
         !symbol.starts_with("PyInit_");
}

// A mangled name in one of libtorch's namespaces: _ZN2at6Tensor..., _ZNK3c10..., _ZTVN5torch...
bool is_torch_symbol(std::string_view symbol) {
  if (!symbol.starts_with("_Z")) return false;
  symbol.remove_prefix(2);
  for (const std::string_view special : {"TV", "TI", "TS", "TT", "GV", "GR"}) {
    if (symbol.starts_with(special)) {
      symbol.remove_prefix(special.size());
      break;
    }
  }
  if (!symbol.starts_with('N')) return false;
  symbol.remove_prefix(1);
  while (!symbol.empty() && (symbol[0] == 'K' || symbol[0] == 'V' || symbol[0] == 'r')) symbol.remove_prefix(1);
  constexpr std::array<std::string_view, 4> kNamespaces = {"2at", "3c10", "5torch", "6caffe2"};
  for (const std::string_view name : kNamespaces) {
    if (symbol.starts_with(name)) return true;
  }
  return false;
}

// The folders as the loader wants them.
std::vector<std::string> folders_of(const Environment& environment) {
  namespace fs = std::filesystem;
  std::vector<std::string> folders;
  for (const auto* list : {&environment.site_packages, &environment.extra_paths}) {
    for (const std::string& folder : *list) {
      std::error_code error;
      if (const fs::path given = fs::absolute(folder, error); !error) folders.push_back(given.lexically_normal());
      if (const fs::path real = fs::canonical(folder, error); !error && real != folders.back()) folders.push_back(real);
    }
  }
  return folders;
}

}  // namespace

loader::Policy link_policy(const Environment& environment) {
  loader::Policy policy;
  policy.is_private_symbol = [](std::string_view symbol) { return is_python_symbol(symbol) || is_torch_symbol(symbol); };
  policy.private_names.assign(std::begin(kPrivate), std::end(kPrivate));
  policy.private_names.insert(policy.private_names.end(), environment.private_libraries.begin(),
                              environment.private_libraries.end());
  policy.private_quiet_names.assign(std::begin(kPrivateQuiet), std::end(kPrivateQuiet));
  policy.shared_names.assign(std::begin(kShared), std::end(kShared));
  policy.private_folders = folders_of(environment);
  policy.stateful_names.assign(std::begin(kStateful), std::end(kStateful));
  policy.stateless_names.assign(std::begin(kStateless), std::end(kStateless));
  policy.stateless_names.insert(policy.stateless_names.end(), environment.shared_libraries.begin(),
                                environment.shared_libraries.end());
  return policy;
}

}  // namespace deploy::detail
