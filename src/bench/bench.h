/* Task bench: how fast this machine trains and decodes, beside its measured peaks. */
#ifndef TRAIN_BENCH_H
#define TRAIN_BENCH_H

#include "session/session.h"

/* Makes a random decoder of settings.bench and measures training of all weights, training of adapters,
 * prefill and decoding: the fastest of bench.repetitions, and once more operation by operation. Logs tables
 * and writes bench.json. Every dp group works on sequences of its own. Collective on the grid's world. */
status_t bench_run(session_t *session);

#endif
