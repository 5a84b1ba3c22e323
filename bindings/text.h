#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace deploy::bindings {

namespace nb = nanobind;

// Python objects that callers pass, as C++ values, and as text for messages. What an object does when it is asked for its text is
// its own affair: it may raise, return something else, or hold surrogates, which UTF-8 does not have.

// For messages: str(object) in UTF-8 with surrogates as escapes; repr(object), cut after some hundred characters; and "module.Name"
// of its type, builtins without their module. None of them raises.
std::string shown(nb::handle object) noexcept;
std::string short_repr(nb::handle object) noexcept;
std::string name_of_type(nb::handle object) noexcept;

// Arguments, which `what` names: kInvalidArgument where an object is of another type, outside the range, or has no UTF-8 form.
std::string_view to_utf8(nb::handle text, std::string_view what);  // lives as long as the object
std::vector<std::string> to_texts(nb::handle list, std::string_view what);
bool to_bool(nb::handle flag, std::string_view what);
std::size_t to_size(nb::handle number, std::string_view what);
std::pair<int, int> to_ints(nb::handle pair, std::string_view what);

// A str, bytes or os.PathLike, as the system has it. Raises TypeError, and ValueError for one with NUL in it.
std::string to_path(nb::handle path, std::string_view what = "path");
// Any number of these.
std::vector<std::string> to_paths(nb::handle list, std::string_view what);

// A parameter of type str. Other types are the caller's TypeError; one without a UTF-8 form fails in utf8(), which names it.
struct Text {
  nb::handle object;
  std::string_view utf8(std::string_view what) const { return to_utf8(object, what); }
};

}  // namespace deploy::bindings

namespace nanobind::detail {

template <>
struct type_caster<deploy::bindings::Text> {
  NB_TYPE_CASTER(deploy::bindings::Text, const_name("str"))

  bool from_python(handle source, uint8_t, cleanup_list*) noexcept {
    value.object = source;
    return PyUnicode_Check(source.ptr());
  }
};

}  // namespace nanobind::detail
