#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "lib/loader/library.h"

// What private code does at signals. The essay is in signals.cpp.
namespace deploy::loader {

// sigaction, signal, sigaltstack and their like for private code, by name.
std::vector<std::pair<std::string_view, void*>> signal_functions();

// Takes out what code of the namespace set, or those handlers that lie in the library. The process does then what the namespace
// does that set the signal last, of those that are left, or what the host wants.
void forget_signals(const NamespaceImpl& space);
void forget_signals(const Library& library);

}  // namespace deploy::loader
