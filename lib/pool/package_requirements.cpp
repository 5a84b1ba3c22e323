#include "lib/pool/package_requirements.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace deploy::detail {

namespace {

// A list that a file makes as long as it likes is cut off in messages.
constexpr std::size_t kMostListed = 100, kMostExterns = 100'000, kLongestExtern = 1024;

std::string join(const std::vector<std::string>& parts, const char* separator = ", ") {
  std::string out;
  for (const std::string& part : std::span(parts).first(std::min(parts.size(), kMostListed))) {
    out.append(out.empty() ? "" : separator).append(part);
  }
  if (parts.size() > kMostListed) out += " and " + std::to_string(parts.size() - kMostListed) + " more";
  return out;
}

// Whether it has a space, a control character or a separator of lines, by which the list could be understood differently inside.
bool has_separator(std::string_view name) {
  const auto is_separator = [](unsigned char c) { return c <= 0x20 || c == 0x7f; };
  return std::ranges::any_of(name, is_separator) || name.find("\xc2\x85") != name.npos || name.find("\xe2\x80\xa8") != name.npos ||
         name.find("\xe2\x80\xa9") != name.npos;
}

std::string count(std::size_t number, const char* what) { return std::to_string(number) + " " + what + (number == 1 ? "" : "s"); }

// (major, minor) out of "3.11.2"; nullopt where it does not begin like that, or with numbers that no Python has.
std::optional<std::pair<int, int>> major_and_minor(std::string_view version) {
  std::pair<int, int> out;
  const char* const end = version.data() + version.size();
  const auto [dot, first] = std::from_chars(version.data(), end, out.first);
  if (first != std::errc() || dot == end || *dot != '.') return std::nullopt;
  if (std::from_chars(dot + 1, end, out.second).ec != std::errc()) return std::nullopt;
  return out;
}

// Code for a later Python may use what this one does not know; code for an earlier one runs.
std::string python_problem(const std::string& written_with) {
  const auto theirs = major_and_minor(written_with), ours = major_and_minor(python_version());
  if (!theirs || *theirs <= *ours) return {};
  return "it was written with Python " + written_with + ", and this library runs Python " + python_version();
}

std::vector<std::string> texts(const Value& list) {
  std::vector<std::string> out;
  for (const Value& item : list.items()) out.push_back(item.as_str());
  return out;
}

std::string missing_problem(const std::vector<std::string>& names, const Environment& environment) {
  std::vector<std::string> folders = environment.extra_paths;
  folders.insert(folders.end(), environment.site_packages.begin(), environment.site_packages.end());
  return "needs " + count(names.size(), "module") + " that the environment does not have: " + join(names) +
         "; looked in the standard library and " +
         (folders.empty() ? "no other folder (the environment names none)" : join(folders));
}

std::string outdated_problem(const Value& distributions) {
  std::vector<std::string> each;
  for (const Value& item : distributions.items()) {
    each.push_back(item.at(0).as_str() + " " + item.at(1).as_str() + " (found " + item.at(2).as_str() + ")");
  }
  return "needs these versions or later: " + join(each);
}

}  // namespace

Value text_list(const std::vector<std::string>& texts) {
  std::vector<Value> items(texts.begin(), texts.end());
  return Value::list(std::move(items));
}

Result<std::vector<std::string>> extern_modules(const PackageFile& file) {
  const auto damaged = [&](const std::string& problem) {
    return Failure{ErrorCode::kInvalidPackage, "'" + file.path() + "' has a record '.data/extern_modules' " + problem};
  };
  const std::uint64_t bytes = file.archive().find(".data/extern_modules")->size;
  if (bytes > kMostExterns * (kLongestExtern + 1)) return damaged("of " + std::to_string(bytes) + " bytes");
  Result<std::string> text = file.read_checked(*file.archive().find(".data/extern_modules"));
  if (!text) return std::move(text.failure());
  if (!is_utf8(*text)) return damaged("that is not UTF-8 text");
  std::vector<std::string> names;
  for (std::size_t start = 0; start < text->size();) {
    const std::size_t end = std::min(text->find('\n', start), text->size());
    std::string line = text->substr(start, end - start);
    line.erase(0, line.find_first_not_of(" \t\r"));
    line.erase(line.find_last_not_of(" \t\r") + 1);
    if (line.size() > kLongestExtern || has_separator(line)) {
      return damaged("with a line of " + std::to_string(line.size()) + " bytes that is no module's name: '" +
                     quoted_path(line.substr(0, 100)).substr(1));
    }
    if (!line.empty()) names.push_back(std::move(line));
    if (names.size() > kMostExterns) return damaged("of more than " + std::to_string(kMostExterns) + " names");
    start = end + 1;
  }
  return names;
}

Result<void> check_requirements(const PackageContent& content, const Environment& environment, SessionCore& session) {
  Result<std::vector<std::string>> externs = extern_modules(content.file);
  if (!externs) return std::move(externs.failure());
  std::vector<Value> distributions;
  std::vector<std::string> problems;
  if (content.manifest) {
    if (std::string problem = python_problem(content.manifest->python); !problem.empty()) problems.push_back(std::move(problem));
    for (const Manifest::Extern& each : content.manifest->externs) {
      if (!each.distribution.empty() && !each.version.empty())
        distributions.push_back(Value::list({each.distribution, each.version}));
    }
  }
  const Value allowed = environment.allowed_externs ? text_list(*environment.allowed_externs) : Value();
  const Result<Reference> check = session.global("_deploy.requirements", "problems");
  if (!check) return check.failure();
  Result<Value> found = session.call_value(check->get(), {}, {text_list(*externs), Value::list(std::move(distributions)), allowed});
  if (!found) return from_guest(std::move(found.failure()));
  if (!found->at(0).items().empty()) problems.push_back(missing_problem(texts(found->at(0)), environment));
  if (!found->at(1).items().empty()) problems.push_back(outdated_problem(found->at(1)));
  const bool untrusted = problems.empty();
  if (!found->at(2).items().empty()) {
    problems.push_back("needs modules that the environment's allowed_externs leave out: " + join(texts(found->at(2))));
  }
  if (problems.empty()) return {};
  return Failure{untrusted ? ErrorCode::kUntrusted : ErrorCode::kMissingExtern,
                 "package '" + content.file.path() + "' " + join(problems, "; it ")};
}

}  // namespace deploy::detail
