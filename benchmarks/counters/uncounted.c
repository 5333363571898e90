/* Counters that count nothing. What looks at them finds an empty table. */
#include "perf/perf.h"
#include "tensor/op_cost.h"

void __wrap_perf_begin(region_t region);
void __wrap_perf_end(region_t region);
void __wrap_perf_flops(double flops);
void __wrap_perf_bytes(double bytes);
void __wrap_perf_tokens(double tokens);
void __wrap_perf_comm(double bytes, double seconds);
void __wrap_perf_comm_since(const char *call, double bytes, double begin);
void __wrap_perf_background(double seconds, double exposed);
void __wrap_perf_thread(region_t region, double seconds, double bytes);
op_cost_t __wrap_op_cost(const device_t *device, op_number_t number, const void *arguments);

void __wrap_perf_begin(region_t region) {
  (void)region;
}

void __wrap_perf_end(region_t region) {
  (void)region;
}

void __wrap_perf_flops(double flops) {
  (void)flops;
}

void __wrap_perf_bytes(double bytes) {
  (void)bytes;
}

void __wrap_perf_tokens(double tokens) {
  (void)tokens;
}

void __wrap_perf_comm(double bytes, double seconds) {
  (void)bytes, (void)seconds;
}

void __wrap_perf_comm_since(const char *call, double bytes, double begin) {
  (void)call, (void)bytes, (void)begin;
}

void __wrap_perf_background(double seconds, double exposed) {
  (void)seconds, (void)exposed;
}

void __wrap_perf_thread(region_t region, double seconds, double bytes) {
  (void)region, (void)seconds, (void)bytes;
}

op_cost_t __wrap_op_cost(const device_t *device, op_number_t number, const void *arguments) {
  (void)device, (void)number, (void)arguments;
  return (op_cost_t){0};
}
