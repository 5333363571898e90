#include "main/judges.h"

#include "shapes/shapes_judge.h"

static const judge_entry_t judges[] = {{"shapes", shapes_judge_open}};

const judge_entry_t *judges_table(int32_t *count) {
  *count = (int32_t)(sizeof judges / sizeof *judges);
  return judges;
}

status_t judges_check(const settings_t *settings) {
  const judge_entry_t *judge;
  int32_t count;
  const judge_entry_t *all = judges_table(&count);
  return judge_choose(settings, all, count, &judge);
}
