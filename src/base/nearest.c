#include "base/nearest.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { NAME_MAX_BYTES = 255 };

static int nearest_smallest(int a, int b, int c) {
  int least = a < b ? a : b;
  return least < c ? least : c;
}

static bool same_letter(char a, char b) {
  return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Edit distance with exchanges of neighbours (optimal string alignment), letters without case. */
static int edit_distance(const char *a, size_t n, const char *b, size_t m) {
  int rows[3][NAME_MAX_BYTES + 2];
  int *before = rows[0], *above = rows[1], *current = rows[2];
  for (size_t j = 0; j <= m; j++)
    above[j] = (int)j;
  for (size_t i = 1; i <= n; i++) {
    current[0] = (int)i;
    for (size_t j = 1; j <= m; j++) {
      int change = above[j - 1] + !same_letter(a[i - 1], b[j - 1]);
      current[j] = nearest_smallest(above[j] + 1, current[j - 1] + 1, change);
      bool exchanged = i > 1 && j > 1 && same_letter(a[i - 1], b[j - 2]) && same_letter(a[i - 2], b[j - 1]);
      if (exchanged && before[j - 2] + 1 < current[j]) current[j] = before[j - 2] + 1;
    }
    int *recycled = before;
    before = above;
    above = current;
    current = recycled;
  }
  return above[m];
}

nearest_t nearest_to(const char *wanted) {
  return (nearest_t){.wanted = wanted, .found = NULL, .distance = 0};
}

void nearest_offer(nearest_t *nearest, const char *candidate) {
  size_t n = strlen(nearest->wanted), m = strlen(candidate);
  if (n == 0 || n > NAME_MAX_BYTES || m > NAME_MAX_BYTES) return;
  int allowed = m < 4 ? 1 : m < 7 ? 2 : (int)(m / 3);
  int distance = edit_distance(nearest->wanted, n, candidate, m);
  if (distance > allowed || (nearest->found && distance >= nearest->distance)) return;
  nearest->found = candidate;
  nearest->distance = distance;
}

void nearest_in_list(const char *wanted, const char *list, char *found, size_t size) {
  char name[NAME_MAX_BYTES + 1];
  int least = -1;
  if (size > 0) found[0] = '\0';
  while (*list) {
    size_t length = strcspn(list, "|");
    snprintf(name, sizeof name, "%.*s", (int)length, list);
    nearest_t nearest = nearest_to(wanted);
    nearest_offer(&nearest, name);
    if (nearest.found && (least < 0 || nearest.distance < least)) {
      least = nearest.distance;
      snprintf(found, size, "%s", name);
    }
    list += length + (list[length] == '|');
  }
}
