# Installation: the EXPORTED libraries with their headers, the programs, and the package that find_package(sandkey)
# reads.
include(CMakePackageConfigHelpers)

set(sandkey_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/sandkey)

foreach(program sandkey sandkey-agent)
  if(TARGET ${program})
    install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
endforeach()

configure_package_config_file(
  ${PROJECT_SOURCE_DIR}/cmake/sandkeyConfig.cmake.in ${PROJECT_BINARY_DIR}/sandkeyConfig.cmake
  INSTALL_DESTINATION ${sandkey_package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/sandkeyConfigVersion.cmake
  VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/sandkeyConfig.cmake ${PROJECT_BINARY_DIR}/sandkeyConfigVersion.cmake
  DESTINATION ${sandkey_package_dir})
install(EXPORT sandkeyTargets NAMESPACE sandkey:: DESTINATION ${sandkey_package_dir})
