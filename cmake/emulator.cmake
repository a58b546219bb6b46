# sandkey_mount_emulator(NAME): where the provider's folder has an emulator/, builds it, and enters it in the table
# of sandkey-emulator. Its library is sandkey::emulator_NAME, and its header emulator/emulator.h declares
# sandkey::NAME::emulator::kEntry.
set_property(GLOBAL PROPERTY sandkey_emulators "")
function(sandkey_mount_emulator name)
  if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/emulator/CMakeLists.txt)
    add_subdirectory(${name}/emulator)
    set_property(GLOBAL APPEND PROPERTY sandkey_emulators ${name})
  endif()
endfunction()

# sandkey_emulator_table(FILE LIBRARIES): writes the table, and gives the libraries it needs.
function(sandkey_emulator_table file libraries)
  get_property(names GLOBAL PROPERTY sandkey_emulators)
  set(includes "")
  set(entries "")
  set(needed "")
  foreach(name IN LISTS names)
    string(APPEND includes "#include \"sandkey/providers/${name}/emulator/emulator.h\"\n")
    string(APPEND entries "      ${name}::emulator::kEntry,\n")
    list(APPEND needed sandkey::emulator_${name})
  endforeach()
  configure_file(${CMAKE_CURRENT_SOURCE_DIR}/clouds.cpp.in ${file} @ONLY)
  set(${libraries} ${needed} PARENT_SCOPE)
endfunction()
