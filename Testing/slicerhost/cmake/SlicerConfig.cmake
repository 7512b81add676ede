# A small stand-in for the package which find_package(Slicer) finds, for extensions of scripted modules.
#
# It defines the variables, macros and folders that this extension's CMakeLists.txt files use, under Slicer's names, and
# is stricter where Slicer lets a mistake pass: an unknown argument, a listed file that does not exist and a listed
# folder are errors at configure time. Point Slicer_DIR to this folder to use it.

set(Slicer_FOUND TRUE)
set(Slicer_VERSION "5.13.0")
set(Slicer_USE_PYTHONQT TRUE)

set(Slicer_QTSCRIPTEDMODULES_LIB_DIR "lib/Slicer-5.13/qt-scripted-modules")
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR "./${Slicer_QTSCRIPTEDMODULES_LIB_DIR}")
set(Slicer_INSTALL_SHARE_DIR "./share/Slicer-5.13")

set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/SlicerExtensionGenerateConfig.cmake")
set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/SlicerExtensionCPack.cmake")
