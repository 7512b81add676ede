# The macros with which a scripted module is built, installed and tested, with Slicer's and CTK's argument names.

# Stop with a message that names `caller` when ARGN holds words that the macro does not know.
function(_reject_unknown_arguments caller)
  if(NOT "${ARGN}" STREQUAL "")
    message(FATAL_ERROR "${caller}() was given unknown arguments: ${ARGN}")
  endif()
endfunction()

# Copy one file from `source_folder` to `destination_folder` at build time, and append the copy to `copies`.
macro(_copy_at_build_time caller source_folder file destination_folder)
  if(IS_ABSOLUTE "${file}")
    message(FATAL_ERROR "${caller}() was given the absolute path '${file}': list files relative to the module")
  endif()
  if(NOT EXISTS "${source_folder}/${file}")
    message(FATAL_ERROR "${caller}() was given the nonexistent file '${file}'")
  endif()
  if(IS_DIRECTORY "${source_folder}/${file}")
    message(FATAL_ERROR "${caller}() was given the folder '${file}': list its files one by one")
  endif()
  add_custom_command(
    OUTPUT "${destination_folder}/${file}"
    COMMAND "${CMAKE_COMMAND}" -E copy "${source_folder}/${file}" "${destination_folder}/${file}"
    DEPENDS "${source_folder}/${file}"
    VERBATIM
    )
  list(APPEND copies "${destination_folder}/${file}")
endmacro()

# Copy Python files and their resources into the build tree, byte-compile the Python files, and install the folder.
# As in CTK, everything below DESTINATION_DIR is installed, and NO_INSTALL_SUBDIR leaves out the folder's own name.
function(ctkMacroCompilePythonScript)
  cmake_parse_arguments(MY
    "NO_INSTALL_SUBDIR;GLOBAL_TARGET"
    "TARGET_NAME;SOURCE_DIR;DESTINATION_DIR;INSTALL_DIR"
    "SCRIPTS;RESOURCES"
    ${ARGN}
    )
  _reject_unknown_arguments(ctkMacroCompilePythonScript ${MY_UNPARSED_ARGUMENTS})
  foreach(name IN ITEMS TARGET_NAME SCRIPTS DESTINATION_DIR INSTALL_DIR)
    if("${MY_${name}}" STREQUAL "")
      message(FATAL_ERROR "ctkMacroCompilePythonScript() needs ${name}")
    endif()
  endforeach()
  if(NOT MY_SOURCE_DIR)
    set(MY_SOURCE_DIR "${CMAKE_CURRENT_SOURCE_DIR}")
  endif()

  set(copies)
  foreach(script IN LISTS MY_SCRIPTS)
    if(NOT script MATCHES "\\.py$")
      string(APPEND script ".py")
    endif()
    _copy_at_build_time(ctkMacroCompilePythonScript "${MY_SOURCE_DIR}" "${script}" "${MY_DESTINATION_DIR}")
  endforeach()
  set(script_copies ${copies})
  foreach(resource IN LISTS MY_RESOURCES)
    _copy_at_build_time(ctkMacroCompilePythonScript "${MY_SOURCE_DIR}" "${resource}" "${MY_DESTINATION_DIR}")
  endforeach()

  add_custom_target(Copy${MY_TARGET_NAME}PythonFiles ALL DEPENDS ${copies})
  add_custom_target(Compile${MY_TARGET_NAME}PythonFiles ALL
    COMMAND "${Python3_EXECUTABLE}" -m py_compile ${script_copies}
    DEPENDS ${script_copies}
    VERBATIM
    )

  set(folder_to_install "${MY_DESTINATION_DIR}")
  if(MY_NO_INSTALL_SUBDIR)
    string(APPEND folder_to_install "/") # a trailing slash installs the content instead of the folder
  endif()
  install(DIRECTORY "${folder_to_install}" DESTINATION "${MY_INSTALL_DIR}" COMPONENT RuntimeLibraries)
endfunction()

# Build a scripted module: copy, byte-compile and install its files, and register its generic tests.
function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MY
    "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE"
    "NAME"
    "SCRIPTS;RESOURCES"
    ${ARGN}
    )
  _reject_unknown_arguments(slicerMacroBuildScriptedModule ${MY_UNPARSED_ARGUMENTS})
  if("${MY_NAME}" STREQUAL "")
    message(FATAL_ERROR "slicerMacroBuildScriptedModule() needs NAME")
  endif()
  if(NOT "${MY_NAME}.py" IN_LIST MY_SCRIPTS AND NOT "${MY_NAME}" IN_LIST MY_SCRIPTS)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule() needs ${MY_NAME}.py among SCRIPTS to load ${MY_NAME}")
  endif()
  if(MY_WITH_SUBDIR)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule(WITH_SUBDIR) is not imitated here")
  endif()

  ctkMacroCompilePythonScript(
    TARGET_NAME ${MY_NAME}
    SCRIPTS ${MY_SCRIPTS}
    RESOURCES ${MY_RESOURCES}
    DESTINATION_DIR "${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}"
    INSTALL_DIR "${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}"
    NO_INSTALL_SUBDIR
    )
  if(BUILD_TESTING AND MY_WITH_GENERIC_TESTS)
    _register_python_test("nomainwindow_qSlicer${MY_NAME}ModuleGenericTest")
  endif()
endfunction()

# Record a test's name in python_tests.txt. Slicer would register it with CTest; running it needs the application.
function(_register_python_test name)
  file(APPEND "${CMAKE_BINARY_DIR}/python_tests.txt" "py_${name}\n")
endfunction()

# Register the unit tests in one Python file.
function(slicer_add_python_unittest)
  cmake_parse_arguments(MY "" "TESTNAME_PREFIX;SCRIPT" "SLICER_ARGS" ${ARGN})
  _reject_unknown_arguments(slicer_add_python_unittest ${MY_UNPARSED_ARGUMENTS})
  if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${MY_SCRIPT}")
    message(FATAL_ERROR "slicer_add_python_unittest() was given the nonexistent file '${MY_SCRIPT}'")
  endif()
  get_filename_component(test_name "${MY_SCRIPT}" NAME_WE)
  _register_python_test("${MY_TESTNAME_PREFIX}${test_name}")
endfunction()
