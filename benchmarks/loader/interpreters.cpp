// Interpreters as the loader's load: `come-and-go COUNT` creates and destroys bare ones, `pages COUNT SITE_PACKAGES LIBRARY` has
// several with torch at once, and says how much of the library's text each has and how much there is. One JSON object on stdout.

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <sstream>
#include <string>

#include "benchmarks/loader/process_memory.h"
#include "deploy/deploy.h"

namespace {

void use(deploy::Interpreter interpreter) {
  auto session = interpreter.acquire_session();
  session.global("json", "dumps")(deploy::Value(1));
}

void come_and_go(int count) {
  std::printf("{\"after\": {");
  const char* separator = "";
  for (int i = 1; i <= count; ++i) {
    use(deploy::Interpreter());
    if (i != 1 && i != 10 && i != count / 2 && i != count) continue;
    const deploy::ProcessMemory memory = deploy::process_memory();
    std::printf("%s\"%d\": {\"private_kb\": %ld, \"mappings\": %d}", separator, i, memory.private_kb, memory.mappings);
    separator = ", ";
  }
  std::printf("}}\n");
}

// Sums of the mappings of `library` that hold code.
void print_text_pages(const std::string& library) {
  std::ifstream smaps("/proc/self/smaps");
  long rss = 0, pss = 0, anonymous = 0, mappings = 0;
  bool is_text = false;
  for (std::string line; std::getline(smaps, line);) {
    std::istringstream words(line);
    std::string first, second;
    long kilobytes = 0;
    words >> first >> second;
    if (first.find('-') != std::string::npos) {
      is_text = second == "r-xp" && line.ends_with("/" + library);
      mappings += is_text;
    } else if (is_text && (std::istringstream(second) >> kilobytes)) {
      if (first == "Rss:") rss += kilobytes;
      if (first == "Anonymous:") anonymous += kilobytes;
      if (first == "Pss:") pss += kilobytes;
    }
  }
  std::printf("{\"mappings\": %ld, \"rss_kb\": %ld, \"anonymous_kb\": %ld, \"pss_kb\": %ld}\n", mappings, rss, anonymous, pss);
}

void pages(int count, const char* site_packages, const char* library) {
  deploy::ManagerOptions options;
  options.interpreters = static_cast<std::size_t>(count);
  options.environment.site_packages = {site_packages};
  options.environment.preload = {"torch"};
  deploy::InterpreterManager manager(options);
  print_text_pages(library);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string part = argc > 2 ? argv[1] : "";
  try {
    if (part == "come-and-go") return come_and_go(std::atoi(argv[2])), 0;
    if (part == "pages" && argc == 5) return pages(std::atoi(argv[2]), argv[3], argv[4]), 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_loader_interpreters: %s\n", error.what());
    return 1;
  }
  std::fprintf(stderr, "usage: bench_loader_interpreters come-and-go COUNT | pages COUNT SITE_PACKAGES LIBRARY\n");
  return 2;
}
