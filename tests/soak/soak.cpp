// Does for many minutes, on many threads at once, all that a host may do: calls models, misses deadlines, loads and unloads
// packages, creates and destroys interpreters, forks. Ten times it lets every thread pause, and writes down what the process then
// holds: memory, mappings, descriptors and threads have to stay as they were.
//
//   soak --venv .venv --packages FOLDER --minutes 30 --json FILE MODEL.pt ...
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <thread>

#include "activities.h"
#include "process_state.h"

namespace {

using Clock = std::chrono::steady_clock;
constexpr int kLooks = 10;
// Between two steps of an activity: the cores are shared by all of them.
constexpr std::chrono::milliseconds kPause{10};

struct Options {
  Settings settings;
  double minutes = 1;
  std::string json;
};

Options parse(int argc, char** argv) {
  Options options;
  const std::map<std::string, std::string*> texts{
      {"--venv", &options.settings.venv}, {"--packages", &options.settings.packages}, {"--json", &options.json}};
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (const auto found = texts.find(word); found != texts.end() && i + 1 < argc) {
      *found->second = argv[++i];
    } else if (word == "--minutes" && i + 1 < argc) {
      options.minutes = std::atof(argv[++i]);
    } else {
      options.settings.models.push_back(word);
    }
  }
  if (options.settings.venv.empty() || options.settings.packages.empty() || options.settings.models.empty() ||
      options.minutes <= 0) {
    std::fprintf(stderr, "usage: soak --venv FOLDER --packages FOLDER [--minutes N] [--json FILE] MODEL.pt ...\n");
    std::exit(2);
  }
  return options;
}

// Runs every activity on a thread of its own. A step holds `quiet_` shared, so a thread that holds it alone sees no step half-way;
// a thread passes `turn_` first, because a shared_mutex lets new readers in while a writer waits.
class Runner {
 public:
  explicit Runner(std::vector<Activity> activities) : activities_(std::move(activities)), counts_(activities_.size()) {
    for (std::size_t i = 0; i < activities_.size(); ++i) threads_.emplace_back([this, i] { run(i); });
  }

  ProcessState look() {
    const std::scoped_lock turn(turn_);
    const std::unique_lock lock(quiet_);
    return ProcessState::read();
  }

  void end() {
    ending_ = true;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

  bool good() const {
    for (const Count& count : counts_) {
      if (count.steps == 0 || count.unexpected != 0) return false;
    }
    return true;
  }

  std::string json() const {
    std::string text;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      text += (i ? ", \"" : "\"") + activities_[i].name + "\": {\"steps\": " + std::to_string(counts_[i].steps) +
              ", \"unexpected\": " + std::to_string(counts_[i].unexpected) + "}";
      std::printf("  %-34s %9zu steps, %zu unexpected outcomes\n", activities_[i].name.c_str(), counts_[i].steps,
                  counts_[i].unexpected);
    }
    return "{" + text + "}";
  }

 private:
  struct Count {
    std::size_t steps = 0, unexpected = 0;  // written by its activity's thread only
  };

  void run(std::size_t i) {
    while (!ending_) {
      {
        std::unique_lock turn(turn_);
        const std::shared_lock lock(quiet_);
        turn.unlock();
        try {
          activities_[i].step();
        } catch (const std::exception& error) {
          if (counts_[i].unexpected++ < 3) std::fprintf(stderr, "soak: %s: %s\n", activities_[i].name.c_str(), error.what());
        }
        ++counts_[i].steps;
      }
      std::this_thread::sleep_for(kPause);
    }
  }

  std::vector<Activity> activities_;
  std::vector<Count> counts_;
  std::mutex turn_;
  std::shared_mutex quiet_;
  std::atomic<bool> ending_ = false;
  std::vector<std::thread> threads_;
};

void print(const char* when, const ProcessState& state) {
  std::printf("%10s %9.1f MB private %9.1f MB resident %6zu mappings %5zu descriptors %4zu threads %3zu children\n", when,
              state.private_mb, state.resident_mb, state.mappings, state.descriptors, state.threads, state.children);
  std::fflush(stdout);
}

int run(const Options& options) {
  const auto begin = Clock::now();
  std::string looks, counts;
  bool good = false;
  {
    const auto server = std::make_shared<Server>(options.settings);
    Runner runner(all_activities(server));
    for (int i = 0; i <= kLooks; ++i) {
      // The first look comes after a tenth of the time: by then every activity has done all its kinds of steps.
      const auto minutes = std::chrono::duration<double, std::ratio<60>>(options.minutes * (1 + 9.0 * i / kLooks) / 10);
      std::this_thread::sleep_until(begin + std::chrono::duration_cast<Clock::duration>(minutes));
      const ProcessState state = runner.look();
      const double at = std::chrono::duration<double>(Clock::now() - begin).count();
      looks += (i ? ", " : "") + std::string("{\"seconds\": ") + std::to_string(at) + ", \"state\": " + state.json() + "}";
      print((std::to_string(static_cast<int>(at)) + " s").c_str(), state);
    }
    runner.end();
    counts = runner.json();
    good = runner.good();
  }
  const ProcessState after = ProcessState::read();
  print("afterwards", after);
  const std::size_t stranded = deploy::stranded_interpreters().size();
  std::printf("%zu interpreters stranded, %zu libraries kept, %s\n", stranded, deploy::kept_libraries().size(),
              good ? "every outcome as expected" : "UNEXPECTED OUTCOMES");
  if (!options.json.empty()) {
    std::ofstream(options.json) << "{\"minutes\": " << options.minutes << ", \"activities\": " << counts << ", \"looks\": ["
                                << looks << "], \"afterwards\": " << after.json() << ", \"stranded\": " << stranded << "}\n";
  }
  return good && stranded == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(parse(argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "soak: %s\n", error.what());
    return 1;
  }
}
