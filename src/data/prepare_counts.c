/* What there was in the sources, and what became of it. */
#include "data/prepare_parts.h"

#include "base/log.h"

#include <inttypes.h>

static const struct {
  const char *name, *text;
} fates[FATE_COUNT] = {[FATE_KEPT] = {"kept", "kept"},
                       [FATE_BAD] = {"bad", "bad"},
                       [FATE_APART] = {"apart", "of images to keep apart from"},
                       [FATE_UNSCORED] = {"unscored", "without a score"},
                       [FATE_FILTERED] = {"filtered", "of low reward"},
                       [FATE_NOT_DRAWN] = {"not_drawn", "not drawn"}};

/* Those whose image turned out to be unusable were kept before. */
static int64_t fate_count(const prepare_source_t *source, fate_t fate) {
  if (fate != FATE_KEPT) return source->fates[fate];
  int64_t count = source->end - source->begin;
  for (fate_t other = 0; other < FATE_COUNT; other++)
    if (other != FATE_KEPT) count -= source->fates[other];
  return count;
}

static void source_write(const prepare_source_t *source, json_writer_t *writer) {
  json_write_object_begin(writer);
  json_write_member(writer, "file", source->path);
  json_write_member(writer, "kind", source->kind);
  json_write_int_member(writer, "samples", source->end - source->begin);
  json_write_int_member(writer, "passed_over", source->passed_over);
  if (source->limit > 0) json_write_int_member(writer, "limit", source->limit);
  for (fate_t fate = 0; fate < FATE_COUNT; fate++)
    json_write_int_member(writer, fates[fate].name, fate_count(source, fate));
  json_write_object_end(writer);
}

static void apart_write(const prepare_options_t *options, json_writer_t *writer) {
  json_write_key(writer, "apart_from");
  json_write_array_begin(writer);
  for (int64_t d = 0; d < options->apart_count; d++)
    json_write_string(writer, options->apart_from[d]);
  json_write_array_end(writer);
}

void counts_write(const prepare_t *prepare, json_writer_t *writer) {
  const prepare_options_t *options = prepare->options;
  json_write_object_begin(writer);
  json_write_key(writer, "files");
  json_write_array_begin(writer);
  for (int s = 0; s < prepare->source_count; s++)
    source_write(&prepare->sources[s], writer);
  json_write_array_end(writer);
  json_write_member(writer, "facts", text_given(options->facts) ? options->facts : NULL);
  json_write_member(writer, "caption_facts",
                    text_given(options->caption_facts) ? options->caption_facts : NULL);
  json_write_member(writer, "scores", text_given(options->scores) ? options->scores : NULL);
  if (options->apart_count > 0) apart_write(options, writer);
  json_write_member(writer, "image_folder", prepare->folder.root);
  json_write_int_member(writer, "seed", (int64_t)options->seed);
  json_write_int_member(writer, "held_out", options->held_out);
  json_write_object_end(writer);
}

static void source_log(const prepare_t *prepare, const prepare_source_t *source) {
  char text[512];
  if (prepare->source_count == 1 && source->passed_over == 0 && source->limit == 0 &&
      fate_count(source, FATE_KEPT) + source->fates[FATE_BAD] == source->end - source->begin)
    return; /* the line for all says it */
  int n = snprintf(text, sizeof text, "%" PRId64 " samples", source->end - source->begin);
  for (fate_t fate = 0; fate < FATE_COUNT; fate++)
    if (fate_count(source, fate) > 0 && n < (int)sizeof text)
      n += snprintf(text + n, sizeof text - (size_t)n, ", %" PRId64 " %s", fate_count(source, fate),
                    fates[fate].text);
  if (source->passed_over > 0 && n < (int)sizeof text)
    snprintf(text + n, sizeof text - (size_t)n, "; %" PRId64 " elements are no samples of their own",
             source->passed_over);
  log_info("%s: %s", source->path, text);
}

/* Limits count samples before their images are read: those whose images are unusable are missing. */
static void missing_log(const prepare_t *prepare) {
  const int64_t held_out = prepare->counts.held_out, wanted = prepare->options->held_out;
  for (int s = 0; s < prepare->source_count; s++) {
    const prepare_source_t *source = &prepare->sources[s];
    const int64_t drawn = source->fates[FATE_KEPT], kept = fate_count(source, FATE_KEPT);
    if (kept < drawn && kept < source->limit)
      log_warning("%s: of the %" PRId64 " samples drawn, %" PRId64 " were left out for their images: %" PRId64
                  " are kept where %" PRId64
                  " were asked for; samples are drawn before their images are read, "
                  "so mend the images, or ask for more",
                  source->path, drawn, drawn - kept, kept, source->limit);
  }
  if (held_out < wanted)
    log_warning("%" PRId64 " samples are held out where %" PRId64 " were asked for: the images of the others "
                "are unusable",
                held_out, wanted);
}

static void warnings_log(const prepare_t *prepare) {
  const prepare_counts_t *counts = &prepare->counts;
  if (counts->shared > 0)
    log_warning("%" PRId64
                " of the samples held out show images that samples for training show, too: what is "
                "measured on them may be remembered; held_out_by = 'image' keeps them apart",
                counts->shared);
  if (counts->turned_images > 0)
    log_warning("%" PRId64
                " images are to be turned or mirrored, as their EXIF blocks say; models see them as "
                "they are stored, as in the published code: turn the files themselves if that is not wanted",
                counts->turned_images);
  if (counts->without_facts > 0)
    log_warning("%" PRId64 " samples with an image have no facts in %s", counts->without_facts,
                text_given(prepare->options->facts) ? prepare->options->facts
                                                    : prepare->options->caption_facts);
}

void counts_log(const prepare_t *prepare) {
  const prepare_counts_t *counts = &prepare->counts;
  for (int s = 0; s < prepare->source_count; s++)
    source_log(prepare, &prepare->sources[s]);
  log_info("prepared %" PRId64 " samples with %" PRId64 " images; %" PRId64 " held out, %" PRId64
           " left out, %" PRId64 " images broken",
           counts->samples, counts->images, counts->held_out, counts->skipped, counts->broken_images);
  missing_log(prepare);
  warnings_log(prepare);
}
