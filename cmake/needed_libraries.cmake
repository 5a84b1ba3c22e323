# Which libraries of the system other libraries need: what the image needs is nothing that the linker sees, for libdeploy holds it as data.

# Sonames that the files name as DT_NEEDED, apart from glibc's own and libpython.
function(deploy_needed_by variable)
  set(names "")
  foreach(file ${ARGN})
    execute_process(COMMAND ${CMAKE_READELF} -dW ${file} OUTPUT_VARIABLE entries ERROR_QUIET COMMAND_ERROR_IS_FATAL ANY)
    string(REGEX MATCHALL "\\(NEEDED\\)[^\n]*\\[[^]\n]+\\]" entries "${entries}")
    list(TRANSFORM entries REPLACE ".*\\[(.*)\\]" "\\1")
    list(APPEND names ${entries})
  endforeach()
  list(REMOVE_DUPLICATES names)
  list(FILTER names EXCLUDE REGEX "^(lib(c|m|dl|rt|pthread|util|python[0-9.a-z]*)\\.so|ld-linux)")
  list(SORT names)
  set(${variable} "${names}" PARENT_SCOPE)
endfunction()

# deploy_link_always(TARGET file-name...): DT_NEEDED entries of the target, though it refers to no symbol of theirs. One that is not where the linker looks is left out.
function(deploy_link_always target)
  set(files "")
  foreach(name ${ARGN})
    execute_process(COMMAND ${CMAKE_C_COMPILER} -print-file-name=${name} OUTPUT_VARIABLE file OUTPUT_STRIP_TRAILING_WHITESPACE)
    if(IS_ABSOLUTE "${file}")
      list(APPEND files ${file})
    else()
      message(STATUS "${name}, which the image needs, is not where the linker looks: ${target} does not name it")
    endif()
  endforeach()
  list(JOIN files " " files)
  target_link_options(${target} PRIVATE "SHELL:-Wl,--push-state,--no-as-needed ${files} -Wl,--pop-state")
endfunction()

# A note for package tools (section .note.dlopen, the UAPI group's "ELF dlopen metadata"): the module needs these libraries once it is
# imported, and is not there without them. Appends assembler to `variable`.
function(deploy_append_dlopen_note variable module)
  list(JOIN ARGN "\\\",\\\"" names)
  set(text "[{\\\"soname\\\":[\\\"${names}\\\"],\\\"feature\\\":\\\"python-${module}\\\",\\\"description\\\":\\\"Python module ${module}\\\",\\\"priority\\\":\\\"suggested\\\"}]")
  set(${variable} "${${variable}}
        .long   4, 2f - 1f, 0x407c0c0a
        .asciz  \"FDO\"
1:      .asciz  \"${text}\"
2:      .balign 4
" PARENT_SCOPE)
endfunction()
