# `cmake --install`: headers, libdeploy (the interpreter image is inside it) and what find_package(deploy) reads.
include(CMakePackageConfigHelpers)

install(TARGETS deploy EXPORT deployTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/deploy DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")

set(deploy_config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/deploy)
install(EXPORT deployTargets NAMESPACE deploy:: DESTINATION ${deploy_config_dir})
configure_package_config_file(cmake/deployConfig.cmake.in ${CMAKE_BINARY_DIR}/deployConfig.cmake INSTALL_DESTINATION ${deploy_config_dir})
# Before 1.0 a minor version may change the API.
write_basic_package_version_file(${CMAKE_BINARY_DIR}/deployConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/deployConfig.cmake ${CMAKE_BINARY_DIR}/deployConfigVersion.cmake DESTINATION ${deploy_config_dir})
