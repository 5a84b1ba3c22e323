#include "lib/interpreter/interruption.h"

#include <algorithm>
#include <chrono>

#include "lib/interpreter/process.h"

namespace deploy::detail {

namespace {

// Code that catches the exception and goes on, or a __del__ that it falls in and that Python ignores errors of, gets it again.
constexpr std::chrono::seconds kAgain{1};

}  // namespace

void Interruption::request(std::uint64_t session) {
  const std::uint64_t call = running_.load(std::memory_order_acquire);
  if (call == 0 || process_ != this_process()) return;
  {
    std::lock_guard lock(mutex_);
    requests_.push_back({call, session});
  }
  home_->wake();
}

// A client that gives each call the same time wakes the home thread once in that time, not with each call.
void Interruption::watch(Deadline deadline) {
  {
    std::lock_guard lock(mutex_);
    watched_ = last_;
    deadline_ = deadline;
    if (deadline >= next_look_) return;
    next_look_ = deadline;
  }
  home_->wake();
}

Deadline Interruption::next_look() const {
  std::lock_guard lock(mutex_);
  return next_look_;
}

bool Interruption::is_due() {
  std::lock_guard lock(mutex_);
  const std::uint64_t running = running_.load(std::memory_order_acquire);
  std::erase_if(requests_, [&](const Request& request) { return request.call != running; });
  next_look_ = watched_ == running ? deadline_ : kNoDeadline;
  return !requests_.empty() || has_passed(next_look_);
}

void Interruption::deliver(const deploy_guest& guest) {
  std::lock_guard lock(mutex_);
  const std::uint64_t running = running_.load(std::memory_order_acquire);
  const auto meant = [&](const Request& request) {
    return request.call == running &&
           (request.session == 0 || std::ranges::find(thread_->open, request.session) != thread_->open.end());
  };
  std::optional<ErrorCode> reason;
  if (running != 0 && std::ranges::any_of(requests_, meant)) reason = ErrorCode::kCancelled;
  requests_.clear();
  if (running != 0 && watched_ == running && has_passed(deadline_)) {
    reason = ErrorCode::kDeadlineExceeded;
    next_look_ = deadline_ = deadline_after(kAgain);
  }
  if (!reason) return;
  if (!reason_) reason_ = reason;
  guest.interrupt(thread_->state);
}

std::optional<ErrorCode> Interruption::settle(const deploy_guest& guest) {
  const std::optional<ErrorCode> reason = std::exchange(reason_, std::nullopt);
  return guest.take_back_interrupt(thread_->state) ? std::nullopt : reason;
}

}  // namespace deploy::detail
