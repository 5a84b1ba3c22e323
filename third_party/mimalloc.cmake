# mimalloc: the allocator inside every namespace (lib/loader/heap/heap.h). It goes into the image as the shared library that it is.
find_package(mimalloc 2 QUIET CONFIG)
if(NOT TARGET mimalloc)
  message(FATAL_ERROR "mimalloc 2 was not found (looked for mimalloc-config.cmake); install it with: apt-get install libmimalloc-dev")
endif()
add_library(deploy_mimalloc INTERFACE)
add_library(deploy::mimalloc ALIAS deploy_mimalloc)
target_link_libraries(deploy_mimalloc INTERFACE mimalloc)
