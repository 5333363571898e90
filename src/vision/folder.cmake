# A multiplication and an addition fused into one rounding would change weights, and so pixels, of the resampling.
target_compile_options(llava_vision PRIVATE -ffp-contract=off)
