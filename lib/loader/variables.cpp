#include "lib/loader/variables.h"

#include <sys/auxv.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <new>
#include <set>
#include <string>
#include <unordered_map>

#include "lib/loader/interpose.h"
#include "lib/loader/namespace_impl.h"
#include "lib/support/forks.h"

// Environment variables of private code
//
// The C library has one environment a process. What private code sets goes there, since shared libraries read it (OMP_NUM_THREADS).
// But a library may also tell itself something through a variable, as Inductor tells its compiled kernels the address of a function
// of libtorch: with two namespaces at it, one would read the other's address. So a namespace reads what it has set itself, and the
// process's environment for all other names.
//
// What neither has set may have a default for private code (NamespaceOptions::default_variables).
//
// A text that was handed out stays until its namespace ends, as the C library keeps those that setenv() was given.

namespace deploy::loader {

namespace {

struct OwnVariables {
  std::map<std::string, const char*, std::less<>> values;  // null: removed
  std::set<std::string> texts;                             // what `values` points to, now or before
};

struct Variables {
  ForkLock lock;
  std::unordered_map<const NamespaceImpl*, OwnVariables> own;  // guarded by lock
};

// Never destroyed: code may run until the process is gone.
Variables& variables() {
  static Variables* const instance = [] {
    auto* made = new Variables;
    hold_in_forks(made->lock);
    return made;
  }();
  return *instance;
}

// What the C library has accepted. -1 where there is no memory to note it.
int note(const Library* caller, std::string_view name, const char* value) {
  if (!caller) return 0;
  try {
    Variables& all = variables();
    const std::lock_guard guard(all.lock);
    OwnVariables& own = all.own[caller->owner];
    const char* const text = value ? own.texts.emplace(value).first->c_str() : nullptr;
    own.values.insert_or_assign(std::string(name), text);
    return 0;
  } catch (const std::bad_alloc&) {
    errno = ENOMEM;
    return -1;
  }
}

// What the caller reads where nobody has set it; or null.
const char* default_value(const Library* caller, const char* name) {
  if (!caller) return nullptr;
  for (const auto& [known, value] : caller->owner->options.default_variables) {
    if (known == name) return value.c_str();
  }
  return nullptr;
}

// Whether the caller's namespace has set or removed this one; then `value` is what it reads.
bool is_own(const Library* caller, const char* name, const char*& value) {
  if (!caller) return false;
  Variables& all = variables();
  const std::lock_guard guard(all.lock);
  const auto own = all.own.find(caller->owner);
  if (own == all.own.end()) return false;
  const auto found = own->second.values.find(std::string_view(name));
  if (found == own->second.values.end()) return false;
  value = found->second;
  return true;
}

// What `caller` reads, and the process has as `value`.
char* read(const Library* caller, const char* name, const char* value) {
  if (!is_own(caller, name, value) && !value) value = default_value(caller, name);
  return const_cast<char*>(value);
}

char* ns_getenv(const char* name) { return read(DEPLOY_CALLER, name, ::getenv(name)); }
// Null, with elevated privileges, for what is set as for what is not.
char* ns_secure_getenv(const char* name) { return ::getauxval(AT_SECURE) ? nullptr : read(DEPLOY_CALLER, name, ::getenv(name)); }

int ns_setenv(const char* name, const char* value, int overwrite) {
  const Library* caller = DEPLOY_CALLER;
  if (overwrite == 0 && name) {
    const char* there = nullptr;
    if (!is_own(caller, name, there)) there = ::getenv(name);
    if (there) return 0;
  }
  return ::setenv(name, value, 1) != 0 ? -1 : note(caller, name, value);
}

int ns_unsetenv(const char* name) {
  const Library* caller = DEPLOY_CALLER;
  if (::unsetenv(name) != 0) return -1;
  return note(caller, name, nullptr);
}

// The C library would keep a pointer to the text: it gets a copy.
int ns_putenv(const char* text) {
  const Library* caller = DEPLOY_CALLER;
  const char* equals = std::strchr(text, '=');
  const std::string name = equals ? std::string(text, static_cast<std::size_t>(equals - text)) : std::string(text);
  const int error = equals ? ::setenv(name.c_str(), equals + 1, 1) : ::unsetenv(name.c_str());
  return error != 0 ? -1 : note(caller, name, equals ? equals + 1 : nullptr);
}

int ns_clearenv() {
  if (const Library* caller = DEPLOY_CALLER) {
    Variables& all = variables();
    const std::lock_guard guard(all.lock);
    const auto own = all.own.find(caller->owner);
    if (own != all.own.end()) own->second.values.clear();
  }
  return ::clearenv();
}

}  // namespace

void end_variables(const NamespaceImpl& space) {
  Variables& all = variables();
  const std::lock_guard guard(all.lock);
  all.own.erase(&space);
}

std::vector<std::pair<std::string_view, void*>> variable_functions() {
  const auto at = [](auto function) { return reinterpret_cast<void*>(function); };
  return {{"getenv", at(ns_getenv)},    {"secure_getenv", at(ns_secure_getenv)}, {"__secure_getenv", at(ns_secure_getenv)},
          {"setenv", at(ns_setenv)},    {"unsetenv", at(ns_unsetenv)},           {"putenv", at(ns_putenv)},
          {"clearenv", at(ns_clearenv)}};
}

}  // namespace deploy::loader
