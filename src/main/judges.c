#include "main/judges.h"

#include "eval/amber.h"
#include "eval/chair.h"
#include "eval/hallusion.h"
#include "eval/llava_bench.h"
#include "eval/mmbench.h"
#include "eval/mmhal.h"
#include "eval/pope.h"
#include "shapes/shapes_judge.h"

static const judge_entry_t judges[] = {{"shapes", shapes_judge_open}, {"pope", pope_open},
                                       {"amber", amber_open},         {"hallusionbench", hallusion_open},
                                       {"mmbench", mmbench_open},     {"chair", chair_open},
                                       {"mmhal", mmhal_open},         {"llava_bench", llava_bench_open}};

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
