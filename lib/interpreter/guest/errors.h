#pragma once

#include "deploy/error.h"
#include "lib/interpreter/guest/guest.h"

namespace deploy::guest {

// Hands a failure of the guest's own to the host. `format` is PyUnicode_FromFormat's. No exception may be set; none is afterwards.
void report(deploy_error* error, ErrorCode code, const char* format, ...);

// Takes the current exception, with its traceback, off the thread.
Ref take_exception();

// Makes it the current exception again.
void set_exception(Ref exception);

// Hands an exception to the host as kPython: "Type: text", the type's name, and the traceback as Python prints it. It reports
// something whatever the exception does when it is asked for its text. SystemExit and KeyboardInterrupt are exceptions like any
// other.
void report_exception(deploy_error* error, const Ref& exception);

// The first line of "Type: text", for a message that says what an exception means. A str; null only when out of memory.
Ref summary(const Ref& exception);

// True for what a library raises to say no: any Exception but MemoryError and RecursionError; not SystemExit and its like.
bool is_refusal(const Ref& exception);

}  // namespace deploy::guest
