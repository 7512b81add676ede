# Stand-in: with <Extension>Config.cmake another extension finds this one in its build tree.
file(WRITE "${CMAKE_BINARY_DIR}/${EXTENSION_NAME}Config.cmake"
  "set(${EXTENSION_NAME}_SOURCE_DIR \"${CMAKE_SOURCE_DIR}\")\n"
  )
