#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "deploy/export.h"
#include "deploy/grad_mode.h"

namespace deploy {

// What a package says of itself: its record .data/deploy/manifest.json (docs/format.md), which deploy.package writes. A plain
// value.
struct DEPLOY_API Manifest {
  struct Argument {
    std::string name;
    std::string kind;  // "positional_only", "positional_or_keyword", "var_positional", "keyword_only", "var_keyword"
    bool has_default = false;
  };
  // An object that is there to be called: Package::load_pickle(package, resource), then its method `method` ("__call__": itself).
  struct Callable {
    std::string package, resource;
    std::string type;  // "transformers.models.bert.modeling_bert.BertModel"
    std::string method = "__call__";
    std::vector<Argument> signature;
    std::optional<GradMode> grad_mode = {};  // of its calls (Environment::grad_mode); nullopt: it was written without torch
  };
  // A distribution that travels inside the package, whole.
  struct Distribution {
    std::string name, version;
    std::vector<std::string> modules;  // its top-level names
    std::string reason;                // why it is inside; may be empty
  };
  // A module that the environment has to have.
  struct Extern {
    std::string module;
    std::string distribution, version;  // empty: not known, or of the standard library
    bool standard_library = false;
  };
  // Recorded inputs, a pickled tuple (args, kwargs), and the result: (package, resource) for Package::load_pickle. `outputs` has
  // empty names where the result was not recorded, because it cannot be pickled.
  struct Example {
    std::size_t callable = 0;  // index into callables
    std::pair<std::string, std::string> inputs, outputs;
  };

  int format = 1;
  std::string writer;  // "deploy 0.1.0"
  std::string python;  // "3.11.2"
  std::string torch;   // "2.13.0"; empty: the package was written without it
  std::vector<Callable> callables;
  std::vector<Distribution> interned;
  std::vector<std::string> own_modules;
  std::vector<Extern> externs;
  std::vector<Example> examples;

  std::string json;  // the record itself, with what this structure leaves out
};

// The manifest of a package file; nullopt for one without (a plain torch.package). Starts no interpreter and runs no code.
// Throws kNotFound, kInvalidPackage.
DEPLOY_API std::optional<Manifest> read_manifest(const std::string& path);

}  // namespace deploy
