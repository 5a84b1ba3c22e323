#include "lib/interpreter/environment.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "deploy/error.h"
#include "lib/support/file.h"

namespace deploy {

namespace {

namespace fs = std::filesystem;

Failure bad_environment(std::string message) { return {ErrorCode::kEnvironment, std::move(message)}; }

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// "3.11" out of a folder named python3.11.
std::optional<std::string> version_of_folder(std::string_view name) {
  constexpr std::string_view kPrefix = "python3.";
  if (!name.starts_with(kPrefix) || name.size() == kPrefix.size()) return std::nullopt;
  if (!std::ranges::all_of(name.substr(kPrefix.size()), is_digit)) return std::nullopt;
  return std::string(name.substr(6));
}

// "3.12" out of _C.cpython-312-x86_64-linux-gnu.so; nothing for a library that is not bound to one version (plain, abi3).
std::optional<std::string> version_of_extension(std::string_view name) {
  constexpr std::string_view kTag = ".cpython-3";
  const auto at = name.rfind(kTag);
  if (at == std::string_view::npos || !name.ends_with(".so")) return std::nullopt;
  const std::string_view rest = name.substr(at + kTag.size());
  const auto digits = static_cast<std::size_t>(std::ranges::find_if_not(rest, is_digit) - rest.begin());
  if (digits == 0) return std::nullopt;
  return "3." + std::string(rest.substr(0, digits));
}

struct Foreign {
  std::string path, version;
};

// An extension module of another Python version, unless there are ones of ours too: some folders (Debian's dist-packages) serve
// several. Looks two levels deep, where every binary wheel has one.
std::optional<Foreign> foreign_extension(const fs::path& folder) {
  std::optional<Foreign> foreign;
  std::error_code error;
  auto files = fs::recursive_directory_iterator(folder, fs::directory_options::skip_permission_denied, error);
  for (; !error && files != fs::recursive_directory_iterator(); files.increment(error)) {
    if (files.depth() >= 2) files.disable_recursion_pending();
    const auto version = version_of_extension(files->path().filename().native());
    if (!version) continue;
    if (*version == python_version()) return std::nullopt;
    if (!foreign) foreign = Foreign{files->path().native(), *version};
  }
  return foreign;
}

// The system would take the path for the part before the NUL character.
Result<void> check_path(const std::string& path, std::string_view what) {
  if (path.find('\0') == path.npos) return {};
  return Failure{ErrorCode::kInvalidArgument, std::string(what) + " " + quoted_path(path) + " has a NUL character"};
}

Result<void> check_folder(const std::string& path, std::string_view what) {
  if (auto checked = check_path(path, what); !checked) return checked;
  std::error_code error;
  const auto status = fs::status(path, error);
  if (!fs::exists(status)) return bad_environment(std::string(what) + " \"" + path + "\": no such folder");
  if (!fs::is_directory(status)) return bad_environment(std::string(what) + " \"" + path + "\": not a folder");
  return {};
}

Result<void> check_version(const std::string& folder) {
  const std::string expected =
      std::string("; this library runs Python ") + python_version() + " and needs packages installed for it";
  for (const fs::path& part : fs::path(folder)) {
    const auto version = version_of_folder(part.native());
    if (version && *version != python_version()) {
      return bad_environment("site-packages \"" + folder + "\": a folder of Python " + *version + expected);
    }
  }
  if (const auto foreign = foreign_extension(folder)) {
    return bad_environment("site-packages \"" + folder + "\": " + foreign->path + " is for Python " + foreign->version + expected);
  }
  return {};
}

}  // namespace

Environment Environment::from_venv(const std::string& path) {
  const std::string name = std::string("python") + python_version();
  check_folder(path, "virtual environment").value();
  const fs::path wanted = fs::path(path) / "lib" / name / "site-packages";
  std::error_code error;
  if (fs::is_directory(wanted, error)) return {.site_packages = {wanted.native()}};

  std::string found;
  for (const auto& entry : fs::directory_iterator(fs::path(path) / "lib", error)) {
    const std::string folder = entry.path().filename().native();
    if (folder.starts_with("python")) found += (found.empty() ? "" : ", ") + folder;
  }
  bad_environment("virtual environment \"" + path + "\": found " + (found.empty() ? "no lib/python*" : found) +
                  " in it, expected lib/" + name + "/site-packages")
      .raise();
}

namespace detail {

Result<void> check_environment(const Environment& environment) {
  for (const std::string& folder : environment.extra_paths) {
    if (auto checked = check_folder(folder, "extra path"); !checked) return checked;
  }
  for (const std::string& folder : environment.site_packages) {
    if (auto checked = check_folder(folder, "site-packages"); !checked) return checked;
    if (auto checked = check_version(folder); !checked) return checked;
  }
  return check_path(environment.cache_dir, "cache_dir");
}

ValueLimits value_limits(const Environment& environment) {
  constexpr std::size_t kDefaultBytes = std::size_t{4} << 30;
  ValueLimits limits = environment.value_limits;
  if (limits.bytes == 0) limits.bytes = environment.memory_limit ? environment.memory_limit : kDefaultBytes;
  return limits;
}

}  // namespace detail
}  // namespace deploy
