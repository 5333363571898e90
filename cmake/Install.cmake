# What `cmake --install` makes: the program, its inputs, the scripts that start it, documents, and the manual page, which the program
# writes itself.
include(GNUInstallDirs)
set(manual ${PROJECT_BINARY_DIR}/generated/llava_rlhf.1)
add_custom_command(OUTPUT ${manual}
  COMMAND ${CMAKE_COMMAND} -E make_directory ${PROJECT_BINARY_DIR}/generated
  COMMAND llava_rlhf --print-manual > ${manual}.new
  COMMAND ${CMAKE_COMMAND} -E rename ${manual}.new ${manual}
  DEPENDS llava_rlhf VERBATIM)
add_custom_target(llava_manual ALL DEPENDS ${manual})
install(TARGETS llava_rlhf)
install(FILES ${manual} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(DIRECTORY inputs jobs DESTINATION ${CMAKE_INSTALL_DATADIR}/llava_rlhf USE_SOURCE_PERMISSIONS)
install(FILES README.md CHANGELOG.md CITATION.cff LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/llava_rlhf)
install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/llava_rlhf)
# Module files that find the program from where they lie, for Lmod and for Environment Modules.
set(module_dir ${CMAKE_INSTALL_DATADIR}/llava_rlhf/modulefiles/llava_rlhf)
install(FILES packaging/modules/llava_rlhf.lua DESTINATION ${module_dir} RENAME ${PROJECT_VERSION}.lua)
install(FILES packaging/modules/llava_rlhf.tcl DESTINATION ${module_dir} RENAME ${PROJECT_VERSION})
