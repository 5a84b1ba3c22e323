#include "lib/package/manifest_record.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "deploy/grad_mode.h"

namespace deploy {

namespace {

using Json = nlohmann::json;

// What is longer is nobody's name or version, and would be repeated in messages.
constexpr std::size_t kLongestText = Archive::kLongestName, kLongestVersion = 200, kLongestReason = 1 << 16;
// How many values a manifest may have: some for the whole, and three for each record, which may be a module too.
constexpr std::size_t kFreeValues = 100'000, kMostPerRecord = 6;

// Reads members of an object. The first one that is not of its type makes the whole reading fail, with its path as the reason; one
// that is missing or null is left as it is.
class Reader {
 public:
  void read(const Json& object, const char* name, std::string& out, std::size_t longest = kLongestText) {
    if (const Json* value = member(object, name))
      expect(value->is_string(), name, "a string") && fits(*value, name, longest) && (out = value->get<std::string>(), true);
  }
  void read_version(const Json& object, const char* name, std::string& out) { read(object, name, out, kLongestVersion); }
  void read(const Json& object, const char* name, bool& out) {
    if (const Json* value = member(object, name)) expect(value->is_boolean(), name, "true or false") && (out = value->get<bool>());
  }
  void read(const Json& object, const char* name, std::uint64_t& out) {
    if (const Json* value = member(object, name)) {
      expect(value->is_number_unsigned(), name, "a number") && (out = value->get<std::uint64_t>(), true);
    }
  }
  void read(const Json& object, const char* name, std::vector<std::string>& out) {
    each(object, name, [&](const Json& item) {
      expect(item.is_string(), name, "strings") && fits(item, name, kLongestText) && (out.push_back(item.get<std::string>()), true);
    });
  }
  void read(const Json& object, const char* name, std::pair<std::string, std::string>& out) {
    if (!member(object, name)) return;
    std::vector<std::string> parts;
    read(object, name, parts);
    if (expect(parts.size() == 2, name, "[package, resource]")) out = {std::move(parts[0]), std::move(parts[1])};
  }
  template <class Work>
  void each(const Json& object, const char* name, const Work& work) {
    const Json* list = member(object, name);
    if (!list || !expect(list->is_array(), name, "a list")) return;
    for (const Json& item : *list) work(item);
  }
  template <class T, class Work>
  void each_object(const Json& object, const char* name, std::vector<T>& out, const Work& work) {
    each(object, name, [&](const Json& item) {
      if (!expect(item.is_object(), name, "a list of objects")) return;
      work(item, out.emplace_back());
    });
  }

  bool expect(bool is, const std::string& name, const char* what) {
    if (!is && problem_.empty()) problem_ = "'" + name + "' is not " + what;
    return is;
  }
  const std::string& problem() const { return problem_; }

 private:
  bool fits(const Json& text, const char* name, std::size_t longest) {
    const std::size_t size = text.get_ref<const std::string&>().size();
    return size <= longest ||
           expect(false, name, ("a text of at most " + std::to_string(longest) + " bytes; it has " + std::to_string(size)).c_str());
  }
  static const Json* member(const Json& object, const char* name) {
    const auto found = object.find(name);
    return found == object.end() || found->is_null() ? nullptr : &*found;
  }

