#pragma once

#include <cstddef>
#include <string>

// What this process holds at one moment, as Linux's /proc says.
struct ProcessState {
  double private_mb = 0;   // pages that it wrote and shares with nobody (Private_Dirty)
  double resident_mb = 0;  // all pages that are in memory, files' included (Rss)
  std::size_t mappings = 0, descriptors = 0, threads = 0, children = 0;

  static ProcessState read();
  std::string json() const;
};
