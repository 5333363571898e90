/* Task prepare and its image files: broken ones, links, orientation. */
#define _GNU_SOURCE
#include "mpi_test.h"

#include "data/loader.h"
#include "io/tiny_images.h"

#include "prepare_setting.h"

/* Replaces the talks by one with IMAGE and a good one without. */
static void one_image(const prepare_setting_t *setting, const char *image) {
  char text[1024];
  snprintf(text, sizeof text,
           "{\"id\": \"seen\", \"image\": \"%s\", \"conversations\": [{\"from\": \"human\", \"value\": "
           "\"<image>\"}]}\n"
           "{\"id\": \"blind\", \"conversations\": [{\"from\": \"human\", \"value\": \"Hello?\"}]}\n",
           image);
  io_test_write(setting->talks, text);
}

/* Writes the small PNG file; DAMAGE changes its pixels' checksum. */
static void write_tiny_png(const prepare_setting_t *setting, const char *name, uint8_t damage) {
  uint8_t bytes[sizeof tiny_png];
  memcpy(bytes, tiny_png, sizeof bytes);
  bytes[TINY_PNG_SUM] ^= damage;
  data_test_write_bytes(setting->images, name, bytes, sizeof bytes);
}

static void make_bad_pictures(const prepare_setting_t *setting) {
  if (data_test_first()) {
    char path[FILE_MAX_PATH], outside[FILE_MAX_PATH];
    static const uint8_t png[] = "\x89PNG\r\n\x1a\n.....";
    data_test_image(setting->images, "cut.jpg", 1, 60);
    data_test_image(setting->folder, "outside.jpg", 1, 0);
    data_test_write_bytes(setting->images, "empty.jpg", "", 0);
    data_test_write_bytes(setting->images, "png.jpg", png, sizeof png);
    write_tiny_png(setting, "sum.png", 1);
    io_test_path(outside, setting->folder, "outside.jpg");
    assert_int_equal(symlink(outside, io_test_path(path, setting->images, "link.jpg")), 0);
    assert_int_equal(symlink(setting->folder, io_test_path(path, setting->images, "up")), 0);
    assert_int_equal(symlink("nowhere.jpg", io_test_path(path, setting->images, "dead.jpg")), 0);
    assert_int_equal(symlink("sub/1.jpg", io_test_path(path, setting->images, "inside.jpg")), 0);
    assert_int_equal(mkfifo(io_test_path(path, setting->images, "pipe.jpg"), 0600), 0);
  }
  assert_ok(comm_barrier(mpi_test_world()));
}

static void bad_images_stop_or_are_left_out(void **state) {
  (void)state;
  static const char *const images[] = {
      "missing.jpg",           "cut.jpg",  "empty.jpg",   "png.jpg", "sum.png",  "../outside.jpg",
      "sub/../../outside.jpg", "dead.jpg", "/etc/passwd", "sub",     "pipe.jpg", ".."};
  prepare_setting_t setting;
  setting_start(&setting);
  make_bad_pictures(&setting);
  setting.options.report = setting.report;
  for (size_t i = 0; i < sizeof images / sizeof *images; i++) {
    one_image(&setting, images[i]);
    setting.options.skip_bad = false;
    assert_prepare_fails(&setting, STATUS_DATA, images[i]);
    assert_prepare_fails(&setting, STATUS_DATA, "sample 'seen'");
    assert_int_equal(io_test_size(setting.output), -1);
    setting.options.skip_bad = true;
    prepare_counts_t counts;
    dataset_t *dataset = prepared(&setting, &counts);
    assert_int_equal(counts.samples, 1);
    assert_int_equal(counts.skipped, 1);
    assert_int_equal(counts.broken_images, 1);
    assert_int_equal(dataset_info(dataset).skipped, 1);
    dataset_sample_t sample;
    assert_ok(dataset_sample_read(dataset, 0, &sample));
    assert_string_equal(sample.id.bytes, "blind");
    dataset_sample_free(&sample);
    dataset_close(dataset);
    check_report(&setting, "seen", 1);
    assert_ok(comm_barrier(mpi_test_world()));
    if (data_test_first()) unlink(setting.output);
    assert_ok(comm_barrier(mpi_test_world()));
  }
  setting_end(&setting);
}

/* Of four talks about four pictures, of which PICTURE alone is there, three are held out. */
static status_code_t prepare_one_of_four(const prepare_setting_t *setting, int picture,
                                         prepare_counts_t *counts) {
  char text[1024];
  size_t n = 0;
  for (int i = 0; i < 4; i++)
    n += (size_t)snprintf(text + n, sizeof text - n,
                          "{\"id\": %d, \"image\": \"%s/%d.jpg\", \"conversations\": [{\"from\": \"human\", "
                          "\"value\": \"<image>\"}]}\n",
                          i, i == picture ? "sub" : "missing", i);
  io_test_write(setting->talks, text);
  return prepare_run(mpi_test_world(), &setting->options, counts);
}

/* Held out is drawn before images are read: where none but such samples are left, there is no dataset. */
static void broken_images_leave_something_to_train_on(void **state) {
  (void)state;
  prepare_setting_t setting;
  prepare_counts_t counts;
  int made = 0;
  setting_start(&setting);
  setting.options.held_out = 3;
  setting.options.skip_bad = true;
  for (int i = 0; i < 4; i++) {
    status_code_t status = prepare_one_of_four(&setting, i, &counts);
    made += status == STATUS_OK;
    assert_true(status == STATUS_OK || status == STATUS_DATA);
    assert_int_equal(io_test_size(setting.output) > 0, made > 0);
    if (status == STATUS_OK) assert_int_equal(counts.samples - counts.held_out, 1);
    error_clear();
    assert_ok(comm_barrier(mpi_test_world()));
  }
  assert_int_equal(made, 1);
  setting_end(&setting);
}

