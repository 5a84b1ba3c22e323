#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/interpreter/abi.h"
#include "lib/interpreter/image.h"
#include "lib/loader/namespace.h"

namespace deploy::test {

// What a guest function reported.
struct GuestError : deploy_error {
  GuestError();
  std::string message, python_type, traceback;
  int code = 0;
};

// The image in a link namespace of its own, not yet booted.
class LoadedGuest {
 public:
  LoadedGuest();
  ~LoadedGuest();
  LoadedGuest(const LoadedGuest&) = delete;

  loader::Namespace& link_namespace() { return *namespace_; }
  deploy_guest_entry_fn entry() const { return entry_; }
  const deploy_guest& table() const { return *table_; }

  // Boots with the image's own standard library; on this thread, which has to shut it down too.
  int boot(const std::vector<std::string>& paths, GuestError& error) { return boot(paths, Image::get().value()->stdlib(), error); }
  int boot(const std::vector<std::string>& paths, std::span<const std::byte> stdlib, GuestError& error);
  int shutdown(GuestError& error);

 private:
  std::unique_ptr<loader::Namespace> namespace_;
  deploy_guest_entry_fn entry_ = nullptr;
  const deploy_guest* table_ = nullptr;
  bool booted_ = false;
};

// A guest that is booted, and attached to this thread.
class BootedGuest : public LoadedGuest {
 public:
  explicit BootedGuest(const std::vector<std::string>& paths = {});
  ~BootedGuest();

  // Executes Python statements in a fresh dictionary. Empty, or the traceback of what they raised.
  std::string exec(std::string_view code);
  // str(expression).
  std::string eval(std::string_view expression);

  deploy_thread thread() const { return thread_; }

 private:
  std::string call_builtin(std::string_view function, std::string_view code, std::string* result);

  deploy_thread thread_ = nullptr;
};

}  // namespace deploy::test
