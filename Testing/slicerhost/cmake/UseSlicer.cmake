# Stand-in for Slicer's use file: checks the extension's meta-information and defines the macros for its modules.

set(EXTENSION_NAME "${PROJECT_NAME}")

foreach(key IN ITEMS HOMEPAGE CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS)
  if("${EXTENSION_${key}}" STREQUAL "")
    message(FATAL_ERROR "EXTENSION_${key} must be set before Slicer's use file is included")
  endif()
endforeach()

option(BUILD_TESTING "Register the modules' tests" ON)

find_package(Python3 REQUIRED COMPONENTS Interpreter)

include("${CMAKE_CURRENT_LIST_DIR}/PythonModuleMacros.cmake")
