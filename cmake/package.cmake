# The Debian package, by `cmake --build BUILD --target package`, or `cpack` in the build folder of a complete build.
if(NOT PROJECT_IS_TOP_LEVEL)
  return()
endif()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME sandkey)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_VENDOR "Sandkey maintainers")
set(CPACK_PACKAGE_CONTACT "Sandkey maintainers <sandkey@localhost.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "run the actions of AI agents in isolated sandboxes")
set(CPACK_PACKAGE_DESCRIPTION
"Sandkey holds authenticated connections to the sandboxes AI agents run their
code in, on this machine and in the clouds, and runs actions in them through
one interface.
.
This package has the command line tool, the agent that runs inside a sandbox,
and the C++20 library with its headers and its CMake package.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_VERBATIM_VARIABLES ON)

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)  # sandkey_VERSION_ARCHITECTURE.deb
set(CPACK_DEBIAN_PACKAGE_SECTION devel)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# libcurl is loaded when first used, so nothing shows that it is needed.
set(CPACK_DEBIAN_PACKAGE_DEPENDS "bubblewrap, libcurl4")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "ca-certificates, passt")
# To compile and link with the library.
set(CPACK_DEBIAN_PACKAGE_SUGGESTS
  "libboost1.81-dev, libfmt-dev, libsqlite3-dev, zlib1g-dev")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)

# What is Debian's way and not that of an ordinary installation.
set(CPACK_PRE_BUILD_SCRIPTS ${PROJECT_SOURCE_DIR}/cmake/debian/finish.cmake)
set(CPACK_SANDKEY_SOURCE_DIR ${PROJECT_SOURCE_DIR})

include(CPack)
