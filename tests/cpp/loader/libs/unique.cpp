// STB_GNU_UNIQUE: a static of a template and of an inline function is one object in the whole namespace, even across libraries that
// were loaded apart and locally.
#include "fixture.h"

template <class T>
struct Holder {
  static inline T value{};
};
inline int* counter() {
  static int count = 0;
  return &count;
}
template struct Holder<int>;

FIXTURE int* address_of_unique() { return &Holder<int>::value; }
FIXTURE int* address_of_local_static() { return counter(); }
FIXTURE int check() {
  EXPECT(address_of_unique() != nullptr);
  return 0;
}
