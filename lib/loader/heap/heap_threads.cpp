#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <set>

#include "lib/loader/heap/heap.h"
#include "lib/loader/library.h"
#include "lib/support/forks.h"

// The calling thread's state in each heap; see "Threads" in heap.h.
//
// One place in static TLS holds the state of mimalloc at hand. What a thread has in other heaps is kept in a list of its own, by
// serial number: nothing in it points anywhere, so a heap that is gone leaves a dead entry behind, which goes when the list next
// grows, and nobody has to look for threads when a heap ends. Conversely a thread that ends must not run code of a namespace that
// is being unmapped: it holds the lock of `living` while it tells its heaps, and only those that are still in the set.
//
// A state goes from thread to thread (thread_identity.cpp says how). At the end of a session a thread leaves its state of that heap
// with the heap, for the next thread that enters, and so does a thread that ends. One thread, the keeper, does not: where there is
// no other, handing on is only work. States that are left beyond kMostIdle are given up: mimalloc lets other threads have their
// segments.

namespace deploy::loader {

namespace {

constexpr std::size_t kMimallocs = 16;  // bytes of the state; it has 9
constexpr std::size_t kIdentity = kMimallocs;
constexpr std::size_t kMostIdle = 2;  // states that wait for a thread
static_assert(kHeapStateSize == kMimallocs + sizeof(std::uint64_t));

struct Living {
  ForkLock lock;
  std::set<std::pair<std::uint64_t, Heap*>> heaps;  // guarded by lock
};

// Never destroyed: threads end after static objects.
Living& living() {
  static Living* const instance = [] {
    heap_prepare_fork();
    auto* made = new Living;
    static Living* forked = nullptr;
    forked = made;
    hold_in_forks(
        [] {
          forked->lock.lock();
          for (const auto& [serial, heap] : forked->heaps) heap->lock_for_fork();
        },
        [] {
          for (const auto& [serial, heap] : forked->heaps) heap->unlock_after_fork();
          forked->lock.unlock();
        });
    return made;
  }();
  return *instance;
}

// Before another thread can fork while one is about to make it.
[[maybe_unused]] Living& g_made_early = living();

struct State {
  std::uint64_t serial = 0;
  HeapState bytes = {};
};

extern "C" thread_local std::uint64_t deploy_current_heap;
thread_local std::uint64_t deploy_current_heap = 0;

// All heaps that this thread has entered.
thread_local std::vector<State>* t_states = nullptr;

// Counts from 1, never used again; 0: none yet.
thread_local std::uint64_t t_number = 0;

// Where mimalloc's thread state lies: the same distance from the thread pointer for all copies and all threads.
StaticTls g_place{};

std::byte* place() {
  std::uintptr_t thread_pointer;
  __asm__("mov %%fs:0, %0" : "=r"(thread_pointer));
  return reinterpret_cast<std::byte*>(thread_pointer + static_cast<std::uintptr_t>(g_place.offset));
}

std::uint64_t thread_number() {
  static std::atomic<std::uint64_t> last{0};
  if (t_number == 0) t_number = ++last;
  return t_number;
}

State* state_of(std::uint64_t serial) {
  const auto found = std::find_if(t_states->begin(), t_states->end(), [=](const State& s) { return s.serial == serial; });
  return found == t_states->end() ? nullptr : &*found;
}

void put_away() {
  if (deploy_current_heap == 0) return;
  if (State* state = state_of(deploy_current_heap)) std::memcpy(state->bytes.data(), place(), kHeapStateSize);
  deploy_current_heap = 0;
}

void take_out(const State& state) {
  std::memcpy(place(), state.bytes.data(), kHeapStateSize);
  deploy_current_heap = state.serial;
}

void forget_dead() {
  Living& alive = living();
  const std::lock_guard guard(alive.lock);
  std::erase_if(*t_states, [&](const State& state) {
    const auto from = alive.heaps.lower_bound({state.serial, nullptr});
    return from == alive.heaps.end() || from->first != state.serial;
  });
}

}  // namespace

// Befriended by Heap.
struct HeapThreads {
  static State take_state(deploy_heap* shared) { return take_state(Heap::of(shared)); }

  static State take_state(Heap& heap) {
    State state{heap.serial(), heap.thread_state_};
    if (!heap.has_identities_) return state;
    const std::lock_guard guard(heap.idle_lock_);
    if (heap.idle_count_ != 0) {
      state.bytes = heap.idle_[--heap.idle_count_];
    } else {
      const std::uint64_t identity = ++heap.last_identity_;
      std::memcpy(state.bytes.data() + kIdentity, &identity, sizeof identity);
    }
    return state;
  }

  // The first state is mimalloc's main one, which it never gives up: there is always room for it.
  static bool leave_state(Heap& heap, const State& state, std::size_t most) {
    if (!heap.has_identities_) return false;
    std::uint64_t identity;
    std::memcpy(&identity, state.bytes.data() + kIdentity, sizeof identity);
    const std::lock_guard guard(heap.idle_lock_);
    if (heap.idle_count_ >= (identity == 1 ? heap.idle_.size() : most)) return false;
    heap.idle_[heap.idle_count_++] = state.bytes;
    return true;
  }

  static bool keeps(Heap& heap) {
    if (!heap.has_identities_) return true;
    const std::uint64_t own = thread_number();
    std::uint64_t keeper = heap.keeper_.load(std::memory_order_relaxed);
    return keeper == own || (keeper == 0 && own != heap.home_ && heap.keeper_.compare_exchange_strong(keeper, own));
  }

