#define _GNU_SOURCE
#include "data/loader.h"
#include "mpi_test.h"
#include "perf/perf.h"

#include "data_test.h"

enum { PICTURES = 12, BROKEN = 5, SIZE = 24 };

typedef struct {
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  dataset_t *dataset;
} loader_setting_t;

/* A dataset of images only (and a sample, for there must be one); image BROKEN is cut. */
static void setting_start(loader_setting_t *setting) {
  dataset_writer_t *writer;
  const turn_t turn = {TURN_HUMAN, text_view("hello")};
  const dataset_sample_t sample = {
      .id = text_view("x"), .conversation = {.turns = &turn, .count = 1}, .image = -1};
  const dataset_counts_t counts = {.samples = 1, .texts = 2, .text_bytes = 6};
  uint8_t *bytes[PICTURES];
  int64_t sizes[PICTURES];
  for (int i = 0; i < PICTURES; i++) {
    size_t n;
    data_test_jpeg(i, 20 + 7 * i, 90 - 5 * i, &bytes[i], &n);
    sizes[i] = (int64_t)(i == BROKEN ? n / 2 : n);
  }
  io_test_folder(setting->folder);
  io_test_path(setting->path, setting->folder, "data.h5");
  assert_ok(dataset_writer_open(mpi_test_world(), setting->path, &writer));
  assert_ok(dataset_writer_images(writer, sizes, PICTURES));
  for (int i = 0; i < PICTURES && data_test_first(); i++)
    assert_ok(dataset_writer_image(writer, i, bytes[i], 1, 1));
  assert_ok(dataset_writer_texts(writer, &counts, PICTURES * (int64_t)strlen("00.jpg")));
  for (int i = 0; i < PICTURES; i++) {
    char name[16];
    snprintf(name, sizeof name, "%02d.jpg", i);
    if (data_test_first()) assert_ok(dataset_writer_name(writer, text_view(name)));
    memory_free(bytes[i]);
  }
  if (data_test_first()) assert_ok(dataset_writer_sample(writer, &sample));
  assert_ok(dataset_writer_close(writer, "{}", 0));
  assert_ok(dataset_open(mpi_test_world(), setting->path, &setting->dataset));
}

static void setting_end(loader_setting_t *setting) {
  dataset_close(setting->dataset);
  io_test_remove(setting->folder);
}

/* Pixels made without the loader. */
static void expected_pixels(int i, image_aspect_t aspect, int32_t size, float *pixels) {
  uint8_t *bytes;
  size_t n;
  image_t image;
  data_test_jpeg(i, 20 + 7 * i, 90 - 5 * i, &bytes, &n);
  assert_ok(jpeg_decode(bytes, n, "expected", &image));
  assert_ok(image_preprocess(&image, aspect, PIXELS_CLIP, size, pixels));
  image_free(&image);
  memory_free(bytes);
}

static void check_pixels(const float *pixels, const int64_t *images, int32_t n, image_aspect_t aspect,
                         int32_t size) {
  const size_t stride = 3 * (size_t)size * (size_t)size;
  float *expected = malloc(stride * sizeof *expected);
  for (int32_t k = 0; k < n; k++) {
    expected_pixels((int)images[k], aspect, size, expected);
    assert_memory_equal(pixels + (size_t)k * stride, expected, stride * sizeof *expected);
  }
  free(expected);
}

/* Many tickets at once, waited for in any order, within little memory, by any number of threads. */
static void run_tickets(const dataset_t *dataset, int threads, size_t budget) {
  enum { TICKETS = 9 };
  static const int order[TICKETS] = {0, 2, 1, 8, 3, 4, 7, 5, 6};
  int64_t images[TICKETS][4];
  loader_ticket_t *tickets[TICKETS];
  loader_t *loader;
  assert_ok(loader_create(dataset, threads, budget, &loader));
  for (int t = 0; t < TICKETS; t++) {
    for (int k = 0; k < 4; k++) {
      images[t][k] = (t * 3 + k * 5) % PICTURES;
      if (images[t][k] == BROKEN) images[t][k] = 0;
    }
    assert_ok(loader_request(loader, images[t], t % 5, SIZE + t, t % 2 == 0 ? IMAGE_PAD : IMAGE_SQUARE,
                             PIXELS_CLIP, &tickets[t]));
  }
  for (int w = 0; w < TICKETS; w++) {
    const int t = order[w];
    const float *pixels;
    if (t == 3) {
      loader_release(loader, tickets[t]); /* nobody wants it any more */
      continue;
    }
    assert_ok(loader_wait(loader, tickets[t], &pixels));
    check_pixels(pixels, images[t], t % 5, t % 2 == 0 ? IMAGE_PAD : IMAGE_SQUARE, SIZE + t);
    if (w % 3 != 2) loader_release(loader, tickets[t]);
  }
  loader_free(loader);
}

