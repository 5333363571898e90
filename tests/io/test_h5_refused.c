/* Files that HDF5 itself would read, but that no writer of ours makes: data elsewhere, links, texts without
 * checksums, impossible shapes. And files that HDF5 fails on. */
#define _GNU_SOURCE
#include "io/formats/weights.h"
#include "io/h5_core.h"
#include "io_test.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- Crafted files ---- */

/* A new file made by HDF5 itself, as strangers make them. */
static hid_t stranger_create(const char *path) {
  hid_t id = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  assert_true(id >= 0);
  return id;
}

static void dataset_make(hid_t file, const char *name, hid_t space, hid_t creation) {
  hid_t id = H5Dcreate2(file, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, creation, H5P_DEFAULT);
  assert_true(id >= 0);
  H5Dclose(id);
}

static void links_are_not_followed(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH], other[FILE_MAX_PATH];
  static const char *const linked[] = {"/soft", "/external", "/group/x", "/dangling"};
  hsize_t n = 2;
  float out[2];
  h5_type_t type;
  int ndim;
  int64_t shape[H5_MAX_DIMS], count;
  h5_file_t *file;
  io_test_folder(folder);
  io_test_path(path, folder, "links.h5");
  io_test_path(other, folder, "other.h5");
  hid_t space = H5Screate_simple(1, &n, NULL), id = stranger_create(other);
  dataset_make(id, "x", space, H5P_DEFAULT);
  H5Fclose(id);
  id = stranger_create(path);
  dataset_make(id, "x", space, H5P_DEFAULT);
  H5Lcreate_soft("/x", id, "soft", H5P_DEFAULT, H5P_DEFAULT);
  H5Lcreate_soft("/nowhere", id, "dangling", H5P_DEFAULT, H5P_DEFAULT);
  H5Lcreate_external(other, "/x", id, "external", H5P_DEFAULT, H5P_DEFAULT);
  H5Lcreate_external(other, "/", id, "group", H5P_DEFAULT, H5P_DEFAULT);
  H5Fclose(id);
  H5Sclose(space);
  assert_ok(h5_open(path, H5_READ, NULL, &file));
  for (size_t k = 0; k < sizeof linked / sizeof *linked; ++k) {
    assert_true(h5_exists(file, linked[k]));
    assert_error_about(h5_attr_count(file, linked[k], "xxh3", &count), STATUS_DATA, "link");
    assert_error_about(h5_read_rows(file, linked[k], H5TYPE_F32, 0, 2, out), STATUS_DATA, "link");
    assert_error_about(h5_dataset_info(file, linked[k], &type, &ndim, shape), STATUS_DATA, path);
  }
  assert_ok(h5_close(file));
  io_test_remove(folder);
}

static void data_lie_in_the_file_itself(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  static const char *const objects[] = {"/external", "/virtual", "/compressed", "/compact", "/late"};
  const hsize_t n = 4;
  const int64_t bytes = 16;
  float out[4];
  h5_file_t *file;
  io_test_folder(folder);
  io_test_path(path, folder, "elsewhere.h5");
  hid_t space = H5Screate_simple(1, &n, NULL), id = stranger_create(path), creation[5];
  for (int k = 0; k < 5; ++k)
    creation[k] = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_external(creation[0], "/etc/hostname", 0, (hsize_t)bytes);
  H5Pset_virtual(creation[1], space, "other.h5", "/x", space);
  H5Pset_chunk(creation[2], 1, &n);
  H5Pset_shuffle(creation[2]);
  H5Pset_layout(creation[3], H5D_COMPACT);
  for (int k = 0; k < 5; ++k) {
    dataset_make(id, objects[k], space, creation[k]);
    H5Pclose(creation[k]);
  }
  H5Fclose(id);
  H5Sclose(space);
  assert_ok(h5_open(path, H5_READ, NULL, &file));
  for (int k = 0; k < 5; ++k) {
    assert_error_about(h5_read_rows(file, objects[k], H5TYPE_F32, 0, 4, out), STATUS_DATA, objects[k]);
    assert_error_about(h5_read_range(file, objects[k], H5TYPE_F32, 0, 4, out), STATUS_DATA, path);
  }
  assert_ok(h5_close(file));
  io_test_remove(folder);
}

/* Old files have a `format` of variable length: what it says is not read, its version is. */
static void texts_have_fixed_length(void **state) {
  (void)state;
  static const h5_format_t format = {"kind", 2, "make it again"};
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH], *text;
  const char *value = "kind";
  h5_file_t *file;
  io_test_folder(folder);
  io_test_path(path, folder, "old.h5");
  for (int version = 1; version <= 2; ++version) {
    hid_t id = stranger_create(path), space = H5Screate(H5S_SCALAR), type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, H5T_VARIABLE);
    hid_t named = H5Acreate2(id, "format", type, space, H5P_DEFAULT, H5P_DEFAULT);
    hid_t numbered = H5Acreate2(id, "format_version", H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Awrite(named, type, &value) >= 0 && H5Awrite(numbered, H5T_NATIVE_INT, &version) >= 0);
    H5Aclose(named);
    H5Aclose(numbered);
    H5Tclose(type);
    H5Sclose(space);
    H5Fclose(id);
    assert_error_about(h5_open(path, H5_READ, &format, &file), STATUS_DATA,
                       version == 1 ? "make it again" : "variable length");
    assert_ok(h5_open(path, H5_READ, NULL, &file));
    assert_error_about(h5_attr_read_text(file, "/", "format", &text), STATUS_DATA, "variable length");
    assert_null(text);
    assert_ok(h5_close(file));
  }
  io_test_remove(folder);
}

