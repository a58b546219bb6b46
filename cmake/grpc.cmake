# sandkey_grpc_module(NAME WANTED PROTOS a.proto...): the module libsandkey-NAME.so, beside the programs, with which
# the provider NAME speaks gRPC (sandkey/net/grpc/module.h). WANTED is ON, OFF, or AUTO for where gRPC is installed;
# the target sandkey-NAME-module is there if it is built.
function(sandkey_grpc_module name wanted)
  cmake_parse_arguments(arg "" "" "PROTOS" ${ARGN})
  if(NOT wanted)
    return()
  endif()
  # Not by pkg-config, which takes half a minute for what gRPC's file asks for.
  find_path(GRPCPP_INCLUDE_DIR grpcpp/generic/generic_stub.h)
  find_library(GRPCPP_LIBRARY grpc++)
  find_library(GRPC_LIBRARY grpc)
  find_library(GPR_LIBRARY gpr)
  find_package(Protobuf 3.21 QUIET)
  if(NOT GRPCPP_INCLUDE_DIR OR NOT GRPCPP_LIBRARY OR NOT GRPC_LIBRARY OR NOT GPR_LIBRARY OR NOT Protobuf_PROTOC_EXECUTABLE)
    set(lacks "its module needs gRPC (Debian: libgrpc++-dev, libprotobuf-dev, protobuf-compiler)")
    if(wanted STREQUAL "AUTO")
      message(STATUS "${name}: ${lacks}, and is not built")
      return()
    endif()
    message(FATAL_ERROR "${name}: ${lacks}")
  endif()
  if(NOT TARGET sandkey_grpcpp)
    add_library(sandkey_grpcpp INTERFACE)
    target_include_directories(sandkey_grpcpp SYSTEM INTERFACE ${GRPCPP_INCLUDE_DIR})
    target_link_libraries(sandkey_grpcpp INTERFACE ${GRPCPP_LIBRARY} ${GRPC_LIBRARY} ${GPR_LIBRARY} protobuf::libprotobuf)
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
    PREFIX lib OUTPUT_NAME sandkey-${name} CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  if(CMAKE_RUNTIME_OUTPUT_DIRECTORY)  # not within somebody else's project
    set_target_properties(${target} PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_RUNTIME_OUTPUT_DIRECTORY})
  endif()
  target_compile_definitions(${target} PRIVATE SANDKEY_WIRE_FILE="${wire}")
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${target} PRIVATE sandkey_grpcpp)
  install(TARGETS ${target} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/sandkey)
endfunction()
