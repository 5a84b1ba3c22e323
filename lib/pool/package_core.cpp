#include "lib/pool/package_core.h"

#include <algorithm>
#include <utility>

namespace deploy::detail {

namespace {

std::string join(const std::vector<std::string>& parts) {
  std::string out;
  for (const std::string& part : parts) out.append(out.empty() ? "" : ", ").append(part);
  return out;
}

Value record_table(const Archive& archive) {
  std::vector<Value> table;
  table.reserve(archive.records().size());
  for (const Record& record : archive.records()) {
    table.push_back(Value::tuple({record.name, record.offset, record.stored_size, record.size, record.deflated}));
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

PackageCore::PackageCore(std::shared_ptr<ManagerCore> manager, PackageFile file)
    : manager_(std::move(manager)), file_(std::move(file)), id_(manager_->next_package_id()), handles_(manager_->size()) {}

Result<std::shared_ptr<PackageCore>> PackageCore::open(std::shared_ptr<ManagerCore> manager, const std::string& path) {
  if (const auto open = manager->interpreters(); !open) return open.failure();
  Result<PackageFile> file = PackageFile::open(path);
  if (!file) return std::move(file.failure());
  Result<SessionCore> session = manager->enter_any();
  if (!session) return std::move(session.failure());
  // One file is one package: its code is imported once, under its own names.
  if (std::shared_ptr<PackageCore> same = manager->find_package(*file)) return same;
  std::shared_ptr<PackageCore> package(new PackageCore(std::move(manager), std::move(*file)));
  if (Result<void> checked = package->check_externs(*session); !checked) return std::move(checked.failure());
  package->manager_->add_package(package->id_, package);
  return package;
}

Result<deploy_object> PackageCore::handle(SessionCore& session) {
  Reference& handle = handles_[session.interpreter()->seat()];
  if (!handle) {
    Result<Reference> open = session.global("_deploy.package", "open");
    if (!open) return std::move(open.failure());
    Result<Reference> opened =
        session.call(open->get(), {}, {id_, file_.descriptor(), file_.path(), record_table(file_.archive())});
    if (!opened) return from_guest(std::move(opened.failure()));
    handle = std::move(*opened);
  }
  return handle.get();
}

Result<void> PackageCore::check_externs(SessionCore& session) {
  Result<deploy_object> package = handle(session);
  if (!package) return std::move(package.failure());
  Result<Value> missing = session.call_value(*package, "missing_externs", {});
  if (!missing) return from_guest(std::move(missing.failure()));
  std::vector<std::string> names;
  for (const Value& name : missing->items()) names.push_back(name.as_str());
  if (names.empty()) return {};
  const Environment& environment = manager_->environment();
  std::vector<std::string> folders = environment.extra_paths;
  folders.insert(folders.end(), environment.site_packages.begin(), environment.site_packages.end());
  return Failure{ErrorCode::kMissingExtern, "package '" + file_.path() + "' needs " + std::to_string(names.size()) +
                                                (names.size() == 1 ? " module" : " modules") +
                                                " that the environment does not have: " + join(names) +
                                                "; looked in the standard library and " +
                                                (folders.empty() ? "no other folder (the environment names none)" : join(folders))};
}

Result<const Record*> PackageCore::find(std::string_view package, std::string_view resource) const {
  if (resource.find('/') != resource.npos) {
    return Failure{ErrorCode::kInvalidArgument, "resource '" + std::string(resource) +
                                                    "' has a folder; expected a file name, with its folder as the package ('a.b')"};
  }
  std::string name(package);
  std::replace(name.begin(), name.end(), '.', '/');
  name.append(name.empty() ? "" : "/").append(resource);
  if (const Record* record = file_.archive().find(name)) return record;
  return Failure{ErrorCode::kNotFound,
                 "package '" + file_.path() + "' has no record '" + name + "'; it has: " + file_.archive().describe_records()};
}

Result<std::string> PackageCore::load_binary(std::string_view package, std::string_view resource) {
  const Result<const Record*> record = find(package, resource);
  if (!record) return record.failure();
  if (!(*record)->deflated) return file_.read(**record);
  Result<SessionCore> session = manager_->enter_any();
  if (!session) return std::move(session.failure());
  Result<deploy_object> opened = handle(*session);
  if (!opened) return std::move(opened.failure());
  Result<Value> data = session->call_value(*opened, "load_binary", {package, resource});
  if (!data) return from_guest(std::move(data.failure()));
  return data->as_bytes();
}

}  // namespace deploy::detail
