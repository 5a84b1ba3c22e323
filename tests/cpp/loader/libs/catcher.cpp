// Exceptions and run-time types across libraries.
#include <cstring>
#include <typeinfo>

#include "fixture.h"
#include "throw_type.h"

extern "C" void throw_cross(int code);
extern "C" void call_through(void (*callback)(void*), void* argument);
extern "C" int pass_through(int code);
extern "C" Shape* make_circle();

FIXTURE int check() {
  try {
    throw_cross(31);
    return __LINE__;
  } catch (const CrossError& e) {
    EXPECT(e.code == 31 && std::strcmp(e.what(), "across") == 0);
  }
  try {
    pass_through(32);
    return __LINE__;
  } catch (const std::exception& e) {
    EXPECT(dynamic_cast<const CrossError*>(&e) != nullptr);
  }
  int destroyed = 0;
  try {
    call_through([](void*) { throw 6; }, &destroyed);
    return __LINE__;
  } catch (int n) {
    EXPECT(n == 6 && destroyed == 1);
  }
  Shape* shape = make_circle();
  const auto* circle = dynamic_cast<Circle*>(shape);
  EXPECT(circle && circle->radius == 3 && typeid(*shape) == typeid(Circle));
  delete shape;
  return 0;
}
