# googletest, of the distribution. Targets: GTest::gtest, GTest::gtest_main, GTest::gmock.
find_package(GTest QUIET)
if(NOT GTest_FOUND)
  message(FATAL_ERROR "No googletest: install the packages libgtest-dev and libgmock-dev, or set DEPLOY_BUILD_TESTS=OFF.")
endif()
