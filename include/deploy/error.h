#pragma once

#include <exception>
#include <string>
#include <string_view>

#include "deploy/export.h"

namespace deploy {

// What kind of thing went wrong. The numbers are stable: new codes are added at the end.
enum class ErrorCode : int {
  kInternal = 1,           // a defect of libdeploy itself
  kInvalidArgument = 2,    // an argument that no call of this kind can take
  kNotFound = 3,           // a file, module, record or attribute that does not exist
  kInvalidPackage = 4,     // a file that is no package, or a damaged one
  kMissingExtern = 5,      // modules that a package needs and the environment does not have
  kEnvironment = 6,        // an environment that cannot be used: another Python version, no such folder
  kPython = 7,             // an exception raised by Python code; see python_type() and traceback()
  kNotAValue = 8,          // a Python object that has no deploy::Value form; a session can still hold it
  kWrongSession = 9,       // an Object used after its session ended, or on another interpreter
  kClosed = 10,            // the manager, session or interpreter is closed or closing
  kLoader = 11,            // an ELF library that could not be loaded
  kSystem = 12,            // the operating system refused: no memory, no descriptor, no thread
  kCancelled = 13,         // a call that was interrupted; where it was is in python_type() and traceback()
  kDeadlineExceeded = 14,  // a call that waited or ran until its deadline; where it ran, if it did, as above
  kUntrusted = 15,         // a package that is not what the caller trusts: digest, signature, modules that it must not import
};

// "invalid_argument", "python", ...: the enumerator in snake_case.
DEPLOY_API std::string_view to_string(ErrorCode code) noexcept;

// The only exception type that libdeploy throws. Copies share nothing with an interpreter and may outlive all of them. A source
// that is compiled with -fno-rtti can catch it. One that is compiled with -fno-exceptions can include these headers, but an Error
// that reaches it ends the process: call libdeploy from a source with exceptions there.
class DEPLOY_API Error : public std::exception {
 public:
  Error(ErrorCode code, std::string message, std::string python_type = {}, std::string traceback = {});
  Error(const Error&);
  Error& operator=(const Error&);
  ~Error() override;

  ErrorCode code() const noexcept { return code_; }

  // One paragraph: the object, what was found, what was expected. For kPython it is "Type: text".
  const std::string& message() const noexcept { return message_; }

  // The qualified name of the Python exception's type ("ValueError", "my_model.Oops"); empty unless Python raised.
  const std::string& python_type() const noexcept { return python_type_; }

  // The traceback as Python prints it, innermost frame last; empty unless Python raised.
  const std::string& traceback() const noexcept { return traceback_; }

  // The message, and below it the traceback where there is one.
  const char* what() const noexcept override { return what_.c_str(); }

 private:
  ErrorCode code_;
  std::string message_, python_type_, traceback_, what_;
};

}  // namespace deploy
