/* A run's settings: one sub-struct per namelist group, one field per setting. Names, types, defaults, ranges
 * and texts stand in ONE table (settings_table.c); a new setting is a field here and a row there. Texts are
 * never NULL ("" where not given). */
#ifndef INPUT_SETTINGS_H
#define INPUT_SETTINGS_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef enum {
  TASK_WORLD,
  TASK_PREPARE,
  TASK_IMPORT,
  TASK_EXPORT,
  TASK_PRETRAIN,
  TASK_SFT,
  TASK_RM,
  TASK_PPO,
  TASK_GENERATE,
  TASK_ANNOTATE,
  TASK_SCORE,
  TASK_EVALUATE,
  TASK_BENCH,
  TASK_COUNT
} task_t;

/* A list of texts; an empty list has count 0. */
typedef struct {
  char **items; /* (count) */
  int64_t count;
} text_list_t;

typedef struct {
  struct {
    char *task;
    char *run_dir;
    int64_t seed;
    char *restart; /* "auto", "never" or a path */
    double max_seconds;
    bool deterministic;
  } job;
  struct {
    int64_t tp;
    int64_t threads;
    char *device;
    char *dtype;
    char *simd;
    bool check;
    bool batch_invariant;
    char *attention;
    double timeout;
    double gpu_memory;
  } parallel;
  struct {
    double peak;
    double memory;
    double reached;
    double memory_reached;
    int64_t node;
    double latency;
    double bandwidth;
    double network_latency;
    double network_bandwidth;
    double sample_time;
    int64_t ranks;
  } machine;
  struct {
    char *base;
    char *adapter;
    char *template;
    char *train;
    char *base_format;
    char *recompute;
    bool from_scratch;
    bool random;
    bool tied;
    char *tokenizer;
    int64_t hidden;
    int64_t layers;
    int64_t heads;
    int64_t kv_heads;  /* 0: as heads */
    int64_t head_size; /* 0: hidden / heads */
    int64_t mlp;
    int64_t vocab; /* 0: the tokenizer's pieces */
    double rope_base;
    double norm_eps;
    int64_t vision_hidden;
    int64_t vision_layers;
    int64_t vision_heads;
    int64_t vision_mlp;
    int64_t vision_patch;
    int64_t vision_image_size;
    int64_t vision_feature_layer;
    double vision_norm_eps;
    char *projector;
  } model;
  struct {
    int64_t r;
    double alpha;
    text_list_t targets;
  } adapter;
  struct {
    char *dataset;
    int64_t max_len;
    int64_t query_len;
    char *bad_sample;
    int64_t limit; /* 0: all */
    int64_t workers;
    int64_t prefetch;
  } data;
  struct {
    char *aspect;
  } image;
  struct {
    char *conversations;
    int64_t conversations_limit; /* 0: all; so for the others */
    char *preferences;
    int64_t preferences_limit;
    char *image_prefix;
    char *vqa_questions;
    char *vqa_annotations;
    int64_t vqa_limit;
    char *choices;
    int64_t choices_limit;
    bool choices_rationale;
    char *captions;
    int64_t captions_limit;
    char *coco_prefix;
    char *flickr;
    int64_t flickr_limit;
    char *flickr_prefix;
    char *dataset;
    int64_t dataset_limit;
    char *scores;
    double keep;
    char *facts;
    char *caption_facts;
    int64_t facts_per_image;
    text_list_t apart_from;
    text_list_t apart_sources;
    char *image_folder;
    char *output;
    int64_t held_out;
    char *held_out_by;
    char *held_out_output;
    int64_t workers;
  } prepare;
  struct {
    char *weights;
    char *vision_tower;
    char *projector;
    char *tokenizer;
    char *adapter;
    char *head;
    char *role;
    char *new_projector;
    char *dtype;
    bool outline;
    char *output;
  } import;
  struct {
    char *output;
    char *naming;
    bool merge;
    int64_t shard_size;
    char *dtype;
    char *base_name;
  } export;
  struct {
    int64_t center_group;
    double center_coef;
    bool facts;
    char *prompt_file;
  } rm;
  struct {
    char *model;
    char *base_format;
    bool facts;
    char *prompt_file;
    bool allow_mismatch;
    double correct_bonus;
    double length_bonus;
    double no_stop_penalty;
    bool relative_penalty;
    double bias;
  } reward;
  struct {
    int64_t batch;
    int64_t response_len;
    double temperature;
    double top_p;
    int64_t top_k; /* 0: all */
    bool stop_at_question;
    int64_t slots; /* 0: as many as the samples of a dp group, at most 64 */
    int64_t page;
    double cache_fraction;
  } rollout;
  struct {
    int64_t epochs;
    int64_t steps; /* 0: from epochs */
    int64_t inner_epochs;
    int64_t minibatch;
    double kl_coef;
    char *kl_estimator;
    double gamma;
    double lam;
    double clip;
    double clip_value;
    double vf_coef;
    bool whiten_rewards;
    double reward_scale;
    char *loss_norm;
    char *old_logprob;
    double max_kl; /* 0: none */
  } ppo;
  struct {
    double lr;
    char *schedule;
    int64_t warmup_steps;
    double warmup_ratio;
    bool warmup_from_zero;
    double weight_decay;
    double betas[2];
    double eps;
    double grad_clip; /* 0: none */
    int64_t batch;
    int64_t micro_tokens;
    int64_t epochs;
    int64_t steps; /* 0: from epochs */
  } optim;
  struct {
    char *dataset;
    int64_t every; /* 0: never */
    bool keep_best;
    int64_t patience; /* 0: no early stopping */
    char *judge;
    char *scenes;
    char *yes_no;
    text_list_t annotations;
    char *synonyms;
    char *reference;
    char *judge_prompt;
    char *judge_model;
    text_list_t models;
    text_list_t answers;
    char *pope;
    char *pope_suffix;
    char *image_folder;
    text_list_t replies;
    int64_t limit; /* 0: all */
  } eval;
  struct {
    int64_t every; /* 0: only the result */
    int64_t keep;  /* 0: all */
    double behind;
    int64_t alignment;
    bool direct;
  } checkpoint;
  struct {
    int64_t every;
    int64_t rollouts; /* 0: never */
    int64_t samples;
    int64_t report_every; /* seconds; 0: only at the end */
    bool tensorboard;
    bool trace;
    text_list_t hardware;
    char *level;
  } log;
  struct {
    char *image;
    char *prompt;
    char *dataset;
    char *image_folder;
    char *output;
    char *format;
    char *suffix;
    bool circular;
    bool letters;
    int64_t samples;
    int64_t max_tokens;
    double temperature;
    double top_p;
    int64_t top_k; /* 0: all */
    bool greedy;
    bool stop_at_question;
    bool logprobs;
  } generate;
  struct {
    char *pairs;
    char *output;
    char *scenes;
    double label_noise;
  } annotate;
  struct {
    char *dir;
    int64_t seed;
    int64_t image_size;
    int64_t jpeg_quality;
    int64_t objects_min;
    int64_t objects_max;
    int64_t turns;
    double bias;
    int64_t vocab;
    int64_t pretrain_images;
    int64_t sft_images;
    int64_t pair_images;
    int64_t policy_init_images;
    int64_t ppo_images;
    int64_t ppo_held_out;
    int64_t eval_images;
    bool datasets;
  } world;
  struct {
    int64_t hidden;
    int64_t layers;
    int64_t heads;
    int64_t mlp;
    int64_t vocab;
    int64_t sequences;
    int64_t length;
    int64_t decode_sequences;
    int64_t decode_length;
    int64_t decode_tokens;
    int64_t repetitions;
    text_list_t cases;
  } bench;
} settings_t;