static void pixels_are_those_of_direct_decoding(void **state) {
  (void)state;
  loader_setting_t setting;
  setting_start(&setting);
  const size_t before = memory_usage(ARENA_FEATURES).current;
  for (int threads = 0; threads <= 4; threads += 2)
    for (size_t budget = 1; budget <= (size_t)1 << 30; budget <<= 15)
      run_tickets(setting.dataset, threads, budget);
  assert_int_equal(memory_usage(ARENA_FEATURES).current, before);
  setting_end(&setting);
}

/* Whoever decodes: a thread may be there for each image before who waits for it. */
static void time_is_recorded(void **state) {
  (void)state;
  loader_setting_t setting;
  perf_counter_t counters[REGION_COUNT];
  const perf_counter_t *decode = &counters[REGION_IMAGE_DECODE];
  setting_start(&setting);
  for (int threads = 0; threads <= 1; threads++) {
    perf_reset();
    run_tickets(setting.dataset, threads, 1 << 20);
    perf_snapshot(counters);
    assert_int_equal(counters[REGION_DATA_WAIT].count, 8);
    assert_true(decode->seconds + decode->thread_seconds > 0);
    if (threads == 0) assert_true(decode->thread_seconds == 0);
  }
  setting_end(&setting);
}

/* What was asked for ahead stays within the budget. */
static void memory_is_bounded(void **state) {
  (void)state;
  enum { BIG = 256, TICKETS = 40 };
  loader_setting_t setting;
  loader_t *loader;
  loader_ticket_t *tickets[TICKETS];
  const int64_t images[2] = {1, 2};
  const size_t bytes = 2 * 3 * BIG * BIG * sizeof(float);
  setting_start(&setting);
  assert_ok(loader_create(setting.dataset, 2, 3 * bytes, &loader));
  const size_t before = memory_usage(ARENA_FEATURES).current;
  for (int t = 0; t < TICKETS; t++) {
    const float *pixels;
    assert_ok(loader_request(loader, images, 2, BIG, IMAGE_PAD, PIXELS_CLIP, &tickets[t]));
    if (t < 10) continue;
    assert_ok(loader_wait(loader, tickets[t - 10], &pixels));
    /* The budget, the ticket in hand, and as much again for what the threads work with; ten tickets are asked
     * for. */
    assert_true(memory_usage(ARENA_FEATURES).current <= before + 5 * bytes);
    loader_release(loader, tickets[t - 10]);
  }
  loader_free(loader);
  assert_int_equal(memory_usage(ARENA_FEATURES).current, before);
  setting_end(&setting);
}

/* A broken image is named and of the mean colour; the others are as they would be. */
static void broken_images_are_named(void **state) {
  (void)state;
  loader_setting_t setting;
  loader_t *loader;
  loader_ticket_t *ticket, *next;
  const float *pixels;
  const int64_t images[] = {0, BROKEN, 2}, good[] = {1, 3}, wrong[] = {PICTURES};
  const size_t stride = 3 * SIZE * SIZE;
  setting_start(&setting);
  for (int threads = 0; threads < 3; threads++) {
    assert_ok(loader_create(setting.dataset, threads, 1 << 20, &loader));
    assert_ok(loader_request(loader, images, 3, SIZE, IMAGE_PAD, PIXELS_CLIP, &ticket));
    assert_ok(loader_request(loader, good, 2, SIZE, IMAGE_PAD, PIXELS_CLIP, &next));
    assert_ok(loader_wait(loader, ticket, &pixels));
    check_pixels(pixels, images, 1, IMAGE_PAD, SIZE);
    check_pixels(pixels + 2 * stride, images + 2, 1, IMAGE_PAD, SIZE);
    for (size_t i = 0; i < stride; i++)
      assert_true(pixels[stride + i] == 0.0F);
    assert_null(loader_problem(ticket, 0));
    assert_non_null(strstr(loader_problem(ticket, 1), "05.jpg"));
    assert_non_null(strstr(loader_problem(ticket, 1), "data.h5"));
    assert_null(loader_problem(ticket, 2));
    loader_release(loader, ticket);
    assert_ok(loader_wait(loader, next, &pixels));
    check_pixels(pixels, good, 2, IMAGE_PAD, SIZE);
    loader_release(loader, next);
    assert_error(loader_request(loader, wrong, 1, SIZE, IMAGE_PAD, PIXELS_CLIP, &ticket), STATUS_INTERNAL);
    assert_null(ticket);
    loader_free(loader);
  }
  setting_end(&setting);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(pixels_are_those_of_direct_decoding),
      cmocka_unit_test(time_is_recorded),
      cmocka_unit_test(memory_is_bounded),
      cmocka_unit_test(broken_images_are_named),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
