#include "options.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>

namespace {

[[noreturn]] void usage(const char* complaint) {
  if (complaint != nullptr) std::fprintf(stderr, "serve_package: %s\n", complaint);
  std::fprintf(stderr,
               "usage: serve_package --package FILE [options]\n"
               "  --interpreters N    interpreters to load the package into (the number of cores)\n"
               "  --threads T         threads that call the model (the number of interpreters)\n"
               "  --seconds S         how long to call it (10)\n"
               "  --venv FOLDER       the virtual environment that the model's libraries are in (.venv)\n"
               "  --reference FILE    compare every output with this file, bit for bit\n"
               "  --torchscript FILE  also call this trace of the model through libtorch, from as many threads\n"
               "  --compare           also with one interpreter: with one thread, and with T threads\n"
               "  --json FILE         write the figures to this file too\n");
  std::exit(2);
}

double positive(std::string_view name, const char* text) {
  char* end = nullptr;
  const double value = std::strtod(text, &end);
  if (*text == '\0' || *end != '\0' || !(value > 0))
    usage((std::string(name) + " takes a number above 0, not '" + text + "'").c_str());
  return value;
}

}  // namespace

Options parse_options(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--compare") {
      options.compare = true;
      continue;
    }
    if (name == "--help" || i + 1 == argc) usage(name == "--help" ? nullptr : (std::string(name) + " takes a value").c_str());
    const char* value = argv[++i];
    if (name == "--package") {
      options.package = value;
    } else if (name == "--venv") {
      options.venv = value;
    } else if (name == "--reference") {
      options.reference = value;
    } else if (name == "--torchscript") {
      options.torchscript = value;
    } else if (name == "--json") {
      options.json = value;
    } else if (name == "--interpreters") {
      options.interpreters = static_cast<std::size_t>(positive(name, value));
    } else if (name == "--threads") {
      options.threads = static_cast<std::size_t>(positive(name, value));
    } else if (name == "--seconds") {
      options.seconds = positive(name, value);
    } else {
      usage(("no option " + std::string(name)).c_str());
    }
  }
  if (options.package.empty()) usage("--package is missing");
  if (options.interpreters == 0) options.interpreters = std::max(1u, std::thread::hardware_concurrency());
  if (options.threads == 0) options.threads = options.interpreters;
  return options;
}
