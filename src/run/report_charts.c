/* Which metrics are drawn together, and what they are called for people. */
#include "run/report_page.h"

#include <string.h>

typedef struct {
  const char *title, *note;
  bool percent;
  const char *names[CHART_LINES_MAX], *labels[CHART_LINES_MAX];
} family_t;

static const family_t behaviour[] = {
    {"Reward",
     "mean over the answers of a step; an answer without an end is penalised",
     false,
     {"objective/rewards"},
     {NULL}},
    {"Distance from the reference",
     "KL divergence summed over an answer, mean over answers",
     false,
     {"objective/kl_sum_seq"},
     {NULL}},
    {"Hallucination",
     "share of answers that claim what the image does not show",
     true,
     {"eval/hallucination", "eval/open_hallucination"},
     {"all questions", "descriptions"}},
    {"Answer length",
     "tokens",
     false,
     {"rollout/response_length", "rollout/response_length_max", "rollout/response_length_min"},
     {"mean", "longest", "shortest"}},
    {"Answers that end", "share that holds its end token", true, {"rollout/stopped"}, {NULL}},
    {"Rating", "by the judge, 0 to 6", false, {"eval/rating"}, {NULL}},
    {"Claims",
     "in the answers, by the judge",
     true,
     {"eval/claims_right", "eval/claims_absent"},
     {"right", "about absent things"}},
    {"Objects named", "share of what the image shows", true, {"eval/recall"}, {NULL}},
    {"Words in an answer", "mean", false, {"eval/words"}, {NULL}},
    {"Bonuses",
     "added to the reward",
     false,
     {"objective/length_bonus", "objective/correct_bonus"},
     {"length", "correct answer"}},
    {"Shaped reward",
     "reward less KL penalty, summed over an answer",
     false,
     {"objective/shaped_rewards", "objective/non_score_rewards"},
     {"all", "without the score"}},
    {"Loss",
     "cross-entropy per learnt token, nats",
     false,
     {"sft/loss", "eval/loss"},
     {"training", "held out"}},
    {"Accuracy",
     "learnt tokens that are the most likely ones",
     true,
     {"sft/accuracy", "eval/accuracy"},
     {"training", "held out"}},
    {"Loss",
     "of the preferred answer against the other",
     false,
     {"rm/loss", "eval/loss"},
     {"training", "held out"}},
    {"Accuracy",
     "pairs whose preferred answer scores higher",
     true,
     {"rm/accuracy", "eval/accuracy"},
     {"training", "held out"}},
    {"Mean score", "of both answers", false, {"rm/mean_score"}, {NULL}},
};

static const family_t updates[] = {
    {"Policy loss",
     "clipped; of the first passes it is nearly the mean advantage, 0",
     false,
     {"ppo/loss/policy"},
     {NULL}},
    {"Value loss",
     "half the larger of clipped and unclipped squared errors",
     false,
     {"ppo/loss/value"},
     {NULL}},
    {"Clipped tokens",
     "share whose change was cut off",
     true,
     {"ppo/policy/clipfrac", "ppo/val/clipfrac"},
     {"policy", "value"}},
    {"Gradient norm",
     "before clipping",
     false,
     {"ppo/loss/grad_norm", "ppo/loss/grad_norm_policy", "ppo/loss/grad_norm_value"},
     {"both", "policy", "value"}},
    {"Change of the policy in a step",
     "half the mean squared change of log-probabilities",
     false,
     {"ppo/policy/approxkl"},
     {NULL}},
    {"Entropy",
     "nats per token",
     false,
     {"objective/entropies", "objective/ref_entropies"},
     {"policy", "reference"}},
    {"Values and returns",
     "means over response tokens",
     false,
     {"ppo/returns/mean", "ppo/val/mean"},
     {"returns", "values"}},
    {"Error of the values", "mean square", false, {"ppo/val/error"}, {NULL}},
    {"Sampler against training forward",
     "largest gap between log-probabilities",
     false,
     {"rollout/logprob_gap"},
     {NULL}},
    {"Gradient norm", "before clipping", false, {"sft/grad_norm"}, {NULL}},
    {"Gradient norm", "before clipping", false, {"rm/grad_norm"}, {NULL}},
    {"Learning rate", "of the optimiser", false, {"objective/lr"}, {NULL}},
    {"Learning rate", "of the optimiser", false, {"sft/lr"}, {NULL}},
    {"Learning rate", "of the optimiser", false, {"rm/lr"}, {NULL}},
    {"Learnt tokens", "of a step", false, {"sft/tokens"}, {NULL}},
    {"Time of a step", "seconds", false, {"step_seconds"}, {NULL}},
};

/* Those of a family's metrics that there are; its first one must be among them. */
static bool find_lines(const report_data_t *data, const family_t *family, chart_t *chart) {
  *chart = (chart_t){.title = family->title, .note = family->note, .percent = family->percent};
  for (int i = 0; i < CHART_LINES_MAX && family->names[i]; i++) {
    series_t *series = report_data_series(data, family->names[i]);
    bool usable = series && !series->shown;
    if (i == 0 && !usable) return false;
    if (!usable) continue;
    series->shown = true;
    chart->labels[chart->count] = family->labels[i] ? family->labels[i] : "";
    chart->lines[chart->count++] = series;
  }
  return true;
}

static void write_section(FILE *file, report_data_t *data, const char *title, const family_t *families,
                          size_t count) {
  bool opened = false;
  for (size_t f = 0; f < count; f++) {
    chart_t chart;
    if (!find_lines(data, &families[f], &chart)) continue;
    if (!opened) fprintf(file, "<section><h2>%s</h2><div class=\"charts\">\n", title);
    opened = true;
    chart_write(file, &chart);
  }
  if (opened) fputs("</div></section>\n", file);
}

/* What no family claims, under its own name. */
static void write_rest(FILE *file, report_data_t *data) {
  bool opened = false;
  for (int32_t i = 0; i < data->series_count; i++) {
    series_t *series = &data->series[i];
    if (series->shown) continue;
    if (!opened) fputs("<section><details><summary>More metrics</summary><div class=\"charts\">\n", file);
    opened = true;
    series->shown = true;
    chart_write(file, &(chart_t){.title = series->name, .count = 1, .lines = {series}});
  }
  if (opened) fputs("</div></details></section>\n", file);
}

void report_charts(FILE *file, report_data_t *data) {
  write_section(file, data, "What changed", behaviour, sizeof behaviour / sizeof *behaviour);
  write_section(file, data, "The updates", updates, sizeof updates / sizeof *updates);
  write_rest(file, data);
}