/* Products of these overflow 64 bits, all of them or without the 0; no such file needs to be large. */
static void impossible_shapes_are_refused(void **state) {
  (void)state;
  static const hsize_t shapes[][4] = {{UINT64_C(1) << 62, 2, 1, 1},
                                      {UINT64_C(1) << 32, UINT64_C(1) << 32, 1, 1},
                                      {3, UINT64_C(1) << 61, 1, 1},
                                      {UINT64_C(1) << 61, 9, 0, 1},
                                      {0, UINT64_C(1) << 61, 9, 1}};
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  float out[4];
  h5_type_t type;
  int ndim;
  int64_t shape[H5_MAX_DIMS];
  h5_file_t *file;
  weights_file_t *weights;
  io_test_folder(folder);
  io_test_path(path, folder, "shapes.h5");
  for (size_t k = 0; k < sizeof shapes / sizeof *shapes; ++k) {
    hsize_t chunk[4] = {1, 1, 1, 1};
    hid_t id = stranger_create(path), space = H5Screate_simple(4, shapes[k], NULL),
          creation = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(creation, 4, chunk);
    dataset_make(id, "x", space, creation);
    H5Pclose(creation);
    H5Sclose(space);
    H5Fclose(id);
    assert_ok(h5_open(path, H5_READ, NULL, &file));
    assert_error_about(h5_dataset_info(file, "/x", &type, &ndim, shape), STATUS_DATA, "/x");
    assert_error_about(h5_read_rows(file, "/x", H5TYPE_F32, 0, 1, out), STATUS_DATA, path);
    assert_ok(h5_close(file));
    assert_error_about(weights_open(mpi_test_world(), path, NULL, &weights), STATUS_DATA, path);
  }
  io_test_remove(folder);
}

/* ---- The guard ---- */

typedef enum { LIBRARY_CRASHES, LIBRARY_ABORTS, LIBRARY_LOOPS, LIBRARY_RECURSES, LIBRARY_FAULTS } fault_t;

static int deep(volatile int *n) {
  volatile char room[4096];
  room[0] = (char)*n;
  ++*n;
  return *n > 0 ? deep(n) + room[0] : 0;
}

/* The sanitizer would end the program before the crash does. */
__attribute__((no_sanitize("undefined"))) static status_t library_fails(fault_t fault) {
  volatile int *volatile nowhere = NULL;
  int n = 1;
  switch (fault) {
  case LIBRARY_CRASHES:
    *nowhere = 1;
    break;
  case LIBRARY_ABORTS:
    abort();
  case LIBRARY_RECURSES:
    n = deep(&n);
    break;
  default:
    for (volatile int i = 0;; i = !i)
      ;
  }
  return n ? STATUS_OK : STATUS_DATA;
}

static status_t guarded(fault_t fault) {
  return H5_GUARDED("some.h5", library_fails(fault));
}

/* What a child process comes to; -1 if it ended otherwise than by _exit. */
static int child_wait(pid_t child) {
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void crashes_become_errors(void **state) {
  (void)state;
  for (fault_t fault = 0; fault < LIBRARY_FAULTS; ++fault) {
    pid_t child = fork();
    if (child == 0) {
      h5_guard_set_limit(0.2);
      bool good = guarded(fault) == STATUS_DATA && strstr(error_message(), "some.h5") && h5_guard_is_broken();
      h5_file_t *file;
      error_clear();
      good = good &&
             h5_open(TEST_SOURCE_DIR "/../inputs/base/shapes_base.h5", H5_READ, NULL, &file) == STATUS_DATA;
      _exit(good ? 0 : 9);
    }
    assert_int_equal(child_wait(child), 0);
  }
}

/* A library that crashes again at the program's end does not change how that ends. */
static void a_crash_at_the_end_is_no_other(void **state) {
  (void)state;
  pid_t child = fork();
  if (child == 0) {
    if (guarded(LIBRARY_ABORTS) != STATUS_DATA || !freopen("/dev/null", "w", stderr)) _exit(9);
    raise(SIGSEGV);
    _exit(9);
  }
  assert_int_equal(child_wait(child), status_exit(STATUS_DATA));
}

static status_t guarded_error(void) {
  return H5_GUARDED("some.h5", error_set(STATUS_INPUT, "none"));
}

/* Others' crashes are not the library's. */
static void crashes_elsewhere_stay_crashes(void **state) {
  (void)state;
  pid_t child = fork();
  if (child == 0) {
    const struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    signal(SIGSEGV, SIG_DFL);
    if (guarded_error() != STATUS_INPUT) _exit(9);
    raise(SIGSEGV);
    _exit(9);
  }
  assert_int_equal(child_wait(child), -1);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(links_are_not_followed),         cmocka_unit_test(data_lie_in_the_file_itself),
      cmocka_unit_test(texts_have_fixed_length),        cmocka_unit_test(impossible_shapes_are_refused),
      cmocka_unit_test(crashes_become_errors),          cmocka_unit_test(a_crash_at_the_end_is_no_other),
      cmocka_unit_test(crashes_elsewhere_stay_crashes),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
