# The CPython that goes into the image (D4). Sets, in the cache, what lib/interpreter/image builds from:
#   DEPLOY_PYTHON_VERSION        "3.11"
#   DEPLOY_PYTHON_FULL_VERSION   "3.11.2"
#   DEPLOY_PYTHON_LIBRARY        what DEPLOY_EMBEDDED_LIBRARY names, or else libpython3.11-pic.a, or else libpython3.11.so
#   DEPLOY_PYTHON_LIBRARY_IS_SHARED
#   DEPLOY_PYTHON_LINK_LIBRARIES what that archive was linked with: -lz -lexpat -lm -ldl
#   DEPLOY_PYTHON_STDLIB         the folder of the standard library of the same revision, "" for that Python's own
# and the target deploy_python_headers.

set(DEPLOY_EMBEDDED_LIBRARY "" CACHE FILEPATH "A libpython3.X.so of DEPLOY_PYTHON_EXECUTABLE's version to embed instead of that Python's own")

set(deploy_python_query [=[
import os, sys, sysconfig
var = sysconfig.get_config_var
version = "%d.%d" % sys.version_info[:2]
tag = version + (getattr(sys, "abiflags", "") or "")
folders = [f for f in (var("LIBPL"), var("LIBDIR")) if f]
def first(name):
    return next((p for p in (os.path.join(f, name) for f in folders) if os.path.isfile(p)), "")
link = []
for flag in " ".join(filter(None, (var("MODLIBS"), var("LIBS"), var("SYSLIBS")))).split():
    if flag.startswith("-l") and flag not in link:
        link.append(flag)
print(";".join((version, "%d.%d.%d" % sys.version_info[:3], sysconfig.get_path("include"),
                first(f"libpython{tag}-pic.a") or "-", first(f"libpython{tag}.so") or "-", " ".join(link) or "-")))
]=])

# The answer of one Python: version, full version, headers, PIC archive or "-", shared library or "-", link flags.
function(deploy_ask_embeddable variable python)
  execute_process(COMMAND ${python} -I -c "${deploy_python_query}" OUTPUT_VARIABLE answer RESULT_VARIABLE status ERROR_QUIET
                  OUTPUT_STRIP_TRAILING_WHITESPACE)
  list(LENGTH answer count)
  if(NOT status EQUAL 0 OR NOT count EQUAL 6)
    set(answer "")
  endif()
  set(${variable} "${answer}" PARENT_SCOPE)
endfunction()

if(NOT DEPLOY_PYTHON_EXECUTABLE)
  # The distribution's Python first: it is the one that comes with a PIC archive.
  find_program(DEPLOY_PYTHON_EXECUTABLE python3.11 PATHS /usr/bin /usr/local/bin NO_DEFAULT_PATH)
  find_program(DEPLOY_PYTHON_EXECUTABLE python3.11 DOC "The CPython to embed")
endif()
if(NOT DEPLOY_PYTHON_EXECUTABLE)
  message(FATAL_ERROR "No python3.11 to embed: install the packages python3.11 and libpython3.11-dev, or set DEPLOY_PYTHON_EXECUTABLE.")
endif()

deploy_ask_embeddable(deploy_python_answer ${DEPLOY_PYTHON_EXECUTABLE})
if(NOT deploy_python_answer)
  message(FATAL_ERROR "DEPLOY_PYTHON_EXECUTABLE=${DEPLOY_PYTHON_EXECUTABLE} is not a CPython that runs.")
endif()
list(GET deploy_python_answer 0 deploy_python_version)
list(GET deploy_python_answer 1 deploy_python_full_version)
list(GET deploy_python_answer 2 deploy_python_include)
list(GET deploy_python_answer 3 deploy_python_archive)
list(GET deploy_python_answer 4 deploy_python_shared)
list(GET deploy_python_answer 5 deploy_python_link)

if(deploy_python_version VERSION_LESS 3.11)
  message(FATAL_ERROR "${DEPLOY_PYTHON_EXECUTABLE} is Python ${deploy_python_full_version}; the image needs 3.11 or later.")
endif()
if(NOT EXISTS ${deploy_python_include}/Python.h)
  message(FATAL_ERROR "${DEPLOY_PYTHON_EXECUTABLE} has no Python.h in ${deploy_python_include}: install libpython${deploy_python_version}-dev.")
