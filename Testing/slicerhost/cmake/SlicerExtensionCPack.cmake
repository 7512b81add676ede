# Stand-in: writes the extension's description, which the package carries, and sets up CPack for one archive.

if(NOT EXISTS "${EXTENSION_LICENSE_FILE}")
  message(FATAL_ERROR "EXTENSION_LICENSE_FILE points to a nonexistent file: ${EXTENSION_LICENSE_FILE}")
endif()

set(description_file "${CMAKE_BINARY_DIR}/${EXTENSION_NAME}.s4ext")
file(WRITE "${description_file}"
  "homepage ${EXTENSION_HOMEPAGE}\n"
  "contributors ${EXTENSION_CONTRIBUTORS}\n"
  "description ${EXTENSION_DESCRIPTION}\n"
  "iconurl ${EXTENSION_ICONURL}\n"
  "screenshoturls ${EXTENSION_SCREENSHOTURLS}\n"
  "depends ${EXTENSION_DEPENDS}\n"
  )
install(FILES "${description_file}" DESTINATION "${Slicer_INSTALL_SHARE_DIR}" COMPONENT RuntimeLibraries)

set(CPACK_GENERATOR "TGZ")
set(CPACK_MONOLITHIC_INSTALL ON)
set(CPACK_INCLUDE_TOPLEVEL_DIRECTORY OFF)
set(CPACK_PACKAGE_FILE_NAME "${EXTENSION_NAME}")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${EXTENSION_DESCRIPTION}")
set(CPACK_RESOURCE_FILE_LICENSE "${EXTENSION_LICENSE_FILE}")
include(CPack)
