# The report's page is part of the program: no file is needed when it runs.
set(report_template ${PROJECT_BINARY_DIR}/generated/report_template.c)
add_custom_command(OUTPUT ${report_template}
  COMMAND ${CMAKE_COMMAND} -DFILE=${PROJECT_SOURCE_DIR}/src/record/report.html -DOUT=${report_template} -DNAME=report_template
          -DHEADER=record/report_template.h -P ${PROJECT_SOURCE_DIR}/cmake/Embed.cmake
  DEPENDS ${PROJECT_SOURCE_DIR}/src/record/report.html ${PROJECT_SOURCE_DIR}/cmake/Embed.cmake)
target_sources(llava_record PRIVATE ${report_template})
