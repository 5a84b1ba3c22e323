#pragma once

#include "lib/interpreter/guest/guest.h"

namespace deploy::guest {

// An import makes hundreds of thousands of objects that stay. Python's collector looks at them again and again as they become more,
// which is an eighth of the time of `import torch`, and finds next to nothing. Between construction and end() it looks once in
// 300,000 new objects, which bounds the garbage of an import that runs a whole program. Code that sets its own thresholds meanwhile
// keeps them. Both with no exception set.
class RareCollections {
 public:
  RareCollections();
  void end();

 private:
  bool changed_ = false;
  int first_ = 0, second_ = 0, third_ = 0;
};

// What is there now is taken to stay: the collector never looks at it (a full collection with torch takes a tenth of a second),
// until unfreeze().
void unfreeze();

}  // namespace deploy::guest
