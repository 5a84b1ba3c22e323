#include "deploy/error.h"

#include <utility>

namespace deploy {

std::string_view to_string(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::kInternal:
      return "internal";
    case ErrorCode::kInvalidArgument:
      return "invalid_argument";
    case ErrorCode::kNotFound:
      return "not_found";
    case ErrorCode::kInvalidPackage:
      return "invalid_package";
    case ErrorCode::kMissingExtern:
      return "missing_extern";
    case ErrorCode::kEnvironment:
      return "environment";
    case ErrorCode::kPython:
      return "python";
    case ErrorCode::kNotAValue:
      return "not_a_value";
    case ErrorCode::kWrongSession:
      return "wrong_session";
    case ErrorCode::kClosed:
      return "closed";
    case ErrorCode::kLoader:
      return "loader";
    case ErrorCode::kSystem:
      return "system";
    case ErrorCode::kCancelled:
      return "cancelled";
    case ErrorCode::kDeadlineExceeded:
      return "deadline_exceeded";
    case ErrorCode::kUntrusted:
      return "untrusted";
  }
  return "unknown";
}

Error::Error(ErrorCode code, std::string message, std::string python_type, std::string traceback)
    : code_(code),
      message_(std::move(message)),
      python_type_(std::move(python_type)),
      traceback_(std::move(traceback)),
      what_(message_) {
  if (!traceback_.empty()) what_ += "\n" + traceback_;
}
Error::Error(const Error&) = default;
Error& Error::operator=(const Error&) = default;
Error::~Error() = default;

}  // namespace deploy
