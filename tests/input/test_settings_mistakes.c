#include "base/memory.h"
#include "input/settings_read.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { MISTAKES_MAX = 32 };

typedef struct {
  int line, column;
} expected_t;

/* Reads TEXT and checks that its mistakes stand exactly at EXPECTED (count, any order). */
static void assert_mistakes(const char *text, const expected_t *expected, int count) {
  settings_t settings;
  settings_reader_t reader = settings_reader("test.nml", NULL, &settings);
  assert_int_equal(settings_reader_read(&reader, text, 0), STATUS_OK);
  bool met[MISTAKES_MAX] = {false};
  assert_in_range(count, 0, MISTAKES_MAX);
  for (int i = 0; i < reader.mistakes.count; i++) {
    const mistake_t *mistake = &reader.mistakes.items[i];
    int j = 0;
    while (j < count &&
           (met[j] || mistake->place.line != expected[j].line || mistake->place.column != expected[j].column))
      j++;
    if (j == count)
      fail_msg("not expected: %d:%d: %s", mistake->place.line, mistake->place.column, mistake->text);
    met[j] = true;
  }
  if (reader.mistakes.count != count)
    fail_msg("%d mistakes, expected %d, in: %s", reader.mistakes.count, count, text);
  settings_reader_free(&reader);
  settings_free(&settings);
}

/* What an input needs for the tests of single settings. */
#define PPO "&job task='ppo' run_dir='r' / &model base='b' / &data dataset='d' / &reward model='m' /\n"

static void all_mistakes_are_found_at_once(void **state) {
  (void)state;
  static const char text[] = "loose words\n"                      /* 1:1 outside groups */
                             "&job\n"                             /* */
                             "  task = 'ppo'  run_dir = runs/x\n" /* 3:27 no quotes */
                             "  sed = 4\n"                        /* 4:3 unknown */
                             "  seed = -1\n"                      /* 5:10 out of range */
                             "/\n"                                /* */
                             "&modle base = 'b' /\n"              /* 7:1 unknown group; model.base missing */
                             "&data dataset = 'd' /\n"            /* */
                             "&reward model = 'm'\n"              /* 9:1 no end */
                             "&ppo\n"                             /* */
                             "  clip = 0.1  clip = 0.2\n"         /* 11:15 repeated */
                             "  kl_estimator = 'k9'\n"            /* 12:18 not allowed */
                             "  minibatch = 100\n"                /* 13:3 does not divide rollout.batch */
                             "  gamma = 'one'\n"                  /* 14:11 type */
                             "  lam = 0.1, 0.2\n"                 /* 15:3 count */
                             "/\n"                                /* */
                             "&ppo /\n"                           /* 17:1 repeated group */
                             "&rollout top_p = 0 /\n"             /* 18:18 out of range */
                             "&optim lr = '1e-3\n"                /* 19:13 quote, type; 19:1 no end */
                             "  betas = 0.9";                     /* 20:3 count */
  static const expected_t expected[] = {{1, 1},   {3, 27},  {4, 3},   {5, 10},  {7, 1},  {9, 1},
                                        {11, 15}, {12, 18}, {13, 3},  {14, 11}, {15, 3}, {17, 1},
                                        {18, 18}, {19, 13}, {19, 13}, {19, 1},  {20, 3}, {0, 0}};
  assert_mistakes(text, expected, 18);
}

static void a_right_input_has_none(void **state) {
  (void)state;
  assert_mistakes(PPO, NULL, 0);
}

static void required_settings_are_missed(void **state) {
  (void)state;
  static const expected_t nowhere = {0, 0};
  assert_mistakes("", (expected_t[]){nowhere, nowhere}, 2); /* task, run_dir */
  assert_mistakes("&job task='bench' /", &nowhere, 1);
  assert_mistakes("&job task='sft' run_dir='r' /", (expected_t[]){nowhere, nowhere}, 2); /* base, dataset */
  assert_mistakes("&job task='sft' run_dir='' / &model base='b' / &data dataset='d' /",
                  (expected_t[]){{1, 17}}, 1);
}