  std::string problem_;
};

std::optional<GradMode> grad_mode_from(std::string_view name) {
  for (const GradMode mode : {GradMode::kNoGrad, GradMode::kInferenceMode, GradMode::kEnableGrad}) {
    if (name == to_string(mode)) return mode;
  }
  return std::nullopt;
}

void read_callables(Reader& reader, const Json& json, Manifest& manifest) {
  reader.each_object(json, "callables", manifest.callables, [&](const Json& item, Manifest::Callable& callable) {
    reader.read(item, "package", callable.package);
    reader.read(item, "resource", callable.resource);
    reader.read(item, "type", callable.type);
    reader.read(item, "method", callable.method);
    std::string mode = manifest.torch.empty() ? "" : to_string(GradMode::kNoGrad);
    reader.read(item, "grad_mode", mode);
    callable.grad_mode = grad_mode_from(mode);
    reader.expect(callable.grad_mode || mode.empty(), "grad_mode", "no_grad, inference_mode or enable_grad");
    reader.each_object(item, "signature", callable.signature, [&](const Json& each, Manifest::Argument& argument) {
      reader.read(each, "name", argument.name);
      reader.read(each, "kind", argument.kind);
      reader.read(each, "has_default", argument.has_default);
    });
  });
  reader.each_object(json, "examples", manifest.examples, [&](const Json& item, Manifest::Example& example) {
    std::uint64_t callable = 0;
    reader.read(item, "callable", callable);
    example.callable = static_cast<std::size_t>(callable);
    reader.read(item, "inputs", example.inputs);
    reader.read(item, "outputs", example.outputs);
    reader.expect(callable < manifest.callables.size(), "callable", "the number of one of the callables");
  });
}

void read_modules(Reader& reader, const Json& json, Manifest& manifest) {
  reader.each_object(json, "interned", manifest.interned, [&](const Json& item, Manifest::Distribution& distribution) {
    reader.read(item, "distribution", distribution.name);
    reader.read_version(item, "version", distribution.version);
    reader.read(item, "modules", distribution.modules);
    reader.read(item, "reason", distribution.reason, kLongestReason);
  });
  reader.read(json, "own_modules", manifest.own_modules);
  reader.each_object(json, "externs", manifest.externs, [&](const Json& item, Manifest::Extern& needed) {
    reader.read(item, "module", needed.module);
    reader.read(item, "distribution", needed.distribution);
    reader.read_version(item, "version", needed.version);
    reader.read(item, "stdlib", needed.standard_library);
  });
}

bool is_digest(const std::string& text) {
  return text.size() == 64 && std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

// "records": each has to be in the archive, with its size. Every record outside .data/ has to be among them, or it could be any.
void read_records(Reader& reader, const Json& json, const Archive& archive, PackageManifest& out) {
  const auto records = json.find("records");
  if (!reader.expect(records != json.end() && records->is_object(), "records", "an object")) return;
  for (const auto& [name, item] : records->items()) {
    std::string digest;
    std::uint64_t size = 0;
    if (!reader.expect(item.is_object(), "records", "an object of objects")) return;
    reader.read(item, "sha256", digest);
    reader.read(item, "size", size);
    const Record* record = archive.find(name);
    if (!reader.expect(is_digest(digest), name, "a record with its SHA-256 in lower-case hexadecimal digits") ||
        !reader.expect(record != nullptr, name, "in the package, although its manifest lists it") ||
        !reader.expect(record->size == size, name, "of the size that the manifest says")) {
      return;
    }
    out.digests.emplace(name, std::move(digest));
  }
  for (const Record& record : archive.records()) {
    if (!record.name.starts_with(".data/")) {
      reader.expect(record.name == "byteorder" || out.digests.contains(record.name), record.name,
                    "a record that the manifest lists");
    }
  }
}

// Counts the values of a JSON text without making any of them, and stops where there are too many.
class Counter : public nlohmann::json_sax<Json> {
 public:
  explicit Counter(std::size_t most) : left_(most) {}
  bool too_many() const { return too_many_; }

  bool null() override { return one(); }
  bool boolean(bool) override { return one(); }
  bool number_integer(number_integer_t) override { return one(); }
  bool number_unsigned(number_unsigned_t) override { return one(); }
  bool number_float(number_float_t, const string_t&) override { return one(); }
  bool string(string_t&) override { return one(); }
  bool binary(binary_t&) override { return one(); }
  bool start_object(std::size_t) override { return one(); }
  bool start_array(std::size_t) override { return one(); }
  bool key(string_t&) override { return true; }
  bool end_object() override { return true; }
  bool end_array() override { return true; }
  bool parse_error(std::size_t, const std::string&, const Json::exception&) override { return false; }

 private:
  bool one() {
    too_many_ = left_ == 0;
    left_ -= too_many_ ? 0 : 1;
    return !too_many_;
  }

  std::size_t left_;
  bool too_many_ = false;
};

}  // namespace

Result<PackageManifest> PackageManifest::parse(std::string text, const Archive& archive, const std::string& path) {
  const auto damaged = [&](const std::string& problem) {
    return Failure{ErrorCode::kInvalidPackage, "the manifest of package '" + path + "' " + problem};
  };
  const std::size_t most_values = kFreeValues + kMostPerRecord * archive.records().size();
  Counter counter(most_values);
  (void)Json::sax_parse(text, &counter);
  if (counter.too_many()) {
    return damaged("has more than " + std::to_string(most_values) + " values, for a package of " +
                   std::to_string(archive.records().size()) + " records");
  }
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return damaged("is no JSON object (" + std::to_string(text.size()) + " bytes)");
  const auto format = json.find("format");
  if (format == json.end() || !format->is_number_unsigned() || format->get<std::uint64_t>() == 0)
    return damaged("has no format number");
  if (format->get<std::uint64_t>() > kManifestFormat) {
    return damaged("has format " + std::to_string(format->get<std::uint64_t>()) + "; this version of deploy reads formats up to " +
                   std::to_string(kManifestFormat) + ": load it with a newer one, or write the package anew");
  }
  PackageManifest out;
  Reader reader;
  out.manifest.format = format->get<int>();
  reader.read(json, "writer", out.manifest.writer);
  reader.read_version(json, "python", out.manifest.python);
  reader.read_version(json, "torch", out.manifest.torch);
  read_callables(reader, json, out.manifest);
  read_modules(reader, json, out.manifest);
  read_records(reader, json, archive, out);
  if (!reader.problem().empty()) return damaged("cannot be used: " + reader.problem());
  out.manifest.json = std::move(text);
  return out;
}

}  // namespace deploy
