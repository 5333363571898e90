/* Random numbers, images, and files. */
#include "selftest/selftest_checks.h"

#include "base/random.h"
#include "io/file.h"
#include "io/h5.h"
#include "io/jpeg.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- Random numbers ---- */

/* Answers of philox4x32-10 that Random123's authors publish; the purpose is cancelled out of the key by the
 * seed. */
static const struct {
  uint64_t key, a, b;
  uint32_t words[4];
} known_words[] = {
    {0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {UINT64_MAX, UINT64_MAX, UINT64_MAX, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {0x299f31d0a4093822,
     0x85a308d3243f6a88,
     0x0370734413198a2e,
     {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
};

status_t selftest_random(const selftest_t *test) {
  (void)test;
  for (size_t i = 0; i < sizeof known_words / sizeof *known_words; i++) {
    uint64_t seed = known_words[i].key ^ ((uint64_t)RANDOM_TEST << 56);
    random_words_t words = random_words(seed, RANDOM_TEST, known_words[i].a, known_words[i].b);
    if (memcmp(words.v, known_words[i].words, sizeof words.v) != 0)
      return error_set(STATUS_NUMERIC, "random words %zu begin with %08x, expected %08x", i, words.v[0],
                       known_words[i].words[0]);
  }
  return STATUS_OK;
}

/* ---- Images ---- */

enum { IMAGE_WIDTH = 64, IMAGE_HEIGHT = 48, IMAGE_QUALITY = 95 };

/* Smooth, so that little is lost. */
static int pixel_at(int x, int y, int colour) {
  return colour == 0 ? 3 * x + 20 : colour == 1 ? 4 * y + 30 : 2 * x + y + 10;
}

static status_t image_draw(image_t *image) {
  TRY(image_create(IMAGE_WIDTH, IMAGE_HEIGHT, image));
  for (int y = 0; y < IMAGE_HEIGHT; y++)
    for (int x = 0; x < IMAGE_WIDTH; x++)
      for (int c = 0; c < 3; c++)
        image->rgb[(y * IMAGE_WIDTH + x) * 3 + c] = (uint8_t)pixel_at(x, y, c);
  return STATUS_OK;
}

static status_t image_compare(const image_t *image) {
  enum { MOST = 8 };
  if (image->width != IMAGE_WIDTH || image->height != IMAGE_HEIGHT)
    return error_set(STATUS_DATA, "a JPEG image of %d x %d pixels is read as one of %d x %d", IMAGE_WIDTH,
                     IMAGE_HEIGHT, image->width, image->height);
  for (int y = 0; y < IMAGE_HEIGHT; y++)
    for (int x = 0; x < IMAGE_WIDTH; x++)
      for (int c = 0; c < 3; c++) {
        int found = image->rgb[(y * IMAGE_WIDTH + x) * 3 + c], expected = pixel_at(x, y, c);
        if (abs(found - expected) > MOST)
          return error_set(STATUS_DATA, "a JPEG image's pixel %d, %d has %d in colour %d, expected about %d",
                           x, y, found, c, expected);
      }
  return STATUS_OK;
}

status_t selftest_images(const selftest_t *test) {
  (void)test;
  SCOPED(image_free) image_t drawn = {0};
  SCOPED(image_free) image_t read = {0};
  SCOPED_MEMORY uint8_t *bytes = NULL;
  size_t n;
  TRY(image_draw(&drawn));
  TRY(jpeg_encode(&drawn, IMAGE_QUALITY, &bytes, &n));
  TRY(jpeg_decode(bytes, n, "the self-test's image", &read));
  TRY(image_compare(&read));
  int32_t width, height;
  if (jpeg_check(bytes, n / 2, "half of the self-test's image", &width, &height) == STATUS_OK)
    return error_set(STATUS_DATA, "half of a JPEG image was taken for a whole one");
  error_clear();
  return STATUS_OK;
}

/* ---- Files ---- */

enum { FILE_COLUMNS = 5000 };
static const h5_format_t file_format = {.name = "llava_rlhf self-test", .version = 1, .remake = "remove it"};
static const char dataset[] = "/self_test/rows";

static float element_at(int64_t row, int64_t column) {
  return (float)(row * FILE_COLUMNS + column) * 0.25f;
}

/* The node's file, named by its first rank. */
static status_t file_name(comm_t *node, char path[FILE_MAX_PATH]) {
  const char *folder = getenv("TMPDIR");
  char name[64];
  int64_t process = getpid();
  TRY(comm_broadcast(node, &process, 1, COMM_I64, 0));
  snprintf(name, sizeof name, "llava_rlhf_self_test_%lld.h5", (long long)process);
  return file_join(path, folder && *folder ? folder : "/tmp", name, NULL);
}

/* A row of each rank. */
static status_t file_fill(h5_file_t *file, comm_t *node) {
  SCOPED_MEMORY float *row = NULL;
  int rank = comm_rank(node);
  status_code_t status =
      h5_create_dataset(file, dataset, H5TYPE_F32, 2, (const int64_t[]){comm_size(node), FILE_COLUMNS});
  if (status == STATUS_OK) status = memory_alloc(&row, ARENA_IO, FILE_COLUMNS, sizeof *row);
  TRY(comm_agree(node, status));
  for (int64_t c = 0; c < FILE_COLUMNS; c++)
    row[c] = element_at(rank, c);
  return h5_write_rows(file, dataset, H5TYPE_F32, rank, 1, row);
}

static status_t file_make(const char *path, comm_t *node) {
  h5_file_t *file;
  TRY(h5_create(path, node, &file_format, &file));
  return comm_agree(node, h5_end(file, file_fill(file, node)));
}

/* Another rank's row. */
static status_t file_compare(h5_file_t *file, comm_t *node) {
  SCOPED_MEMORY float *row = NULL;
  int64_t other = (comm_rank(node) + 1) % comm_size(node);
  TRY(memory_alloc(&row, ARENA_IO, FILE_COLUMNS, sizeof *row));
  TRY(h5_read_rows(file, dataset, H5TYPE_F32, other, 1, row));
  for (int64_t c = 0; c < FILE_COLUMNS; c++)
    if (row[c] != element_at(other, c))
      return error_set(STATUS_DATA, "%s: row %lld, column %lld is %.9g, expected %.9g", h5_path(file),
                       (long long)other, (long long)c, (double)row[c], (double)element_at(other, c));
  return STATUS_OK;
}

static status_t file_check(const char *path, comm_t *node) {
  h5_file_t *file;
  TRY(h5_open(path, H5_READ, &file_format, &file));
  return h5_end(file, file_compare(file, node));
}

status_t selftest_files(const selftest_t *test) {
  SCOPED(comm_free_at) comm_t *node = NULL;
  char path[FILE_MAX_PATH];
  TRY(comm_split_node(test->grid->world, "self-test", &node));
  TRY(comm_agree(node, file_name(node, path)));
  status_code_t status = file_make(path, node);
  if (status == STATUS_OK) status = comm_agree(node, file_check(path, node));
  if (comm_rank(node) == 0) (void)unlink(path);
  return error_context(status, "while files were tried in the folder of TMPDIR");
}