/* One mistake each, at the given column of line 2. */
static void single_values_are_checked(void **state) {
  (void)state;
  static const struct {
    const char *line;
    int column;
  } cases[] = {
      {"&adapter r = 1.0 /", 14},
      {"&adapter r = 0 /", 14},
      {"&adapter r = 1e2 /", 14},
      {"&adapter r = 99999999999 /", 14},
      {"&adapter r = 99999999999999999999999 /", 14},
      {"&adapter r = '4' /", 14},
      {"&adapter r = .true. /", 14},
      {"&adapter alpha = inf /", 18},
      {"&adapter alpha = nan /", 18},
      {"&adapter alpha = 0x10 /", 18},
      {"&adapter alpha = 1e999 /", 18},
      {"&adapter alpha = 1..2 /", 18},
      {"&adapter alpha = 0 /", 18},
      {"&adapter targets = 'q_proj', 'q_prj' /", 30},
      {"&adapter targets = 'q_proj', 'q_proj' /", 30},
      {"&adapter targets = q_proj /", 20},
      {"&adapter targets = 'q_proj', '' /", 30},
      {"&ppo whiten_rewards = 1 /", 23},
      {"&ppo whiten_rewards = yes /", 23},
      {"&ppo whiten_rewards = 'T' /", 23},
      {"&ppo kl_coef = -0.1 /", 16},
      {"&ppo gamma = 1.01 /", 14},
      {"&ppo loss_norm = 'Token' /", 18},
      {"&optim betas = 0.9, 1.0 /", 21},
      {"&optim betas = 3*0.9 /", 8},
      {"&optim grad_clip = 1.0 2.0 /", 8},
      {"&optim eps = /", 8},
      {"&rollout top_p = 1.1 /", 18},
      {"&rollout temperature = 0 /", 24},
      {"&rollout slots(1) = 3 /", 15},
      {"&log level = 'verbose' /", 14},
      {"&log trace = 'a\tb' /", 14},
      {"&parallel device = 'gpu' /", 20},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char text[512];
    snprintf(text, sizeof text, PPO "%s", cases[i].line);
    assert_mistakes(text, (expected_t[]){{2, cases[i].column}}, 1);
  }
  assert_mistakes("&job task='bench' run_dir='r' seed = 1.0 /", (expected_t[]){{1, 38}}, 1);
}

/* Settings that do not go together: one mistake, in line 2. */
static void combinations_are_checked(void **state) {
  (void)state;
  static const struct {
    const char *job, *line;
    int column;
  } cases[] = {
      {PPO, "&ppo minibatch = 96 /", 6},
      {PPO, "&rollout batch = 500 /", 10},

      {"&job task='rm' run_dir='r' / &model base='b' / &data dataset='d' /\n", "&rm center_group = 5 /", 5},
      {"&job task='rm' run_dir='r' / &model base='b' train='all' / &data dataset='d' /\n", "", -46},
      {"&job task='sft' run_dir='r' / &model base='b' / &data dataset='d' /\n", "&eval keep_best = T /", 7},
      {"&job task='sft' run_dir='r' / &model base='b' / &data dataset='d' /\n", "&eval patience = 3 /", 7},
      {"&job task='sft' run_dir='r' / &model base='b' / &data dataset='d' /\n",
       "&checkpoint alignment = 12288 /", 13},
      {"&job task='sft' run_dir='r' / &data dataset='d' /\n",
       "&model base='b' from_scratch=T tokenizer='t' /", 17},
      {"&job task='sft' run_dir='r' / &data dataset='d' /\n", "&model from_scratch=T /", 8},
      {"&job task='sft' run_dir='r' / &data dataset='d' /\n",
       "&model from_scratch=T tokenizer='t' hidden=100 heads=8 /", 37},
      {"&job task='sft' run_dir='r' / &data dataset='d' /\n",
       "&model from_scratch=T tokenizer='t' head_size=7 /", 37},
      {"&job task='sft' run_dir='r' / &data dataset='d' /\n",
       "&model from_scratch=T tokenizer='t' kv_heads=5 /", 37},
      {"&job task='sft' run_dir='r' / &data dataset='d' /\n",
       "&model from_scratch=T tokenizer='t' vision_image_size=225 /", 37},
      {"&job task='sft' run_dir='r' / &data dataset='d' /\n",
       "&model from_scratch=T tokenizer='t' vision_hidden=1000 /", 37},
      {"&job task='sft' run_dir='r' / &data dataset='d' /\n",
       "&model from_scratch=T tokenizer='t' vision_feature_layer=-26 /", 37},
      {"&job task='sft' run_dir='r' / &data dataset='d' /\n",
       "&model from_scratch=T tokenizer='t' vision_feature_layer=25 /", 37},
      {"&job task='sft' run_dir='r' / &data dataset='d' / &model from_scratch=T tokenizer='t' mlp=32 "
       "heads=32 /\n",
       "&parallel tp=64 /", -1},
      {"&job task='sft' run_dir='r' / &data dataset='d' / &model from_scratch=T tokenizer='t' heads=24 "
       "kv_heads=6 head_size=64 /\n",
       "&parallel tp=4 /", 11},
      {"&job task='generate' run_dir='r' / &model base='b' /\n", "&generate image='i' dataset='d' /", 11},
      {"&job task='generate' run_dir='r' / &model base='b' /\n", "&generate prompt='p' dataset='d' /", 11},
      {"&job task='generate' run_dir='r' / &model base='b' /\n", "&generate dataset='d' greedy=T samples=2 /",
       32},
      {"&job task='evaluate' run_dir='r' / &model base='b' / &eval dataset='d' judge='shapes' /\n", "", -72},
      {"&job task='prepare' run_dir='r' /\n", "&prepare output='o' /", 0},
      {"&job task='prepare' run_dir='r' /\n", "&prepare output='o' conversations='c' held_out_output='h' /",
       39},
      {"&job task='world' run_dir='r' /\n", "&world objects_min=5 /", 8},
      {"&job task='bench' run_dir='r' /\n", "&bench heads=48 /", 8},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char text[512];
    snprintf(text, sizeof text, "%s%s", cases[i].job, cases[i].line);
    expected_t at = {2, cases[i].column};
    if (cases[i].column == 0) at = (expected_t){0, 0};
    if (cases[i].column < -1) at = (expected_t){1, -cases[i].column};
    if (cases[i].column == -1) /* tp divides neither heads nor MLP */
      assert_mistakes(text, (expected_t[]){{2, 11}, {2, 11}}, 2);
    else
      assert_mistakes(text, &at, 1);
  }
}

