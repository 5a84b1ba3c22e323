#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "deploy/deploy.h"

// What the host does over and over while it is watched. Every step leaves the process as it found it.
struct Activity {
  std::string name;
  std::function<void()> step;  // throws where the outcome is another than the one that belongs to it
};

struct Settings {
  std::string venv, packages;       // folder of the virtual environment; folder of the tests' packages
  std::vector<std::string> models;  // packages with model/model.pkl and model/inputs.pkl, which `./dev demo` writes
};

// A manager with torch that lives as long as the process, for the activities that share it.
class Server {
 public:
  explicit Server(const Settings& settings);
  deploy::InterpreterManager& manager() { return manager_; }
  const Settings& settings() const { return settings_; }

  struct Model {
    deploy::Package package;
    deploy::ReplicatedObject object;
    deploy::Kwargs inputs;
    std::vector<std::string> expected;  // the bytes of its output's tensors
  };
  const std::vector<Model>& models() const { return models_; }
  const deploy::ReplicatedObject& function(const std::string& name) const;

 private:
  Settings settings_;
  deploy::InterpreterManager manager_;
  std::vector<Model> models_;
  std::vector<std::pair<std::string, deploy::ReplicatedObject>> functions_;
};

// The bytes of the tensors in `value`, depth first.
std::vector<std::string> tensor_bytes(const deploy::Value& value);

std::vector<Activity> all_activities(const std::shared_ptr<Server>& server);
