/* What judges read: answers, annotations, words, references, replies of language models. An input is the
 * judge, the form of the answers, and the files one after the other. */
#include "fuzz.h"

#include "base/memory.h"
#include "eval/amber.h"
#include "eval/answer_list.h"
#include "eval/chair.h"
#include "eval/hallusion.h"
#include "eval/llava_bench.h"
#include "eval/mmbench.h"
#include "eval/mmhal.h"
#include "eval/pope.h"
#include "eval/requests.h"
#include "parallel/comm.h"

static const struct {
  status_t (*open)(session_t *session, judge_t *out);
} judges[] = {{pope_open},  {amber_open}, {hallusion_open},  {mmbench_open},
              {chair_open}, {mmhal_open}, {llava_bench_open}};
enum { JUDGES = sizeof judges / sizeof *judges, TABLE = 1 /* the answers are one, not JSON */ };

static session_t session;
static const char *lines, *table, *replies;
static char *annotations[1], *words, *reference;

void fuzz_start(void) {
  FUZZ_EXPECT(comm_init(NULL, NULL, &session.world) == STATUS_OK);
  lines = fuzz_path("answers.jsonl");
  table = fuzz_path("answers.tsv");
  replies = fuzz_path("replies");
  annotations[0] = (char *)fuzz_path("annotations");
  words = (char *)fuzz_path("words");
  reference = (char *)fuzz_path("reference");
}

typedef struct {
  judge_t judge;
  tally_t tally;
} fuzz_judging_t;

static status_t judge_answer(fuzz_judging_t *judging, const answer_t *answer, json_writer_t *writer) {
  judge_t *judge = &judging->judge;
  verdict_t verdict = {0};
  if (judge->judge == NULL) return request_write(judge, answer, "m", writer);
  json_write_object_begin(writer);
  TRY(judge->judge(judge, answer, writer, &verdict));
  json_write_object_end(writer);
  FUZZ_EXPECT(verdict.type == JUDGE_PASSES || verdict.type == 0 || verdict.type < judge->type_count);
  tally_add(&judging->tally, judge, &verdict);
  return STATUS_OK;
}

static status_t visit_answer(void *context, const answer_t *answer) {
  fuzz_judging_t *judging = context;
  SCOPED_MEMORY char *text = NULL;
  json_writer_t *writer;
  if (judging->judge.accept) TRY(judging->judge.accept(&judging->judge, answer));
  TRY(json_writer_create(NULL, &writer));
  status_code_t status = judge_answer(judging, answer, writer);
  if (status == STATUS_OK) return json_writer_finish(writer, &text, NULL);
  json_writer_free(writer);
  return status;
}

static status_t judge_files(fuzz_judging_t *judging, const char *answers) {
  judge_t *judge = &judging->judge;
  int64_t count;
  TRY(answer_list_visit(answers, judge, visit_answer, judging));
  if (judge->finish) TRY(judge->finish(judge, &judging->tally));
  for (int32_t m = 0; m < judge->metric_count; m++)
    tally_metric(&judging->tally, judge, m);
  return judge->hear ? replies_judge(replies, judge, &judging->tally, &count) : STATUS_OK;
}

void fuzz_one(const uint8_t *bytes, size_t n) {
  static fuzz_judging_t judging;
  fuzz_input_t input = {bytes, n};
  char none[] = "", published[] = "published";
  const settings_t settings = {.eval = {.yes_no = published,
                                        .annotations = {annotations, 1},
                                        .synonyms = words,
                                        .reference = reference,
                                        .judge_prompt = none}};
  const size_t number = fuzz_choose(&input, JUDGES);
  const char *answers = fuzz_take(&input, 1) & TABLE ? table : lines;
  fuzz_take_file(&input, answers);
  fuzz_take_file(&input, annotations[0]);
  fuzz_take_file(&input, words);
  fuzz_take_file(&input, reference);
  fuzz_take_file(&input, replies);
  session.settings = &settings;
  judging = (fuzz_judging_t){0};
  status_code_t status = judges[number].open(&session, &judging.judge);
  FUZZ_EXPECT(status == STATUS_OK || status == STATUS_DATA);
  if (status == STATUS_OK) status = judge_files(&judging, answers);
  FUZZ_EXPECT(status == STATUS_OK || status == STATUS_DATA);
  judge_close(&judging.judge);
  error_clear();
}
