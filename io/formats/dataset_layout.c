#include "io/formats/dataset_layout.h"

#include <xxhash.h>

const h5_format_t dataset_format = {"llava_rlhf dataset", 3, "prepare the dataset again (task prepare)"};

static const part_layout_t layouts[PART_COUNT] = {
    [PART_TEXT_BYTES] = {"/text/bytes", H5TYPE_U8, "UTF-8 texts end to end"},
    [PART_TEXT_OFFSETS] = {"/text/offsets", H5TYPE_I64,
                           "text i is bytes[offsets[i]] to bytes[offsets[i + 1] - 1]"},
    [PART_TEXT_KIND] = {"/text/kind", H5TYPE_U8,
                        "0 image path, 1 sample id, 2 human turn, 3 gpt turn, 4 output to compare"},
    [PART_IMAGE_BYTES] = {"/image/bytes", H5TYPE_U8,
                          "image files (JPEG, PNG, WebP) end to end, as they were"},
    [PART_IMAGE_OFFSETS] = {"/image/offsets", H5TYPE_I64,
                            "image i is bytes[offsets[i]] to bytes[offsets[i + 1] - 1]"},
    [PART_IMAGE_NAME] = {"/image/name", H5TYPE_I64, "row of /text: path below the image folder"},
    [PART_IMAGE_WIDTH] = {"/image/width", H5TYPE_I32, "pixels; 0: unusable, no sample refers to it"},
    [PART_IMAGE_HEIGHT] = {"/image/height", H5TYPE_I32, "pixels; 0: unusable, no sample refers to it"},
    [PART_IMAGE_HASH] = {"/image/xxh3", H5TYPE_U64, "XXH3 hash of the image's bytes"},
    [PART_FACT_BYTES] = {"/facts/bytes", H5TYPE_U8, "UTF-8 facts about images end to end"},
    [PART_FACT_OFFSETS] = {"/facts/offsets", H5TYPE_I64,
                           "fact i is bytes[offsets[i]] to bytes[offsets[i + 1] - 1]"},
    [PART_ID] = {"/sample/id", H5TYPE_I64, "row of /text; the turns and outputs follow it there"},
    [PART_FIRST_TURN] = {"/sample/first_turn", H5TYPE_I64, "row of /text: first turn of the conversation"},
    [PART_TURNS] = {"/sample/turns", H5TYPE_I32, "number of turns"},
    [PART_OUTPUT] = {"/sample/output", H5TYPE_I64, "row of /text: output_1, output_2 follows; -1: none"},
    [PART_PREFERENCE] = {"/sample/preference", H5TYPE_I32, "which output is preferred: 1 or 2; 0: not known"},
    [PART_IMAGE] = {"/sample/image", H5TYPE_I64, "row of /image; -1: none"},
    [PART_CAPTION_TYPE] = {"/sample/caption_type", H5TYPE_I32,
                           "answer type: 1 general, 2 to 5 option A to D, 6 truth is no, 7 truth is yes"},
    [PART_LENGTH_BONUS] = {"/sample/length_bonus", H5TYPE_F32, "multiplier of the length term of the reward"},
    [PART_FACT] = {"/sample/fact", H5TYPE_I64, "first row of /facts"},
    [PART_FACTS] = {"/sample/facts", H5TYPE_I32, "number of facts"},
    [PART_HELD_OUT] = {"/sample/held_out", H5TYPE_U8, "1: kept for evaluation, not trained on"},
};

const part_layout_t *part_layout(part_t part) {
  return &layouts[part];
}

bool part_is_serial(part_t part) {
  return part != PART_IMAGE_BYTES;
}

uint64_t dataset_identity(const uint64_t hashes[PART_COUNT]) {
  return XXH3_64bits(hashes, PART_COUNT * sizeof *hashes);
}