endif()
if(DEPLOY_EMBEDDED_LIBRARY)
  # It is not run to be asked for its version; its name has it.
  if(NOT DEPLOY_EMBEDDED_LIBRARY MATCHES "/libpython${deploy_python_version}[a-z]*\\.so[.0-9]*$" OR NOT EXISTS ${DEPLOY_EMBEDDED_LIBRARY})
    message(FATAL_ERROR "DEPLOY_EMBEDDED_LIBRARY=${DEPLOY_EMBEDDED_LIBRARY} is not the full path of an existing \
libpython${deploy_python_version}.so, which ${DEPLOY_PYTHON_EXECUTABLE} needs.")
  endif()
  set(deploy_python_library ${DEPLOY_EMBEDDED_LIBRARY})
  set(deploy_python_is_shared ON)
  set(deploy_python_link "")
elseif(NOT deploy_python_archive STREQUAL "-")
  set(deploy_python_library ${deploy_python_archive})
  set(deploy_python_is_shared OFF)
  separate_arguments(deploy_python_link UNIX_COMMAND "${deploy_python_link}")
elseif(NOT deploy_python_shared STREQUAL "-")
  set(deploy_python_library ${deploy_python_shared})
  set(deploy_python_is_shared ON)
  set(deploy_python_link "")
  message(STATUS "${DEPLOY_PYTHON_EXECUTABLE} has no libpython${deploy_python_version}-pic.a; the image takes ${deploy_python_shared}")
else()
  message(FATAL_ERROR "${DEPLOY_PYTHON_EXECUTABLE} has neither libpython${deploy_python_version}-pic.a nor libpython${deploy_python_version}.so: \
install libpython${deploy_python_version}-dev, or set DEPLOY_PYTHON_EXECUTABLE to a Python that has one.")
endif()

# One revision (cpython/revision.py says why). Beside a library that cpython/build.py built is the standard library of its revision, where
# that is not the installed one.
set(deploy_python_stdlib "")
if(DEPLOY_EMBEDDED_LIBRARY)
  get_filename_component(deploy_python_beside ${DEPLOY_EMBEDDED_LIBRARY} DIRECTORY)
  if(EXISTS ${deploy_python_beside}/stdlib/os.py)
    set(deploy_python_stdlib ${deploy_python_beside}/stdlib)
  endif()
endif()
set(deploy_python_compared ${deploy_python_stdlib})
if(NOT deploy_python_compared)
  execute_process(COMMAND ${DEPLOY_PYTHON_EXECUTABLE} -I -c "import os; print(os.path.dirname(os.__file__))"
                  OUTPUT_VARIABLE deploy_python_compared OUTPUT_STRIP_TRAILING_WHITESPACE)
endif()
execute_process(COMMAND ${DEPLOY_PYTHON_EXECUTABLE} ${CMAKE_CURRENT_LIST_DIR}/cpython/revision.py ${deploy_python_library} ${deploy_python_compared}
                RESULT_VARIABLE status ERROR_VARIABLE deploy_python_problem ERROR_STRIP_TRAILING_WHITESPACE)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "The image would mix two Pythons: ${deploy_python_problem}. ./dev setup builds a library and a standard library of one \
revision; DEPLOY_EMBEDDED_LIBRARY=\"\" takes ${DEPLOY_PYTHON_EXECUTABLE}'s own.")
endif()

set(DEPLOY_PYTHON_VERSION ${deploy_python_version} CACHE INTERNAL "")
set(DEPLOY_PYTHON_FULL_VERSION ${deploy_python_full_version} CACHE INTERNAL "")
set(DEPLOY_PYTHON_LIBRARY ${deploy_python_library} CACHE INTERNAL "")
set(DEPLOY_PYTHON_LIBRARY_IS_SHARED ${deploy_python_is_shared} CACHE INTERNAL "")
set(DEPLOY_PYTHON_LINK_LIBRARIES "${deploy_python_link}" CACHE INTERNAL "")
set(DEPLOY_PYTHON_STDLIB "${deploy_python_stdlib}" CACHE INTERNAL "")
message(STATUS "Python to embed: ${deploy_python_full_version}, ${deploy_python_library}")

add_library(deploy_python_headers INTERFACE)
target_include_directories(deploy_python_headers SYSTEM INTERFACE ${deploy_python_include})
