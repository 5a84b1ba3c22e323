#pragma once

#include <atomic>
#include <memory>

namespace deploy::bindings {

// The end of the process. Users forget close(), keep managers in module globals and leave daemon threads in calls; none of that may
// crash or hang the exit. So an atexit hook, which runs after Python joined the ordinary threads and before it finalises itself,
//
// 1. sets the flag that exiting() reads: no other thread gets into or out of libdeploy from now on (see GilRelease);
// 2. waits for the threads that are on their way back into Python;
// 3. shuts the interpreters down in order, if no call runs and no session is open; otherwise leaves them to the operating
//    system: a daemon thread may be in a call that never ends.
//
// From then on handles are leaked, not destroyed. A forked process begins anew: it has nothing to do with what its parent made, and
// with its calls.
bool exiting() noexcept;

// Whether the calling thread is the one that runs the exit hook.
bool is_exit_thread() noexcept;

// Something that the exit hook shuts down: a manager, an interpreter of its own.
class ShutDown {
 public:
  virtual ~ShutDown() = default;
  // Called once at most, with the GIL held; releases it where it waits.
  virtual void shut_down() noexcept = 0;
};
void shut_down_at_exit(const std::shared_ptr<ShutDown>& what);

// Counts what step 3 looks at: one for each call that runs and each session that is open.
class InUse {
 public:
  InUse() noexcept;
  ~InUse();
  InUse(const InUse&) = delete;
  InUse& operator=(const InUse&) = delete;
  // Whether this process was forked since.
  bool is_parents() const noexcept;

 private:
  std::atomic<int>& count_;
};

// One for each thread that is about to take the GIL (step 2).
class Returning {
 public:
  Returning() noexcept;
  ~Returning();
  Returning(const Returning&) = delete;
  Returning& operator=(const Returning&) = delete;

 private:
  std::atomic<int>& count_;
};

}  // namespace deploy::bindings
