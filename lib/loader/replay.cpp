#include "lib/loader/replay.h"

#include <mutex>

#include "lib/loader/library_file.h"
#include "lib/support/forks.h"

namespace deploy::loader {

namespace {

constexpr std::size_t kMaxRecords =
    8192;  // an environment has some hundred sets; a process that loads ever new files must not grow for ever

struct Records {
  ForkLock lock;
  std::unordered_map<std::string, std::shared_ptr<const ResolutionRecord>> by_key;  // guarded by lock
};

// Never destroyed: interpreters may be loaded while static objects of the process are being destroyed.
Records& records() {
  static Records* const instance = [] {
    auto* made = new Records;
    hold_in_forks(made->lock);
    return made;
  }();
  return *instance;
}

void append(std::string& key, std::uint64_t number) { key.append(reinterpret_cast<const char*>(&number), sizeof number); }

}  // namespace

ReplayScope::ReplayScope(const std::vector<Library*>& global, const std::vector<Library*>& local,
                         const std::vector<Library*>& added) {
  for (const auto* list : {&global, &local}) {
    append(key_, list->size());
    for (const Library* library : *list) {
      if (!indices_.try_emplace(library, static_cast<std::uint32_t>(libraries_.size())).second) continue;
      libraries_.push_back(library);
      append(key_, library->parsed->serial);
    }
  }
  for (const Library* library : added) append(key_, library->parsed->serial);
}

std::optional<std::uint32_t> ReplayScope::index_of(const Library* library) const {
  const auto found = indices_.find(library);
  return found == indices_.end() ? std::nullopt : std::optional(found->second);
}

std::shared_ptr<const ResolutionRecord> find_resolution(const std::string& key) {
  Records& r = records();
  const std::lock_guard guard(r.lock);
  const auto found = r.by_key.find(key);
  return found == r.by_key.end() ? nullptr : found->second;
}

void keep_resolution(const std::string& key, std::shared_ptr<const ResolutionRecord> record) {
  Records& r = records();
  const std::lock_guard guard(r.lock);
  if (r.by_key.size() >= kMaxRecords) r.by_key.clear();
  r.by_key[key] = std::move(record);
}

}  // namespace deploy::loader
