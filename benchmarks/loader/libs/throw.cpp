// Throws through frames without handlers or destructors: the unwinder has to find and read the tables of each, twice.
namespace {

__attribute__((noinline)) void fall(int depth) {
  if (depth == 1) throw depth;
  fall(depth - 1);
  __asm__ volatile("");  // no tail call
}

}  // namespace

extern "C" __attribute__((visibility("default"))) void bench_throw(int depth, long count) {
  for (long i = 0; i < count; ++i) {
    try {
      fall(depth);
    } catch (int) {
    }
  }
}
