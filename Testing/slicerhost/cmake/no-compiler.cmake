# Toolchain file for a machine that has no compiler.
#
# Slicer's own packages need C and C++, so an extension's project() enables both languages although this extension
# has nothing to compile. Here CMake itself is named as the compiler and all questions to it are answered
# beforehand: configuring works, and compiling anything would fail.

foreach(language IN ITEMS C CXX)
  set(CMAKE_${language}_COMPILER "${CMAKE_COMMAND}")
  set(CMAKE_${language}_COMPILER_FORCED TRUE) # no trial compilation
  set(CMAKE_${language}_COMPILER_ID_RUN TRUE) # no identification either
  set(CMAKE_${language}_COMPILER_ID "None")
endforeach()
