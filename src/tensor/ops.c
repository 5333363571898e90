#include "tensor/ops.h"

static const char *const names[op_count + 1] = {
    [op_gemm] = "gemm",
    [op_linear] = "linear",
    [op_linear_backward] = "linear_backward",
    [op_rmsnorm] = "rmsnorm",
    [op_rmsnorm_backward] = "rmsnorm_backward",
    [op_layernorm] = "layernorm",
    [op_layernorm_backward] = "layernorm_backward",
    [op_activation_backward] = "activation_backward",
    [op_swiglu] = "swiglu",
    [op_swiglu_backward] = "swiglu_backward",
    [op_rotary] = "rotary",
    [op_attention] = "attention",
    [op_attention_backward] = "attention_backward",
    [op_attention_paged] = "attention_paged",
    [op_cache_copy] = "cache_copy",
    [op_decode_begin] = "decode_begin",
    [op_decode_advance] = "decode_advance",
    [op_embedding] = "embedding",
    [op_embedding_backward] = "embedding_backward",
    [op_rows_gather] = "rows_gather",
    [op_rows_scatter] = "rows_scatter",
    [op_add_periodic] = "add_periodic",
    [op_sum_periodic] = "sum_periodic",
    [op_vocab_max] = "vocab_max",
    [op_vocab_statistics] = "vocab_statistics",
    [op_vocab_combine] = "vocab_combine",
    [op_vocab_backward] = "vocab_backward",
    [op_vocab_histogram] = "vocab_histogram",
    [op_vocab_walk] = "vocab_walk",
    [op_policy_loss] = "policy_loss",
    [op_value_loss] = "value_loss",
    [op_pair_loss] = "pair_loss",
    [op_adamw] = "adamw",
    [op_add] = "add",
    [op_copy] = "copy",
    [op_fill_real] = "fill_real",
    [op_fill_wide] = "fill_wide",
    [op_narrow] = "narrow",
    [op_widen] = "widen",
    [op_sum_squares] = "sum_squares",
    [op_count] = "none",
};

const char *op_name(op_number_t number) {
  return names[number];
}

/* The entry of the table that has the type of the arguments, or the error that it is missing. */
#define CALL(name)                                                                                           \
  case op_##name:                                                                                            \
    if (!device->ops->name) break;                                                                           \
    return device->ops->name(device, arguments);

status_t ops_run(device_t *device, int number, const void *arguments) {
  switch ((op_number_t)number) {
    CALL(gemm)
    CALL(linear)
    CALL(linear_backward)
    CALL(rmsnorm)
    CALL(rmsnorm_backward)
    CALL(layernorm)
    CALL(layernorm_backward)
    CALL(activation_backward)
    CALL(swiglu)
    CALL(swiglu_backward)
    CALL(rotary)
    CALL(attention)
    CALL(attention_backward)
    CALL(attention_paged)
    CALL(cache_copy)
    CALL(decode_begin)
    CALL(decode_advance)
    CALL(embedding)
    CALL(embedding_backward)
    CALL(rows_gather)
    CALL(rows_scatter)
    CALL(add_periodic)
    CALL(sum_periodic)
    CALL(vocab_max)
    CALL(vocab_statistics)
    CALL(vocab_combine)
    CALL(vocab_backward)
    CALL(vocab_histogram)
    CALL(vocab_walk)
    CALL(policy_loss)
    CALL(value_loss)
    CALL(pair_loss)
    CALL(adamw)
    CALL(add)
    CALL(copy)
    CALL(fill_real)
    CALL(fill_wide)
    CALL(narrow)
    CALL(widen)
    CALL(sum_squares)
  case op_count:
    break;
  }
  return device_require(device, op_name((op_number_t)number), true);
}
