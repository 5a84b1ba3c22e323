# DLPack's one header, dlpack/dlpack.h, out of the pip wheel apache-tvm-ffi. Target: deploy_dlpack. 1.2 is the first version with
# DLPackExchangeAPI.
if(NOT DEPLOY_DLPACK_INCLUDE_DIR)
  deploy_ask_venv(deploy_dlpack_found
    "import importlib.util as u, os; print(os.path.join(u.find_spec('tvm_ffi').submodule_search_locations[0], 'include'))")
  set(DEPLOY_DLPACK_INCLUDE_DIR "${deploy_dlpack_found}" CACHE PATH "Folder of dlpack/dlpack.h, DLPack 1.2 or later" FORCE)
endif()
if(NOT EXISTS ${DEPLOY_DLPACK_INCLUDE_DIR}/dlpack/dlpack.h)
  message(FATAL_ERROR "No dlpack/dlpack.h: run ./dev setup, or pip install apache-tvm-ffi into the environment of \
DEPLOY_VENV_PYTHON=${DEPLOY_VENV_PYTHON}, or set DEPLOY_DLPACK_INCLUDE_DIR.")
endif()
file(STRINGS ${DEPLOY_DLPACK_INCLUDE_DIR}/dlpack/dlpack.h deploy_dlpack_exchange REGEX "DLPackExchangeAPI")
if(NOT deploy_dlpack_exchange)
  message(FATAL_ERROR "${DEPLOY_DLPACK_INCLUDE_DIR}/dlpack/dlpack.h is older than DLPack 1.2 (it has no DLPackExchangeAPI).")
endif()

add_library(deploy_dlpack INTERFACE)
target_include_directories(deploy_dlpack SYSTEM INTERFACE $<BUILD_INTERFACE:${DEPLOY_DLPACK_INCLUDE_DIR}>)
