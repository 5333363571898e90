# The operations are compiled twice from the same sources: in float and in double.
file(GLOB plain_ops CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/tensor/plain/ops/*.c)
foreach(type f32 f64)
  add_library(tensor_plain_${type} OBJECT ${plain_ops})
  target_link_libraries(tensor_plain_${type} PRIVATE tensor)
  target_compile_definitions(tensor_plain_${type} PRIVATE PLAIN_TYPE_${type})
  target_sources(tensor_plain PRIVATE $<TARGET_OBJECTS:tensor_plain_${type}>)
endforeach()
