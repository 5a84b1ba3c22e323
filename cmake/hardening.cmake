# What every binary of the project is compiled and linked with against exploits of memory faults. Each flag is taken where the compiler
# or linker knows it:
#
#   full RELRO          -z relro -z now: tables of function addresses are read-only before anything of ours runs
#   no executable stack -z noexecstack
#   stack protector     functions with arrays or addresses of locals check a canary before they return
#   _FORTIFY_SOURCE     the C library's functions check the sizes that the compiler knows; it needs optimisation, and the sanitizers check more
#   CET                 -fcf-protection: indirect calls land on endbr64, and nothing of ours bends return addresses. The linker marks a
#                       library (IBT, SHSTK) if all its parts are marked, the C library's crti.o among them; the parts that are ours are
#
# With -z now nothing is bound late, so calls go through the table itself (-fno-plt), which pays for part of the canaries.
#
# The libpython of the image has flags of its own (third_party/cpython/build.py).
include(CheckCompilerFlag)
include(CheckLinkerFlag)
include(CheckCSourceCompiles)

foreach(flag -fstack-protector-strong -fcf-protection -fno-plt)
  string(MAKE_C_IDENTIFIER "DEPLOY_HAS${flag}" known)
  check_compiler_flag(C ${flag} ${known})
  if(${known})
    add_compile_options(${flag})
  endif()
endforeach()

foreach(flag -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack)
  string(MAKE_C_IDENTIFIER "DEPLOY_HAS${flag}" known)
  check_linker_flag(C ${flag} ${known})
  if(${known})
    add_link_options(${flag})
  endif()
endforeach()

if(NOT DEPLOY_SANITIZE)
  # Level 3 checks sizes that are known at run time only; gcc 12, clang 9 and glibc 2.34 are the first to know it.
  set(CMAKE_REQUIRED_FLAGS "-O2 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3")
  check_c_source_compiles("
    #include <string.h>
    #if !defined(__USE_FORTIFY_LEVEL) || __USE_FORTIFY_LEVEL < 3
    #error the C library does not know level 3
    #endif
    int main(int argc, char** argv) { return (int)__builtin_dynamic_object_size(argv[0], 0) + argc; }" DEPLOY_HAS_FORTIFY_3)
  unset(CMAKE_REQUIRED_FLAGS)
  set(fortify_level 2)
  if(DEPLOY_HAS_FORTIFY_3)
    set(fortify_level 3)
  endif()
  add_compile_options(
    "$<$<AND:$<COMPILE_LANGUAGE:C,CXX>,$<NOT:$<CONFIG:Debug>>>:-U_FORTIFY_SOURCE;-D_FORTIFY_SOURCE=${fortify_level}>")
endif()
