# sandkey_grpc_module(NAME WANTED PROTOS a.proto...): the module libsandkey-NAME.so, beside the programs, with which
# the provider NAME speaks gRPC (sandkey/net/grpc/module.h). WANTED is ON, OFF, or AUTO for where gRPC is installed;
# the target sandkey-NAME-module is there if it is built.
function(sandkey_grpc_module name wanted)
  cmake_parse_arguments(arg "" "" "PROTOS" ${ARGN})
  if(wanted STREQUAL "AUTO")
    pkg_check_modules(GRPCPP QUIET IMPORTED_TARGET grpc++>=1.51 protobuf>=3.21)
    find_package(Protobuf QUIET)
    if(NOT GRPCPP_FOUND OR NOT Protobuf_PROTOC_EXECUTABLE)
      message(STATUS "${name}: its module is not built, for want of gRPC (Debian: libgrpc++-dev, protobuf-compiler)")
      return()
    endif()
  elseif(wanted)
    pkg_check_modules(GRPCPP REQUIRED IMPORTED_TARGET grpc++>=1.51 protobuf>=3.21)
    find_package(Protobuf REQUIRED)
  else()
    return()
  endif()

  set(wire ${CMAKE_CURRENT_BINARY_DIR}/wire.pb)
  set(protos "")
  foreach(proto IN LISTS arg_PROTOS)
    list(APPEND protos ${CMAKE_CURRENT_SOURCE_DIR}/${proto})
  endforeach()
  list(GET protos 0 first)
  get_filename_component(folder ${first} DIRECTORY)
  add_custom_command(OUTPUT ${wire}
    COMMAND ${Protobuf_PROTOC_EXECUTABLE} -I${folder} --include_imports --descriptor_set_out=${wire} ${protos}
    DEPENDS ${protos} VERBATIM)

  # Compiled anew when the messages change.
  set(source ${PROJECT_SOURCE_DIR}/sandkey/net/grpc/module.cpp)
  set_source_files_properties(${source} PROPERTIES OBJECT_DEPENDS ${wire})
  set(target sandkey-${name}-module)
  add_library(${target} MODULE ${source} ${wire})
  sandkey_own_code(${target})
  set_target_properties(${target} PROPERTIES
    PREFIX lib OUTPUT_NAME sandkey-${name} LIBRARY_OUTPUT_DIRECTORY ${CMAKE_RUNTIME_OUTPUT_DIRECTORY}
    CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  target_compile_definitions(${target} PRIVATE SANDKEY_WIRE_FILE="${wire}")
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${target} PRIVATE PkgConfig::GRPCPP)
  install(TARGETS ${target} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/sandkey)
endfunction()
