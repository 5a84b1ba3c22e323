#include "fixture.h"
FIXTURE int shared_count = 0;
