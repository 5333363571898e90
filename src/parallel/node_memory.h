/* Memory that there is once on each node: what all ranks know and none changes but one, the same on every
 * node, such as lists as long as a dataset. Where ranks of a node cannot share memory, each has its own. */
#ifndef PARALLEL_NODE_MEMORY_H
#define PARALLEL_NODE_MEMORY_H

#include "parallel/comm.h"

typedef struct node_memory node_memory_t;

/* COUNT * SIZE zeroed bytes, counted in ARENA on the rank of each node that writes. Collective on COMM; NULL:
 * this rank's alone. Free with node_memory_free. Errors, agreed: STATUS_MEMORY; STATUS_COMM. */
status_t node_memory_create(comm_t *comm, arena_t arena, size_t count, size_t size, node_memory_t **out);

/* 64-byte aligned; NULL for 0 bytes. Local. */
void *node_memory_data(const node_memory_t *memory);
/* True on the rank that writes what is there, for all that share it. Local. */
bool node_memory_writes(const node_memory_t *memory);

/* All that share it are here: what was written before is seen by all afterwards, and nobody reads any more
 * what he read before. Collective on the ranks of a node. */
status_t node_memory_meet(node_memory_t *memory);
/* Makes the contents on COMM's rank 0 those of all nodes, for good. Collective on COMM. */
status_t node_memory_settle(node_memory_t *memory);

/* NULL is fine. Collective on COMM, unless it is settled: then local. */
void node_memory_free(node_memory_t *memory);
SCOPED_POINTER(node_memory_free, node_memory_t)

#endif
