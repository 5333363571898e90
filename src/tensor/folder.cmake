# Scales and values of NF4 are rounded after the multiplication and again after the addition, wherever they are decoded.
set_source_files_properties(${PROJECT_SOURCE_DIR}/src/tensor/nf4.c PROPERTIES COMPILE_OPTIONS -ffp-contract=off)
