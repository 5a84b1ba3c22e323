// Serves a packaged Python model from C++: loads the package into N interpreters, calls the model from T threads for S seconds, and
// prints calls per second and latencies. With --torchscript and --compare it runs the same model in other ways for comparison.

#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "deploy/deploy.h"
#include "load.h"
#include "options.h"
#include "outputs.h"
#include "torchscript.h"

namespace {

// Memory that this process wrote and shares with nobody, in MB. Clean pages of files (libraries, weights) are not in it: they are
// one copy, however many interpreters map them.
double private_megabytes() {
  std::ifstream rollup("/proc/self/smaps_rollup");
  for (std::string line; std::getline(rollup, line);) {
    if (line.starts_with("Private_Dirty:")) return std::stod(line.substr(std::strlen("Private_Dirty:"))) / 1024;
  }
  return 0;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

deploy::ManagerOptions manager_options(const Options& options, std::size_t interpreters) {
  deploy::ManagerOptions result{interpreters, deploy::Environment::from_venv(options.venv)};
  result.environment.preload = {"torch"};
  return result;
}

// A set of interpreters with the package in all of them, ready to be called, and what it took to get there.
struct Server {
  Server(const Options& options, std::size_t interpreters) : manager(manager_options(options, interpreters)) {
    boot_seconds = seconds_since(start);
    for (deploy::Interpreter interpreter : manager.interpreters()) {
      auto session = interpreter.acquire_session();
      session.global("torch", "set_num_threads")(1);
    }
    package.emplace(manager.load_package(options.package));
    model.emplace(package->load_pickle("model", "model.pkl"));
    model->preload();
    ready_seconds = seconds_since(start);
    megabytes_each = (private_megabytes() - megabytes_before) / static_cast<double>(interpreters);
  }

  // The record inputs.pkl: a dict of tensors, as keyword arguments in memory of our own.
  deploy::Kwargs inputs() {
    auto session = manager.acquire_session();
    const deploy::Value record = session.from_replicated(package->load_pickle("model", "inputs.pkl")).to_value();
    deploy::Kwargs inputs;
    for (const auto& [name, value] : record.dict_items()) inputs.emplace_back(name.as_str(), copy(value.as_tensor()));
    return inputs;
  }

  // In front of the manager: taken before it boots.
  std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
  double megabytes_before = private_megabytes();

  deploy::InterpreterManager manager;
  std::optional<deploy::Package> package;
  std::optional<deploy::ReplicatedObject> model;
  double boot_seconds = 0;   // interpreters that have imported torch
  double ready_seconds = 0;  // and the package in all of them
  double megabytes_each = 0;
};

Way serve(std::string name, std::size_t threads, const Server& server, const deploy::Kwargs& inputs, const Reference& reference) {
  return {std::move(name), threads, [&server, &inputs, &reference] {
            Comparison comparison(reference);
            comparison.add(server.model->call({}, inputs));
            return comparison.equal();
          }};
}

void print(const std::vector<Way>& ways) {
  std::printf("%-28s %10s %10s %10s %10s\n", "", "calls/s", "p50 ms", "p95 ms", "p99 ms");
  for (const Way& way : ways) {
    std::printf("%-28s %10.2f %10.2f %10.2f %10.2f\n", way.name.c_str(), median(way.rates), percentile(way.latencies, 50),
                percentile(way.latencies, 95), percentile(way.latencies, 99));
  }
}

void write_json(const Options& options, const std::vector<Way>& ways, const Server& server, bool equal) {
  std::ofstream file(options.json);
  file << "{\"interpreters\": " << options.interpreters << ", \"threads\": " << options.threads
       << ", \"seconds\": " << options.seconds << ", \"outputs_equal\": " << (equal ? "true" : "false")
       << ", \"boot_s\": " << server.boot_seconds << ", \"ready_s\": " << server.ready_seconds
       << ", \"private_mb_per_interpreter\": " << server.megabytes_each << ", \"ways\": {";
  for (const Way& way : ways) {
    file << (&way == &ways.front() ? "" : ", ") << '"' << way.name << "\": {\"calls_per_s\": " << median(way.rates)
         << ", \"rounds\": [";
    for (const double& rate : way.rates) file << (&rate == &way.rates.front() ? "" : ", ") << rate;
    file << "], \"p50_ms\": " << percentile(way.latencies, 50) << ", \"p95_ms\": " << percentile(way.latencies, 95)
         << ", \"p99_ms\": " << percentile(way.latencies, 99) << ", \"equal\": " << (way.equal ? "true" : "false") << "}";
  }
  file << "}, \"ratios\": {";
  const Way& main = ways.front();
  for (const Way& way : ways) {
    if (&way != &main) file << (&way == &main + 1 ? "" : ", ") << "\"interpreters_to_" << way.name << "\": " << ratio(main, way);
  }
  file << "}}\n";
}

int run(const Options& options) {
  const Reference reference(options.reference);
  std::optional<Server> one;
  if (options.compare) one.emplace(options, 1);
  Server all(options, options.interpreters);
  const deploy::Kwargs inputs = all.inputs();
  std::printf("%s: %zu interpreters, %zu threads; ready in %.2f s (torch imported after %.2f s), %.0f MB of private memory each\n",
              options.package.c_str(), options.interpreters, options.threads, all.ready_seconds, all.boot_seconds,
              all.megabytes_each);

  std::vector<Way> ways;
  ways.push_back(serve("interpreters", options.threads, all, inputs, reference));
  if (one) ways.push_back(serve("one_interpreter", options.threads, *one, inputs, reference));
  if (!options.torchscript.empty()) {
    ways.push_back({"torchscript", options.threads, torchscript_call(options.torchscript, inputs, reference)});
  }
  if (one) ways.push_back(serve("one_by_one", 1, *one, inputs, reference));
  measure(ways, options.seconds);

  print(ways);
  bool equal = true;
  for (const Way& way : ways) equal = equal && (way.equal || way.name == "torchscript");
  if (reference.given()) std::printf("outputs equal plain PyTorch's, bit for bit: %s\n", equal ? "yes" : "NO");
  if (!options.json.empty()) write_json(options, ways, all, equal && reference.given());
  return equal ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(parse_options(argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "serve_package: %s\n", error.what());
    return 1;
  }
}
