#include "tests/cpp/loader/fixture_namespace.h"

#include <unistd.h>

#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <sstream>
#include <thread>

namespace {

std::mutex g_log_lock;
std::vector<int> g_log;

}  // namespace

// Exported by the executable, so that copies loaded by the system find it too.
extern "C" __attribute__((visibility("default"))) void host_log(int event) {
  const std::lock_guard guard(g_log_lock);
  g_log.push_back(event);
}

namespace deploy::loader {

std::string fixture_path(const std::string& name) {
  const std::string folder = DEPLOY_FIXTURES;
  if (name.find_first_of("./") != std::string::npos) return folder + "/" + name;
  return folder + "/libfx_" + name + ".so";
}

Policy fixture_policy() {
  Policy policy;
  policy.private_names = {"libfx_*", "libstdc++.so*"};
  policy.private_quiet_names = {"libgcc_s.so*"};
  return policy;
}

namespace {

std::unique_ptr<Namespace> create(NamespaceOptions options) {
  options.host_symbols = {{"host_log", reinterpret_cast<void*>(host_log)}};
  auto space = Namespace::create(std::move(options));
  return space ? std::move(*space) : nullptr;
}

}  // namespace

std::unique_ptr<Namespace> make_namespace(const std::string& name, Policy policy) {
  NamespaceOptions options;
  options.name = name;
  options.policy = std::move(policy);
  return create(std::move(options));
}

std::unique_ptr<Namespace> make_namespace_with(std::map<std::string, EmbeddedFile> files) {
  NamespaceOptions options;
  options.name = "test";
  options.policy = fixture_policy();
  options.embedded = [files = std::move(files)](std::string_view path) -> std::optional<EmbeddedFile> {
    const auto found = files.find(std::string(path));
    return found == files.end() ? std::nullopt : std::optional(found->second);
  };
  return create(std::move(options));
}

int call(Namespace& space, Library* library, const std::string& function) {
  space.enter_thread();
  auto address = space.symbol(library, function);
  if (!address) {
    ADD_FAILURE() << address.failure().message;
    return -1;
  }
  return reinterpret_cast<int (*)()>(*address)();
}

Library* load_fixture(Namespace& space, const std::string& fixture, Visibility visibility) {
  auto library = space.load(fixture_path(fixture), visibility);
  if (library) return *library;
  ADD_FAILURE() << library.failure().message;
  return nullptr;
}

std::string load_failure(Namespace& space, const std::string& fixture) {
  auto library = space.load(fixture_path(fixture), Visibility::kLocal);
  if (!library) return library.failure().message;
  ADD_FAILURE() << fixture << " was loaded";
  return {};
}

int mappings_of(const std::string& text) {
  std::ifstream maps("/proc/self/maps");
  int count = 0;
  for (std::string line; std::getline(maps, line);) count += line.find(text) != std::string::npos;
  return count;
}

struct ExistingThread::State {
  std::mutex lock;
  std::condition_variable changed;
  std::packaged_task<int()> work;
  bool stop = false;
  std::thread thread;
};

ExistingThread::ExistingThread() : state_(std::make_unique<State>()) {
  state_->thread = std::thread([s = state_.get()] {
    std::unique_lock guard(s->lock);
    while (true) {
      s->changed.wait(guard, [&] { return s->stop || s->work.valid(); });
      if (s->stop) return;
      std::exchange(s->work, {})();
    }
  });
}

ExistingThread::~ExistingThread() {
  {
    const std::lock_guard guard(state_->lock);
    state_->stop = true;
  }
  state_->changed.notify_one();
  state_->thread.join();
}

int ExistingThread::run(std::function<int()> work) {
  std::future<int> result;
  {
    const std::lock_guard guard(state_->lock);
    state_->work = std::packaged_task<int()>(std::move(work));
    result = state_->work.get_future();
  }
  state_->changed.notify_one();
  return result.get();
}

std::vector<int> take_log() {
  const std::lock_guard guard(g_log_lock);
  return std::exchange(g_log, {});
}

TemporaryFolder::TemporaryFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "deploy-loader-XXXXXX").string();
  path_ = ::mkdtemp(pattern.data());
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TemporaryFolder::write(const std::string& name, const std::string& content) const {
  std::filesystem::create_directories(std::filesystem::path(path(name)).parent_path());
  std::ofstream(path(name), std::ios::binary) << content;
  return path(name);
}

std::string read_file(const std::string& path) {
  std::stringstream content;
  content << std::ifstream(path, std::ios::binary).rdbuf();
  return content.str();
}

}  // namespace deploy::loader
