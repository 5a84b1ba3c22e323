#include "process_state.h"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace {

std::size_t entries(const char* folder) {
  const std::filesystem::directory_iterator all(folder);
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

std::size_t words(const char* path) {
  std::ifstream file(path);
  return static_cast<std::size_t>(std::distance(std::istream_iterator<std::string>(file), {}));
}

}  // namespace

ProcessState ProcessState::read() {
  ProcessState state;
  std::ifstream rollup("/proc/self/smaps_rollup");
  for (std::string line; std::getline(rollup, line);) {
    double kilobytes = 0;
    if (std::sscanf(line.c_str(), "Private_Dirty: %lf", &kilobytes) == 1) state.private_mb = kilobytes / 1024;
    if (std::sscanf(line.c_str(), "Rss: %lf", &kilobytes) == 1) state.resident_mb = kilobytes / 1024;
  }
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) ++state.mappings;
  state.descriptors = entries("/proc/self/fd") - 1;  // without the one that this reads
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    ++state.threads;
    state.children += words((task.path() / "children").c_str());
  }
  return state;
}

std::string ProcessState::json() const {
  char text[256];
  std::snprintf(
      text, sizeof text,
      R"({"private_mb": %.1f, "resident_mb": %.1f, "mappings": %zu, "descriptors": %zu, "threads": %zu, "children": %zu})",
      private_mb, resident_mb, mappings, descriptors, threads, children);
  return text;
}
