# The operations are compiled twice from the same sources: in float and in double.
file(GLOB plain_ops CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/tensor/plain/ops/*.c)
foreach(type f32 f64)
  add_library(llava_tensor_plain_${type} OBJECT ${plain_ops})
  target_link_libraries(llava_tensor_plain_${type} PRIVATE llava_tensor)
  target_compile_definitions(llava_tensor_plain_${type} PRIVATE PLAIN_TYPE_${type})
  target_sources(llava_tensor_plain PRIVATE $<TARGET_OBJECTS:llava_tensor_plain_${type}>)
endforeach()