/* A setting that is wrong by itself draws no second mistake about how it goes with others. */
static void one_slip_is_one_mistake(void **state) {
  (void)state;
  assert_mistakes(PPO "&ppo minibatch = 0 /", (expected_t[]){{2, 18}}, 1);
  assert_mistakes(PPO "&rollout batch = 'many' /", (expected_t[]){{2, 18}}, 1);
  assert_mistakes("&job task='pppo' run_dir='r' /", (expected_t[]){{1, 11}}, 1);
}

static void overrides_are_checked(void **state) {
  (void)state;
  static const char *const overrides[] = {
      "ppo.kl_coeff=1", "nogroup=1", "ppo.kl_coef", "popo.kl_coef=1", "ppo.kl_coef=", "ppo.gamma=2",
      "ppo.clip=0.1 /", ".=1",       "=",           "job.seed=1 2"};
  settings_t settings;
  settings_reader_t reader = settings_reader("test.nml", overrides, &settings);
  assert_int_equal(settings_reader_read(&reader, PPO, 10), STATUS_OK);
  bool found[11] = {false};
  for (int i = 0; i < reader.mistakes.count; i++) {
    assert_in_range(reader.mistakes.items[i].place.override, 1, 10);
    found[reader.mistakes.items[i].place.override] = true;
  }
  for (int i = 1; i <= 10; i++)
    if (!found[i]) fail_msg("no mistake found in '%s'", overrides[i - 1]);
  settings_reader_free(&reader);
  settings_free(&settings);
}

static void failure_leaves_nothing(void **state) {
  (void)state;
  settings_t settings;
  char *warnings = NULL;
  assert_int_equal(settings_read_text("t", PPO "&ppo clip=-1 /", 0, NULL, &settings, &warnings),
                   STATUS_INPUT);
  assert_null(warnings);
  assert_null(settings.job.task);
  assert_int_equal(memory_usage(ARENA_OTHER).current, 0);
  error_clear();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(all_mistakes_are_found_at_once), cmocka_unit_test(a_right_input_has_none),
      cmocka_unit_test(required_settings_are_missed),   cmocka_unit_test(single_values_are_checked),
      cmocka_unit_test(combinations_are_checked),       cmocka_unit_test(one_slip_is_one_mistake),
      cmocka_unit_test(overrides_are_checked),          cmocka_unit_test(failure_leaves_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
