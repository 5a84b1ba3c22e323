#include "tests/cpp/image/booted_guest.h"

#include <gtest/gtest.h>

#include <chrono>
#include <stdexcept>
#include <thread>

namespace deploy::test {
namespace {

deploy_text text(std::string_view view) { return {view.data(), view.size()}; }

void on_report(deploy_error* self, int32_t code, deploy_text message, deploy_text python_type, deploy_text traceback) {
  auto* error = static_cast<GuestError*>(self);
  error->code = code;
  error->message.assign(message.data, message.size);
  error->python_type.assign(python_type.data, python_type.size);
  error->traceback.assign(traceback.data, traceback.size);
}

struct StringSink : deploy_sink {
  StringSink() : deploy_sink{} {
    on_str = [](deploy_sink* self, deploy_text utf8) { static_cast<StringSink*>(self)->value.assign(utf8.data, utf8.size); };
  }
  std::string value;
};

constexpr deploy_host kHost = [] {
  deploy_host host{};
  host.abi_version = DEPLOY_ABI_VERSION;
  host.size = sizeof host;
  return host;
}();

}  // namespace

GuestError::GuestError() : deploy_error{on_report} {}

LoadedGuest::LoadedGuest() {
  loader::NamespaceOptions options;
  options.name = "test";
  options.policy.is_private_symbol = [](std::string_view symbol) { return symbol.starts_with("Py") || symbol.starts_with("_Py"); };
  options.embedded = [image = Image::get().value()](std::string_view path) { return image->find(path); };
  namespace_ = loader::Namespace::create(std::move(options)).value();
  auto* library = namespace_->load(std::string(Image::kGuestPath), loader::Visibility::kGlobal).value();
  entry_ = reinterpret_cast<deploy_guest_entry_fn>(namespace_->symbol(library, "deploy_guest_entry").value());
  table_ = entry_(&kHost);
}

LoadedGuest::~LoadedGuest() {
  GuestError error;
  if (booted_) shutdown(error);
  EXPECT_EQ(error.message, "");
  // Python's own wait for a thread ends a moment before the thread does.
  for (int i = 0; i < 1000 && namespace_->live_threads() > 0; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  const auto unloaded = namespace_->unload();
  EXPECT_TRUE(unloaded.ok()) << unloaded.failure().message;
}

int LoadedGuest::boot(const std::vector<std::string>& paths, std::span<const std::byte> stdlib, GuestError& error) {
  std::vector<deploy_text> path_texts;
  for (const auto& path : paths) path_texts.push_back(text(path));
  const deploy_boot boot = {.stdlib = {reinterpret_cast<const char*>(stdlib.data()), stdlib.size()},
                            .paths = path_texts.data(),
                            .path_count = path_texts.size(),
                            .interpreter_id = 0,
                            .dynload = {},
                            .deferred_imports = 0,
                            .first_site = 0};
  const int status = table_->boot(&boot, &error);
  booted_ = status == 0;
  return status;
}

int LoadedGuest::shutdown(GuestError& error) {
  booted_ = false;
  return table_->shutdown(&error);
}

BootedGuest::BootedGuest(const std::vector<std::string>& paths) {
  GuestError error;
  if (boot(paths, error) != 0) throw std::runtime_error(error.message + "\n" + error.traceback);
  thread_ = table().thread_attach(nullptr);
}

BootedGuest::~BootedGuest() { table().thread_detach(thread_); }

std::string BootedGuest::exec(std::string_view code) { return call_builtin("exec", code, nullptr); }

std::string BootedGuest::eval(std::string_view expression) {
  std::string result;
  const std::string problem = call_builtin("eval", expression, &result);
  return problem.empty() ? result : problem;
}

std::string BootedGuest::call_builtin(std::string_view function, std::string_view code, std::string* result) {
  GuestError error;
  const deploy_object callable = table().global(text("builtins"), text(function), &error);
  if (callable == nullptr) return error.message;
  deploy_value arguments[2] = {};
  arguments[0].kind = DEPLOY_STR;
  arguments[0].as.text = text(code);
  arguments[1].kind = DEPLOY_DICT;  // the globals
  const deploy_object returned = table().call(callable, {}, arguments, 2, nullptr, 0, &error);
  table().release(callable);
  if (returned == nullptr) return error.traceback.empty() ? error.message : error.traceback;
  StringSink sink;
  const int status = table().str(returned, &sink, &error);
  table().release(returned);
  if (status != 0) return error.message;
  if (result != nullptr) *result = sink.value;
  return "";
}

}  // namespace deploy::test
