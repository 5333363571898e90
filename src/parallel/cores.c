#define _GNU_SOURCE
#include "parallel/cores.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool core_set_has(const core_set_t *set, int core) {
  return (set->bits[core / 64] >> (core % 64)) & 1;
}

void core_set_add(core_set_t *set, int core) {
  set->bits[core / 64] |= UINT64_C(1) << (core % 64);
}

int core_set_count(const core_set_t *set) {
  int count = 0;
  for (int i = 0; i < CORES_MAX / 64; i++)
    count += __builtin_popcountll(set->bits[i]);
  return count;
}

void core_set_text(const core_set_t *set, char *text, size_t capacity) {
  char range[32];
  text[0] = '\0';
  for (int first = 0; first < CORES_MAX; first++) {
    if (!core_set_has(set, first)) continue;
    int last = first;
    while (last + 1 < CORES_MAX && core_set_has(set, last + 1))
      last++;
    const char *comma = text[0] != '\0' ? "," : "";
    if (last > first) {
      snprintf(range, sizeof range, "%s%d-%d", comma, first, last);
    } else {
      snprintf(range, sizeof range, "%s%d", comma, first);
    }
    if (strlen(text) + strlen(range) + sizeof "..." > capacity) {
      strcat(text, "...");
      return;
    }
    strcat(text, range);
    first = last;
  }
}

/* The lowest hardware thread of the core that CPU belongs to; CPU itself where Linux does not tell. */
static int core_of_cpu(int cpu) {
  char path[96];
  int first = cpu;
  snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
  FILE *file = fopen(path, "r");
  if (file == NULL) return cpu;
  if (fscanf(file, "%d", &first) != 1 || first < 0 || first >= CORES_MAX) first = cpu;
  fclose(file);
  return first;
}

static void cores_add_mask(core_set_t *set, const core_set_t *mask) {
  for (int cpu = 0; cpu < CORES_MAX; cpu++)
    if (core_set_has(mask, cpu)) core_set_add(set, core_of_cpu(cpu));
}

void core_set_of_process(core_set_t *set) {
  core_set_t mask = {{0}};
  memset(set, 0, sizeof *set);
  if (sched_getaffinity(0, sizeof mask, (cpu_set_t *)(void *)&mask) != 0) {
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    for (int cpu = 0; cpu < online && cpu < CORES_MAX; cpu++)
      core_set_add(&mask, cpu);
  }
  cores_add_mask(set, &mask);
}

void core_set_add_thread(core_set_t *set, pthread_t thread) {
  core_set_t mask = {{0}};
  if (pthread_getaffinity_np(thread, sizeof mask, (cpu_set_t *)(void *)&mask) == 0)
    cores_add_mask(set, &mask);
}

static core_set_t remembered;
static bool remembers;

void cores_remember(void) {
  remembers = sched_getaffinity(0, sizeof remembered, (cpu_set_t *)(void *)&remembered) == 0;
}

void cores_restore(void) {
  if (remembers) sched_setaffinity(0, sizeof remembered, (cpu_set_t *)(void *)&remembered);
}

double core_set_share(const core_set_t *sets, int count, int me) {
  double share = 0;
  for (int core = 0; core < CORES_MAX; core++) {
    int holders = 0;
    if (!core_set_has(&sets[me], core)) continue;
    for (int r = 0; r < count; r++)
      holders += core_set_has(&sets[r], core);
    share += 1.0 / holders;
  }
  return share;
}