/* Reads the input file PATH, applies OVERRIDES (n_overrides texts "group.name=value"; the last wins) and
 * checks all of it. Every mistake is found before it returns: the error's message lists each with file, line,
 * column and what was expected. *WARNINGS (may be NULL) becomes a text of one line per warning, "" if none,
 * freed by the caller with memory_free. On success *SETTINGS is complete and freed with settings_free; on
 * error there is nothing to free. Errors: STATUS_INPUT. Local. */
status_t settings_read(const char *path, int n_overrides, const char *const *overrides, settings_t *settings,
                       char **warnings);

/* The same for an input that is in memory; NAME stands for it in messages. Local. */
status_t settings_read_text(const char *name, const char *text, int n_overrides, const char *const *overrides,
                            settings_t *settings, char **warnings);

/* Reads the whole input file. *TEXT is freed by the caller with memory_free. Errors: STATUS_INPUT (missing,
 * not a file, too large, holds zero bytes). Local. */
status_t settings_load(const char *path, char **text);

void settings_free(settings_t *settings);

/* The task of checked settings. Local. */
task_t settings_task(const settings_t *settings);
const char *task_name(task_t task);
/* Whether TASK trains in steps, with checkpoints that another start continues from. Local. */
bool task_trains(task_t task);
/* The task called NAME (case matters), or TASK_COUNT. */
task_t task_find(const char *name);

/* Writes every setting with its value, as an input that reads back to the same settings. Local. Errors:
 * STATUS_DATA (write failed). */
status_t settings_echo(const settings_t *settings, FILE *file);

/* The same as a text: *TEXT is freed by the caller with memory_free. Local. Errors: STATUS_MEMORY. */
status_t settings_text(const settings_t *settings, char **text);

/* Lists the settings that WAS's task reads and that NOW has another value of: "ppo.lam = 0.95 (was 1)",
 * separated by commas; "" if none. Passed over is what changes no result (where files go, when to stop, how
 * the work is shared and reported), and paths of files and numbers of samples, whose contents are known by
 * other means to whoever compares. *TEXT is freed by the caller with memory_free. Local. Errors:
 * STATUS_MEMORY. */
status_t settings_compare(const settings_t *was, const settings_t *now, char **text);

/* Writes an input with the defaults and each setting's documentation: of the settings that TASK uses with the
 * defaults it has there, or of all settings where TASK is NULL. Local. Errors: STATUS_INPUT (no such task;
 * names the nearest), STATUS_DATA (write failed). */
status_t settings_print_defaults(FILE *file, const char *task);

#endif
