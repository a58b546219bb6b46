# The few functions every folder's CMakeLists.txt is written in.

# Warnings we hold our own code to; never inherited by those who link us.
add_library(sandkey_warnings INTERFACE)
target_compile_options(sandkey_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wold-style-cast -Wnon-virtual-dtor
  -Woverloaded-virtual -Wimplicit-fallthrough
  # GCC 12 sees overlaps in std::string concatenation that are not there (GCC bug 105651), and takes the inlined
  # half of Asio's coroutine frame allocation for a mismatch with its other half.
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict -Wno-mismatched-new-delete>)

function(sandkey_use_ccache)
  find_program(CCACHE_PROGRAM ccache)
  if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
    set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE_PROGRAM} PARENT_SCOPE)
    # It keeps nothing that a precompiled header is included in, unless it need not look for macros of theirs.
    set(CMAKE_CXX_COMPILER_LAUNCHER env CCACHE_SLOPPINESS=pch_defines,time_macros ${CCACHE_PROGRAM} PARENT_SCOPE)
  endif()
endfunction()

# Where SANDKEY_PCH is on, what most files include is parsed once for the libraries and once for the tests, which is
# a third of a build's time. Nothing of ours is in it, so our changes do not touch it. Builds with clang, and that
# of the Debian package, do without, and so tell of a file that forgot an #include.
function(sandkey_precompile target)
  cmake_parse_arguments(arg "" "" "HEADERS" ${ARGN})
  add_library(${target} OBJECT ${PROJECT_SOURCE_DIR}/cmake/precompiled.cpp)
  sandkey_own_code(${target})  # some warnings decide what macros there are
  target_compile_definitions(${target} PRIVATE BOOST_ASIO_SEPARATE_COMPILATION)
  target_link_libraries(${target} PRIVATE Boost::headers)
  target_precompile_headers(${target} PRIVATE
    <algorithm> <array> <chrono> <filesystem> <functional> <map> <memory> <mutex> <optional> <string> <string_view>
    <utility> <vector>
    <boost/asio/any_io_executor.hpp> <boost/asio/awaitable.hpp> <boost/asio/co_spawn.hpp>
    <boost/asio/steady_timer.hpp> <boost/asio/use_awaitable.hpp>
    <boost/json/array.hpp> <boost/json/object.hpp> <boost/json/value.hpp> ${arg_HEADERS})
  sandkey_use_precompiled(${target})
endfunction()

function(sandkey_use_precompiled target)
  if(ARGN)
    target_precompile_headers(${target} REUSE_FROM ${ARGN})
  endif()
  target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:
    -fpch-preprocess  # for ccache
    # What was precompiled is no system header to GCC 12 any more, and these see in std::string what is not there.
    -Wno-array-bounds -Wno-stringop-overflow -Wno-stringop-overread>)
endfunction()

# Sanitizers must cover every object, so they are the one global flag.
macro(sandkey_apply_sanitizers)
  if(SANDKEY_SANITIZE)
    add_compile_options(-fsanitize=${SANDKEY_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
    # Clang 14 cannot compile coroutines with UBSan's check of function pointers.
    add_compile_options($<$<CXX_COMPILER_ID:Clang>:-fno-sanitize=function>)
    add_link_options(-fsanitize=${SANDKEY_SANITIZE})
  endif()
endmacro()

function(sandkey_own_code target)
  target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:sandkey_warnings>)
  if(SANDKEY_SANITIZE)
    # GCC takes what its own instrumentation does for uses of uninitialised memory.
    target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  endif()
  if(SANDKEY_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
endfunction()

# sandkey_library(NAME [EXPORTED] HEADERS a.h... SOURCES a.cpp... [DEPS public...] [PRIVATE_DEPS ...])
# A folder's library: target sandkey_NAME, alias sandkey::NAME. EXPORTED ones are installed with their headers.
function(sandkey_library name)
  cmake_parse_arguments(arg "EXPORTED" "" "HEADERS;SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
  set(target sandkey_${name})
  add_library(${target} STATIC ${arg_SOURCES})
  add_library(sandkey::${name} ALIAS ${target})
  sandkey_own_code(${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name} POSITION_INDEPENDENT_CODE ON
                        VERIFY_INTERFACE_HEADER_SETS ON)
  if(SANDKEY_PCH)
    sandkey_use_precompiled(${target} sandkey_precompiled)
  endif()
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_sources(${target} PUBLIC FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR} FILES ${arg_HEADERS})
  target_link_libraries(${target} PUBLIC ${arg_DEPS} PRIVATE ${arg_PRIVATE_DEPS})
  if(arg_EXPORTED)
    install(TARGETS ${target} EXPORT sandkeyTargets
            ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
            FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  endif()
endfunction()

# A program that is compiled more often than it is run.
function(sandkey_test_code target)
  sandkey_own_code(${target})
  if(SANDKEY_PCH)
    sandkey_use_precompiled(${target} sandkey_precompiled_tests)
    target_compile_options(${target} PRIVATE -O0)
  endif()
endfunction()

# sandkey_test(NAME SOURCES ... DEPS ... [LABELS ...]): one GoogleTest program, run by ctest as NAME.
function(sandkey_test name)
  if(NOT SANDKEY_TESTS)
    return()
  endif()
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS;LABELS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  sandkey_test_code(${name})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${arg_DEPS} GTest::gmock GTest::gtest_main)
  if(NOT arg_LABELS)
    set(arg_LABELS unit)
  endif()
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${arg_LABELS}" TIMEOUT 120)
endfunction()

# sandkey_fuzzer(NAME SOURCE DEPS ...): a libFuzzer target where SANDKEY_FUZZ is on; everywhere else the same
# source is linked with a plain main that replays the committed corpus under ctest, so no compiler goes without.
function(sandkey_fuzzer name source)
  cmake_parse_arguments(arg "" "" "DEPS" ${ARGN})
  set(corpus ${PROJECT_SOURCE_DIR}/fuzz/corpus/${name})
  add_executable(${name} ${source})
  sandkey_own_code(${name})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${arg_DEPS})
  if(SANDKEY_FUZZ)
    # The fuzzer's own source, and those of its libraries that name themselves (Clang 14 cannot instrument every
    # coroutine): without any coverage libFuzzer refuses to run.
    target_compile_options(${name} PRIVATE -fsanitize=fuzzer-no-link)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    add_test(NAME ${name} COMMAND ${PROJECT_SOURCE_DIR}/scripts/fuzz-briefly $<TARGET_FILE:${name}> ${corpus})
    set_tests_properties(${name} PROPERTIES LABELS fuzz TIMEOUT 300)
  else()
    target_sources(${name} PRIVATE ${PROJECT_SOURCE_DIR}/fuzz/replay_main.cpp)
    add_test(NAME ${name} COMMAND ${name} ${corpus})
    set_tests_properties(${name} PROPERTIES LABELS unit TIMEOUT 120)
  endif()
endfunction()