  static void keeps_no_longer(Heap& heap) {
    std::uint64_t own = thread_number();
    heap.keeper_.compare_exchange_strong(own, 0);
  }
};

namespace {

// The thread has run all its destructors.
void thread_ends(void*) {
  put_away();
  Living& alive = living();
  const std::lock_guard guard(alive.lock);
  for (const State& state : *t_states) {
    const auto heap = alive.heaps.lower_bound({state.serial, nullptr});
    if (heap == alive.heaps.end() || heap->first != state.serial || !heap->second->allocator()) continue;
    HeapThreads::keeps_no_longer(*heap->second);
    if (HeapThreads::leave_state(*heap->second, state, kMostIdle)) continue;
    take_out(state);
    heap->second->allocator()->end_thread();
  }
  deploy_current_heap = 0;
  delete std::exchange(t_states, nullptr);
}

// This thread's list, with room for one more; null where there is no memory.
std::vector<State>* list_with_room() noexcept {
  try {
    if (!t_states) {
      auto states = std::make_unique<std::vector<State>>();
      states->reserve(4);
      tls_when_thread_ended(thread_ends, nullptr);
      t_states = states.release();
    }
    if (t_states->size() == t_states->capacity()) {
      forget_dead();
      t_states->reserve(t_states->size() + 1);
    }
    return t_states;
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

}  // namespace

int heap_enter(deploy_heap* heap) noexcept {
  if (deploy_current_heap == heap->serial) return 1;
  State* state = t_states ? state_of(heap->serial) : nullptr;
  if (!state) {
    std::vector<State>* list = list_with_room();
    if (!list) return 0;
    list->push_back(HeapThreads::take_state(heap));
    state = &list->back();
  }
  put_away();
  take_out(*state);
  return 1;
}

void heap_leave(Heap& heap) noexcept {
  heap.large().give_back_old();
  if (!t_states || !heap.allocator() || HeapThreads::keeps(heap)) return;
  if (deploy_current_heap == heap.serial()) put_away();
  State* state = state_of(heap.serial());
  if (!state || !HeapThreads::leave_state(heap, *state, kMostIdle)) return;
  *state = t_states->back();
  t_states->pop_back();
}

// A new thread's state is tried out by the one that starts it: what a thread of Python has to allocate for its first exception must
// not fail, or CPython 3.11 tries it for ever (exception_unwind in ceval.c, where PyLong_FromLong gives null).
std::unique_ptr<NewHeapThread> heap_new_thread(Heap& heap) {
  if (!heap.allocator() || !heap.hands_states_on()) return std::make_unique<NewHeapThread>();
  if (!list_with_room()) return nullptr;
  auto made = std::make_unique<NewHeapThread>();
  State state = HeapThreads::take_state(heap);
  put_away();
  take_out(state);
  void* block = heap.allocator()->malloc(64);
  if (block) heap.allocator()->free(block);
  std::memcpy(state.bytes.data(), place(), kHeapStateSize);
  deploy_current_heap = 0;
  made->bytes = state.bytes;
  made->heap = &heap;
  return block ? std::move(made) : nullptr;
}

NewHeapThread::~NewHeapThread() {
  if (!heap) return;
  const State state{heap->serial(), bytes};
  if (HeapThreads::leave_state(*heap, state, kMostIdle)) return;
  put_away();
  take_out(state);
  heap->allocator()->end_thread();
  deploy_current_heap = 0;
}

void heap_begin_thread(NewHeapThread& made) noexcept {
  if (!made.heap || !list_with_room()) return;
  t_states->push_back({made.heap->serial(), made.bytes});
  made.heap = nullptr;
}

void heap_live(Heap& heap) {
  const std::lock_guard guard(living().lock);
  living().heaps.emplace(heap.serial(), &heap);
}

void heap_retired(Heap& heap) {
  const std::lock_guard guard(living().lock);
  living().heaps.erase({heap.serial(), &heap});
}

void Heap::set_thread_state(const Library& library) {
  const TlsImage tls = library.tls_image();
  std::memcpy(thread_state_.data(), tls.data, tls.file_size);
  home_ = thread_number();
  has_identities_ = give_threads_an_identity(library, g_place, g_place.offset + static_cast<std::int64_t>(kIdentity));
}

void* heap_current_symbol() { return &deploy_current_heap; }

Result<StaticTls> Heap::thread_state_place(const TlsImage& tls) {
  static ForkLock& lock = []() -> ForkLock& {
    tls_prepare_thread();  // registers the lock that is taken after this one
    auto* made = new ForkLock;
    hold_in_forks(*made);
    return *made;
  }();
  const std::lock_guard guard(lock);
  if (tls.memory_size > kMimallocs || tls.alignment > alignof(std::max_align_t)) {
    return Failure{ErrorCode::kLoader, "the allocator has " + std::to_string(tls.memory_size) + " bytes of thread-local state, " +
                                           std::to_string(kMimallocs) + " are provided"};
  }
  if (g_place.size == 0) {
    auto reserved = tls_static_reserve({nullptr, 0, kHeapStateSize, alignof(std::max_align_t)});
    if (!reserved) return reserved.failure();
    g_place = *reserved;
  }
  return g_place;
}

}  // namespace deploy::loader
