#pragma once

#include <cstddef>
#include <string>

struct Options {
  std::string package;
  std::string venv = ".venv";
  std::string reference;         // what plain PyTorch answers (reference.py); empty: outputs are not compared
  std::string torchscript;       // the same model as a trace; empty: no baseline
  std::string json;              // where to write the figures; empty: nowhere
  std::size_t interpreters = 0;  // 0: as many as there are cores
  std::size_t threads = 0;       // 0: as many as there are interpreters
  double seconds = 10;           // for each way of running the model
  bool compare = false;          // also with one interpreter: with one thread, and with all of them
};

// Prints the usage and exits where the arguments are none.
Options parse_options(int argc, char** argv);
