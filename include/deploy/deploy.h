#pragma once

// The whole public API, deploy/torch.h aside (which needs libtorch's headers).
#include "deploy/backtrace.h"
#include "deploy/environment.h"
#include "deploy/error.h"
#include "deploy/grad_mode.h"
#include "deploy/interpreter.h"
#include "deploy/manager.h"
#include "deploy/manifest.h"
#include "deploy/memory.h"
#include "deploy/object.h"
#include "deploy/output.h"
#include "deploy/package.h"
#include "deploy/package_reader.h"
#include "deploy/signature.h"
#include "deploy/tensor.h"
#include "deploy/value.h"
#include "deploy/value_limits.h"
