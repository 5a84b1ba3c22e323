#include "lib/pool/package_core.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "lib/pool/package_requirements.h"

namespace deploy::detail {

namespace {

Value record_table(const Archive& archive) {
  std::vector<Value> table;
  table.reserve(archive.records().size());
  for (const Record& record : archive.records()) {
    table.push_back(Value::tuple({record.name, record.offset, record.stored_size, record.size, record.deflated}));
  }
  return Value::list(std::move(table));
}

Value unit_table(const PackageContent& content) {
  if (!content.manifest) return Value();
  std::vector<Value> table;
  for (std::size_t i = 0; i < content.units.size(); ++i) {
    const TreeUnit& unit = content.units[i];
    Value checked;
    if (content.file.options().verify()) {
      std::vector<Value> names;
      names.reserve(unit.records.size());
      for (const Record* record : unit.records) names.emplace_back(record->name);
      checked = Value::tuple({Value::list(std::move(names)), content.code_store.get()});
    }
    table.push_back(Value::tuple({unit.key, content.unpacked[i].folder, text_list(unit.tops), std::move(checked)}));
  }
  return Value::list(std::move(table));
}

}  // namespace

Failure from_guest(Failure failure) {
  if (failure.code == ErrorCode::kPython && failure.python_type == "_deploy.archive.InvalidPackage") {
    failure.code = ErrorCode::kInvalidPackage;
    if (const std::size_t colon = failure.message.find(": "); colon != std::string::npos) failure.message.erase(0, colon + 2);
    failure.python_type.clear();
    failure.traceback.clear();
  }
  return failure;
}

Result<void> PackageContent::check_and_unpack(const Environment& environment) {
  std::unordered_set<const Record*> in_units;
  if (file.manifest()) {
    manifest = file.manifest()->manifest;
    Result<std::vector<TreeUnit>> planned = plan_tree(file.archive(), *file.manifest(), file.path());
    if (!planned) return std::move(planned.failure());
    units = std::move(*planned);
    for (const TreeUnit& unit : units) in_units.insert(unit.records.begin(), unit.records.end());
  }
  // What is unpacked is compared with its digest then.
  const bool with_weights = file.checks_weights();
  const auto which = [&](const Record& record) { return record.is_mapped() ? with_weights : !in_units.contains(&record); };
  if (Result<void> checked = file.check(which); !checked) return checked;
  if (units.empty()) return {};
  const Result<TreeCache> cache = TreeCache::open(environment.cache_dir);
  if (!cache) return cache.failure();
  for (const TreeUnit& unit : units) {
    Result<UnpackedUnit> folder = cache->unpack(file, unit);
    if (!folder) return std::move(folder.failure());
    unpacked.push_back(std::move(*folder));
  }
  if (!file.options().verify()) return {};
  Result<FileDescriptor> store = FileDescriptor::growing_memory("deploy-code");
  if (!store) return std::move(store.failure());
  code_store = std::move(*store);
  return {};
}

PackageCore::PackageCore(std::shared_ptr<ManagerCore> manager, std::shared_ptr<const PackageContent> content)
    : manager_(std::move(manager)), content_(std::move(content)), id_(manager_->next_package_id()), handles_(manager_->size()) {}

Result<std::shared_ptr<PackageCore>> PackageCore::open(std::shared_ptr<ManagerCore> manager, const std::string& path,
                                                       const LoadOptions& options) {
  if (const auto open = manager->interpreters(); !open) return open.failure();
  Result<PackageFile> file = PackageFile::open(path, {.sha256 = options.sha256,
                                                      .trusted_keys = options.trusted_keys,
                                                      .in_memory = options.in_memory,
                                                      .check_weights = options.check_weights});
  if (!file) return std::move(file.failure());
  // One file is one package: its code is imported once.
  if (std::shared_ptr<PackageCore> same = manager->find_package(*file)) return same;
  const auto content = std::make_shared<PackageContent>(std::move(*file));
  Result<std::shared_ptr<PackageCore>> opened = open(manager, content);
  if (opened) return opened;
  const ErrorCode code = opened.failure().code;
  if (code == ErrorCode::kInvalidPackage || code == ErrorCode::kMissingExtern || code == ErrorCode::kPython) {
    // What was wrong may be half of what is being written.
    if (Result<void> unchanged = content->file.check_unchanged(); !unchanged) return std::move(unchanged.failure());
  }
  return opened;
}

Result<std::shared_ptr<PackageCore>> PackageCore::open(const std::shared_ptr<ManagerCore>& manager,
                                                       const std::shared_ptr<PackageContent>& content) {
  if (Result<void> checked = content->check_and_unpack(manager->environment()); !checked) return std::move(checked.failure());
  {
    Result<SessionCore> session = manager->enter_any();
    if (!session) return std::move(session.failure());
    if (std::shared_ptr<PackageCore> same = manager->find_package(content->file)) return same;
    if (Result<void> checked = check_requirements(*content, manager->environment(), *session); !checked) {
      return std::move(checked.failure());
    }
    if (Result<void> unchanged = content->file.check_unchanged(); !unchanged) return std::move(unchanged.failure());
    if (!content->manifest) {
      std::shared_ptr<PackageCore> package(new PackageCore(manager, content));
      manager->add_holder(package);
      if (const Result<deploy_object> handle = package->handle(*session); !handle) return handle.failure();
      manager->add_package(package->id_, package);
      return package;
    }
  }
  return place(manager, content);
}

Result<std::shared_ptr<PackageCore>> PackageCore::place(const std::shared_ptr<ManagerCore>& manager,
                                                        const std::shared_ptr<const PackageContent>& content) {
  std::vector<std::shared_ptr<ManagerCore>> sets = manager->annexes();
  sets.insert(sets.begin(), manager);
  std::vector<std::string> tops;
  for (const TreeUnit& unit : content->units) tops.insert(tops.end(), unit.tops.begin(), unit.tops.end());
  for (std::size_t i = 0;; ++i) {
    const bool is_new = i == sets.size();
    if (is_new) {
      Result<std::shared_ptr<ManagerCore>> annex = manager->add_annex(tops);
      if (!annex) return std::move(annex.failure()).within("interpreters of its own for package '" + content->file.path() + "'");
      sets.push_back(std::move(*annex));
    }
    std::shared_ptr<PackageCore> package(new PackageCore(sets[i], content));
    sets[i]->add_holder(package);
    const Result<std::vector<std::string>> conflicts = package->claim();
    if (!conflicts) return conflicts.failure();
    if (conflicts->empty()) {
      sets[i]->add_package(package->id_, package);
      return package;
    }
    if (is_new) {
      return Failure{ErrorCode::kInvalidPackage,
                     "package '" + content->file.path() +
                         "' cannot have its modules under their names in any interpreter: " + conflicts->front()};
    }
  }
}

Result<std::vector<std::string>> PackageCore::claim() {
  const Result<std::vector<std::string>> externs = extern_modules(content_->file);
  if (!externs) return externs.failure();
  for (std::size_t seat = 0; seat < manager_->size(); ++seat) {
    std::optional<Result<SessionCore>> entered = manager_->enter_if_free(seat);
    if (!entered) return std::vector<std::string>{"an interpreter is busy while this thread holds another one"};
    Result<SessionCore>& session = *entered;
    if (!session) return std::move(session.failure());
    const Result<Reference> ask = session->global("_deploy.tree", "conflicts");
    if (!ask) return ask.failure();
    Result<Value> conflicts = session->call_value(ask->get(), {}, {unit_table(*content_), text_list(*externs)});
    if (!conflicts) return from_guest(std::move(conflicts.failure()));
    if (!conflicts->items().empty()) {
      std::vector<std::string> reasons;
      for (const Value& reason : conflicts->items()) reasons.push_back(reason.as_str());
      return reasons;
    }
    if (const Result<deploy_object> opened = handle(*session); !opened) return opened.failure();
  }
  return std::vector<std::string>();
}

Result<deploy_object> PackageCore::handle(SessionCore& session) {
  Reference& handle = handles_[session.interpreter()->seat()];
  if (!handle) {
    Result<Reference> open = session.global("_deploy.package", "open");
    if (!open) return std::move(open.failure());
    const std::optional<std::vector<std::string>>& allowed = manager_->environment().allowed_externs;
    Result<Reference> opened = session.call(open->get(), {},
                                            {id_, file().contents(), file().path(), record_table(file().archive()),
                                             file().weights(), allowed ? text_list(*allowed) : Value(), unit_table(*content_)});
    if (!opened) return from_guest(std::move(opened.failure()));
    handle = std::move(*opened);
  }
  return handle.get();
}

Result<const Record*> PackageCore::find(std::string_view package, std::string_view resource) const {
  for (const std::string_view text : {package, resource}) {
    if (text.find('\0') == text.npos) continue;
    return Failure{ErrorCode::kInvalidArgument, std::string(text.data() == package.data() ? "package " : "resource ") +
                                                    quoted_path(std::string(text)) +
                                                    " has a NUL character, which no record's name has"};
  }
  if (resource.find('/') != resource.npos) {
    return Failure{ErrorCode::kInvalidArgument, "resource '" + std::string(resource) +
                                                    "' has a folder; expected a file name, with its folder as the package ('a.b')"};
  }
  std::string name(package);
  std::replace(name.begin(), name.end(), '.', '/');
  name.append(name.empty() ? "" : "/").append(resource);
  if (const Record* record = file().archive().find(name)) return record;
  return Failure{ErrorCode::kNotFound,
                 "package '" + file().path() + "' has no record '" + name + "'; it has: " + file().archive().describe_records()};
}

bool PackageCore::needs_torch() const {
  return content_->manifest &&
         std::ranges::any_of(content_->manifest->externs, [](const Manifest::Extern& each) { return each.module == "torch"; });
}

std::optional<GradMode> PackageCore::grad_mode(std::string_view package, std::string_view resource) const {
  if (const auto& set = manager_->environment().grad_mode) return set;
  if (!content_->manifest) return GradMode::kNoGrad;
  const auto& callables = content_->manifest->callables;
  const auto found = std::ranges::find_if(
      callables, [&](const Manifest::Callable& each) { return each.package == package && each.resource == resource; });
  if (found != callables.end()) return found->grad_mode;
  return callables.empty() ? std::nullopt : callables.front().grad_mode;
}

Result<std::string> PackageCore::load_binary(std::string_view package, std::string_view resource) const {
  const Result<const Record*> record = find(package, resource);
  if (!record) return record.failure();
  return file().read(**record);
}

}  // namespace deploy::detail
