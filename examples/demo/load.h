#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

// One way of running the model, and what was measured of it.
struct Way {
  std::string name;
  std::size_t threads;
  // One call of the model; true where its output is the expected one. Called from `threads` threads at once.
  std::function<bool()> call;

  std::vector<double> rates = {};      // calls per second, one a round
  std::vector<double> latencies = {};  // in ms, of every call
  bool equal = true;                   // every output was the expected one
};

// Runs all ways in turn for a second at a time, until each ran for `seconds`: what disturbs the machine disturbs all of them alike.
// A shorter round in front is not counted. An exception of a call is rethrown.
void measure(std::vector<Way>& ways, double seconds);

// The value that `percent` of `values` are not above. 0 where there are none.
double percentile(std::vector<double> values, double percent);
inline double median(const std::vector<double>& values) { return percentile(values, 50); }

// Median over the rounds of a's rate over b's rate in the same round.
double ratio(const Way& a, const Way& b);