/* Links to images and to folders are followed, out of the image folder as well; so is one to that folder. */
static void links_are_followed(void **state) {
  (void)state;
  static const char *const images[] = {"inside.jpg", "link.jpg", "up/outside.jpg"};
  char link[FILE_MAX_PATH];
  prepare_setting_t setting;
  setting_start(&setting);
  make_bad_pictures(&setting);
  io_test_path(link, setting.folder, "images_link");
  if (data_test_first()) assert_int_equal(symlink(setting.images, link), 0);
  assert_ok(comm_barrier(mpi_test_world()));
  for (int i = 0; i < 6; i++) {
    prepare_counts_t counts;
    one_image(&setting, images[i % 3]);
    setting.options.image_folder = i < 3 ? setting.images : link;
    dataset_t *dataset = prepared(&setting, &counts);
    assert_int_equal(counts.samples, 2);
    assert_int_equal(dataset_info(dataset).images, 1);
    uint8_t *expected, *found;
    size_t n;
    data_test_jpeg(1, 21, 17, &expected, &n);
    assert_int_equal(dataset_image_size(dataset, 0), n);
    assert_ok(memory_alloc(&found, ARENA_OTHER, n, 1));
    assert_ok(dataset_image_read(dataset, 0, found));
    assert_memory_equal(found, expected, n);
    memory_free(found);
    memory_free(expected);
    dataset_close(dataset);
    assert_ok(comm_barrier(mpi_test_world()));
  }
  setting_end(&setting);
}

/* Writes picture NUMBER with an EXIF block that asks for ORIENTATION. */
static void write_turned(const prepare_setting_t *setting, const char *name, int number,
                         uint8_t orientation) {
  const uint8_t exif[] = {0xff, 0xe1, 0, 34, 'E', 'x',         'i', 'f', 0,    0,    'M', 'M',
                          0,    42,   0, 0,  0,   8,           0,   1,   0x01, 0x12, 0,   3,
                          0,    0,    0, 1,  0,   orientation, 0,   0,   0,    0,    0,   0};
  uint8_t *bytes, *all;
  size_t n;
  data_test_jpeg(number, 20, 16, &bytes, &n);
  assert_ok(memory_alloc(&all, ARENA_OTHER, n + sizeof exif, 1));
  memcpy(all, bytes, 2);
  memcpy(all + 2, exif, sizeof exif);
  memcpy(all + 2 + sizeof exif, bytes + 2, n - 2);
  data_test_write_bytes(setting->images, name, all, n + sizeof exif);
  memory_free(all);
  memory_free(bytes);
}

/* Images that are to be shown otherwise than they are stored are counted, over all ranks. */
static void turned_images_are_counted(void **state) {
  (void)state;
  static const uint8_t orientations[PICTURES] = {1, 6, 0, 8, 2, 9, 3};
  prepare_setting_t setting;
  prepare_counts_t counts;
  setting_start(&setting);
  for (int i = 0; i < PICTURES && data_test_first(); i++) {
    char name[32];
    snprintf(name, sizeof name, "sub/%d.jpg", i);
    write_turned(&setting, name, i, orientations[i]);
  }
  assert_ok(comm_barrier(mpi_test_world()));
  assert_ok(prepare_run(mpi_test_world(), &setting.options, &counts));
  assert_int_equal(counts.images, PICTURES);
  assert_int_equal(counts.turned_images, 4);
  setting_end(&setting);
}

static void check_tiny(const dataset_t *dataset, int64_t i, const uint8_t *bytes, size_t n) {
  uint8_t found[128];
  image_t image;
  assert_int_equal(dataset_image_size(dataset, i), n);
  assert_ok(dataset_image_read(dataset, i, found));
  assert_memory_equal(found, bytes, n);
  assert_ok(loader_image(dataset, i, &image));
  assert_int_equal(image.width, TINY_WIDTH);
  assert_int_equal(image.height, TINY_HEIGHT);
  for (int k = 0; k < 3 * TINY_WIDTH * TINY_HEIGHT; k++)
    assert_int_equal(image.rgb[k], TINY_FIRST + k);
  image_free(&image);
}

/* Files are told by what they hold, whatever their names say, and stored as they are. */
static void names_do_not_matter(void **state) {
  (void)state;
  prepare_setting_t setting;
  prepare_counts_t counts;
  setting_start(&setting);
  if (data_test_first()) {
    write_tiny_png(&setting, "sub/1.jpg", 0);
#ifdef LLAVA_HAS_WEBP
    data_test_write_bytes(setting.images, "sub/2.jpg", tiny_webp, sizeof tiny_webp);
#endif
  }
  assert_ok(comm_barrier(mpi_test_world()));
  dataset_t *dataset = prepared(&setting, &counts);
  assert_int_equal(counts.images, PICTURES);
  for (int64_t i = 0; i < PICTURES; i++) {
    char *name;
    assert_ok(dataset_image_name(dataset, i, &name));
    if (strcmp(name, "sub/1.jpg") == 0) check_tiny(dataset, i, tiny_png, sizeof tiny_png);
#ifdef LLAVA_HAS_WEBP
    if (strcmp(name, "sub/2.jpg") == 0) check_tiny(dataset, i, tiny_webp, sizeof tiny_webp);
#endif
    memory_free(name);
  }
  dataset_close(dataset);
  setting_end(&setting);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bad_images_stop_or_are_left_out),
      cmocka_unit_test(broken_images_leave_something_to_train_on),
      cmocka_unit_test(links_are_followed),
      cmocka_unit_test(names_do_not_matter),
      cmocka_unit_test(turned_images_are_counted),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
