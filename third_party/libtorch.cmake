# libtorch, for what uses deploy/torch.h: examples and tests. Never for libdeploy itself (D2). Target: deploy_torch, where the environment has
# torch. The wheel's own TorchConfig.cmake is not used: it adds flags and languages to whoever includes it.
if(NOT DEPLOY_TORCH_DIR)
  deploy_ask_venv(deploy_torch_found "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])")
  set(DEPLOY_TORCH_DIR "${deploy_torch_found}" CACHE PATH "Folder of the installed torch package (optional)" FORCE)
endif()
if(EXISTS ${DEPLOY_TORCH_DIR}/lib/libtorch.so AND EXISTS ${DEPLOY_TORCH_DIR}/include/ATen/ATen.h)
  add_library(deploy_torch INTERFACE IMPORTED GLOBAL)
  target_include_directories(deploy_torch SYSTEM INTERFACE
    ${DEPLOY_TORCH_DIR}/include ${DEPLOY_TORCH_DIR}/include/torch/csrc/api/include)
  target_compile_definitions(deploy_torch INTERFACE _GLIBCXX_USE_CXX11_ABI=1)
  # Backends register themselves when they are loaded, so they must be needed although no symbol of theirs is used.
  target_link_options(deploy_torch INTERFACE -Wl,--no-as-needed)
  foreach(library torch torch_cpu torch_cuda c10 c10_cuda)
    if(EXISTS ${DEPLOY_TORCH_DIR}/lib/lib${library}.so)
      target_link_libraries(deploy_torch INTERFACE ${DEPLOY_TORCH_DIR}/lib/lib${library}.so)
    endif()
  endforeach()
  message(STATUS "libtorch: ${DEPLOY_TORCH_DIR}")
else()
  message(STATUS "No torch in the environment of DEPLOY_VENV_PYTHON: what needs libtorch is not built")
endif()
