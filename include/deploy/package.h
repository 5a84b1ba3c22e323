#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "deploy/interpreter.h"
#include "deploy/manifest.h"

namespace deploy {

namespace detail {
class PackageCore;
class ReplicaCore;
}  // namespace detail

// A Python object that every interpreter of a manager has, or makes at its first use there: out of a package, or out of
// an object that a session replicated. Copies refer to the same object. Thread-safe: calls run on any free interpreter, in parallel
// up to the number of interpreters; when none is free they wait in order of arrival. Attribute writes stay in the interpreter they
// were made in; tensors loaded from a package or a replica share clean pages between interpreters and are copied on write.
class DEPLOY_API ReplicatedObject {
 public:
  // Arguments and results cross as Values (see there); tensors share memory. Parts of the result that have no Value form come as
  // Objects that belong to no session; with such an Object among the arguments the call runs on its interpreter (deploy/object.h).
  // Throws kPython with the traceback, kNotAValue where the result is more than the ValueLimits, kWrongSession for Objects of two
  // interpreters, kClosed while the manager closes.
  Value call(Args args, Kwargs kwargs = {}) const;
  Value call_method(std::string_view name, Args args = {}, Kwargs kwargs = {}) const;
  Value operator()(Args args) const { return call(std::move(args)); }
  template <class... Ts>
  Value operator()(Ts&&... args) const {
    Args values;
    values.reserve(sizeof...(args));
    (values.emplace_back(std::forward<Ts>(args)), ...);
    return call(std::move(values));
  }

  // The same object, whose calls have to be over `timeout` after they are made: waiting for an interpreter, making the object there
  // and the call itself. They throw kDeadlineExceeded otherwise; Python code that runs is stopped as by
  // InterpreterSession::interrupt(), once more every second that it goes on. A session is waited for as long, and has what is left
  // (see InterpreterSession::set_timeout). preload() is not limited. with_timeout(200ms)(x).
  ReplicatedObject with_timeout(std::chrono::nanoseconds timeout) const;

  // How much may cross in one call of it, of the manager's Environment.
  ValueLimits value_limits() const noexcept;

  // Makes it on every interpreter now, in parallel, so that no later call pays for it. Rethrows the first failure.
  void preload() const;

  // A session on a free interpreter; session.from_replicated(*this) is the object there.
  InterpreterSession acquire_session() const;

  explicit ReplicatedObject(std::shared_ptr<detail::ReplicaCore> core,
                            std::optional<std::chrono::nanoseconds> timeout = {}) noexcept;  // internal
  const std::shared_ptr<detail::ReplicaCore>& core() const noexcept { return core_; }

 private:
  std::shared_ptr<detail::ReplicaCore> core_;
  std::optional<std::chrono::nanoseconds> timeout_;
};

// What InterpreterManager::load_package asks of a file.
struct LoadOptions {
  // The SHA-256 that the whole file has to have, 64 hexadecimal digits; empty: any. kUntrusted.
  std::string sha256 = {};

  // Public keys (PEM files, or PEM texts), one of which must have signed the file (deploy/signature.h); empty: none has to.
  // kUntrusted. Both checks are over the whole file and done before anything of it is used. All that can run, code and pickles,
  // then comes out of a copy of the very bytes that were checked; weights are still mapped, unless `in_memory` says otherwise.
  std::vector<std::string> trusted_keys = {};

  // Copies the whole file into memory, once for all interpreters. Whatever becomes of the file, the package stays as it is.
  bool in_memory = false;

  // Whether the weights' checksums are compared, which takes a second for some gigabytes; all other records' always are. By default
  // those of up to 64 MB are. kInvalidPackage.
  std::optional<bool> check_weights = {};
};

// A container file in torch.package's format, opened by a manager. Copies refer to the same package. Thread-safe.
//
// Names. The code of a package with a manifest (deploy.package writes them) is imported under its own names, from real files, and
// comes before modules of these names in the environment. Where another open package has different code of such a name, or takes
// the name from the environment, or an interpreter has it imported from there already, the package gets a set of interpreters of
// its own, as many as the manager has, for as long as it or an object of it is open: interpreters() are those. Equal code is
// shared. A plain torch.package file stays in the manager's interpreters; its modules get other names there
// ("<torch_package_N>.name") where theirs are taken.
//
// The file. It is opened once; to remove it, or rename another over it, changes nothing. One that is written to while it is loaded
// gives kInvalidPackage. Weights are mapped from it: rewritten in place, they change or not, page by page; cut off, the next load
// fails with kInvalidPackage, and touching a page that is gone ends the process with SIGBUS, as with every mapped file. in_memory
// is immune to both.
//
// The end. When the last handle on a package and on what was loaded from it is gone, its objects, modules and mappings leave every
// interpreter, idle ones a moment later; what other code holds of them stays.
class DEPLOY_API Package {
 public:
  // Unpickles record `<package>/<resource>` on one interpreter now and on the others at their first use. Throws kNotFound (with the
  // records there are), kMissingExtern (all of them), kInvalidPackage, kPython.
  ReplicatedObject load_pickle(std::string_view package, std::string_view resource) const;

  // A UTF-8 text or the bytes of a record. Throws kNotFound.
  std::string load_text(std::string_view package, std::string_view resource) const;
  std::string load_binary(std::string_view package, std::string_view resource) const;

  // What the package says of itself; nullopt: it was written by plain torch.package.
  const std::optional<Manifest>& manifest() const noexcept;

  // Those that it runs on: the manager's, or its own (see above). Throws kClosed.
  const std::vector<Interpreter>& interpreters() const;

  // Every record, in file order, without the archive's own root folder.
  std::vector<std::string> records() const;
  const std::string& path() const noexcept;

  explicit Package(std::shared_ptr<detail::PackageCore> core) noexcept;  // internal

 private:
  std::shared_ptr<detail::PackageCore> core_;
};

}  // namespace deploy
