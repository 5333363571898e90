/* The files that task prepare reads: one source, or two files that belong together, planned or made a dataset
 * of. */
#include "fuzz.h"

#include "data/prepare.h"
#include "io/formats/dataset.h"
#include "io/tiny_images.h"
#include "parallel/comm.h"

#include <string.h>

/* Kinds of sources: an input's first byte. The second one's bits: not only planned; bad samples are skipped;
 * some are held out; rationales; few are wanted. */
typedef enum {
  CONVERSATIONS,
  PREFERENCES,
  VQA,
  CHOICES,
  CAPTIONS,
  FLICKR,
  FACTS,
  CAPTION_FACTS,
  KINDS
} fuzz_prepare_kind_t;
enum { WRITTEN = 1, SKIPPED = 2, HELD_OUT = 4, RATIONALE = 8, LIMITED = 16 };

/* What is asked about the image that there is, for the files of facts. */
static const char questions[] =
    "[{\"id\": \"a\", \"image\": \"000000000001.jpg\", \"conversations\": [{\"from\": \"human\", \"value\": "
    "\"<image>\\nWhat?\"}, {\"from\": \"gpt\", \"value\": \"It.\"}]}]";

static comm_t *world;
static const char *first, *second, *output, *report;
static char folder[128], prefix[128];

void fuzz_start(void) {
  FUZZ_EXPECT(comm_init(NULL, NULL, &world) == STATUS_OK);
  first = fuzz_path("first");
  second = fuzz_path("second");
  output = fuzz_path("prepared.h5");
  report = fuzz_path("report.jsonl");
  const char *image = fuzz_path("000000000001.jpg");
  fuzz_write(image, tiny_png, sizeof tiny_png);
  const char *name = strrchr(image, '/') + 1;
  FUZZ_EXPECT(strlen(image) < sizeof folder);
  memcpy(folder, image, (size_t)(name - image));
  memcpy(prefix, name, strlen(name) - strlen("000000000001.jpg"));
}

static prepare_options_t options_of(fuzz_prepare_kind_t kind, uint64_t bits) {
  const int64_t limit = bits & LIMITED ? 2 : 0;
  return (prepare_options_t){.conversations = kind == CONVERSATIONS || kind >= FACTS ? first : NULL,
                             .preferences = kind == PREFERENCES ? first : NULL,
                             .vqa_questions = kind == VQA ? first : NULL,
                             .vqa_annotations = kind == VQA ? second : NULL,
                             .choices = kind == CHOICES ? first : NULL,
                             .captions = kind == CAPTIONS ? first : NULL,
                             .flickr = kind == FLICKR ? first : NULL,
                             .facts = kind == FACTS ? second : NULL,
                             .caption_facts = kind == CAPTION_FACTS ? second : NULL,
                             .image_prefix = prefix,
                             .coco_prefix = prefix,
                             .flickr_prefix = prefix,
                             .image_folder = folder,
                             .conversations_limit = limit,
                             .preferences_limit = limit,
                             .vqa_limit = limit,
                             .choices_limit = limit,
                             .captions_limit = limit,
                             .flickr_limit = limit,
                             .facts_per_image = limit,
                             .choices_rationale = (bits & RATIONALE) != 0,
                             .output = output,
                             .report = report,
                             .held_out = bits & HELD_OUT ? 1 : 0,
                             .seed = bits,
                             .skip_bad = (bits & SKIPPED) != 0,
                             .workers = 1,
                             .plan = (bits & WRITTEN) == 0};
}

/* What was written can be read, and is as much as was counted. */
static void check_dataset(const prepare_counts_t *counts) {
  dataset_t *dataset;
  FUZZ_EXPECT(dataset_open(world, output, &dataset) == STATUS_OK);
  const dataset_info_t info = dataset_info(dataset);
  FUZZ_EXPECT(info.samples == counts->samples && info.images == counts->images);
  for (int64_t i = 0; i < info.samples; i++) {
    dataset_sample_t sample;
    FUZZ_EXPECT(dataset_sample_read(dataset, i, &sample) == STATUS_OK);
    FUZZ_EXPECT(sample.conversation.count > 0 && sample.image < info.images);
    dataset_sample_free(&sample);
  }
  dataset_close(dataset);
}

void fuzz_one(const uint8_t *bytes, size_t n) {
  fuzz_input_t input = {bytes, n};
  prepare_counts_t counts;
  const fuzz_prepare_kind_t kind = (fuzz_prepare_kind_t)fuzz_choose(&input, KINDS);
  const uint64_t bits = fuzz_take(&input, 1);
  if (kind == FACTS || kind == CAPTION_FACTS)
    fuzz_write(first, questions, sizeof questions - 1);
  else
    fuzz_take_file(&input, first);
  fuzz_take_file(&input, second);
  const prepare_options_t options = options_of(kind, bits);
  status_code_t status = prepare_run(world, &options, &counts);
  FUZZ_EXPECT(status == STATUS_OK || status == STATUS_DATA || status == STATUS_INPUT);
  if (status == STATUS_OK && !options.plan) check_dataset(&counts);
  error_clear();
}
