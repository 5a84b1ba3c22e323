// A C library with state for the whole process: a callback, as HDF5 and its like keep what their users registered, and a count.
typedef int (*callback)(int);

static callback g_callback;
static int g_count;

int callbacks_register(callback function) {
  if (g_callback && g_callback != function) return -1;  // as libhdf5 has it: a type is registered once
  g_callback = function;
  return 0;
}
int callbacks_call(int argument) { return g_callback ? g_callback(argument) : -1; }
int callbacks_count(void) { return ++g_count; }
