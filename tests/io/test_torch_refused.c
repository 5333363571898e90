/* Files of torch.save that are wrong in one place each: the ZIP, the pickle, the tensors. */
#define _GNU_SOURCE
#include "mpi_test.h"

#include "io/tensors/tensor_file.h"
#include "io_test.h"
#include "pickle_make.h"
#include "zip_make.h"

static char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
static const char zeros[256];

static void write_bytes(const void *bytes, size_t n) {
  assert_ok(file_write(path, bytes, n));
}

static void refuse_file(const char *about) {
  tensor_files_t *files;
  assert_error_about(tensor_files_open(path, &files), STATUS_DATA, about);
  assert_null(files);
}

static void accept_file(int64_t count) {
  tensor_files_t *files;
  assert_ok(tensor_files_open(path, &files));
  assert_int_equal(tensor_files_count(files), count);
  tensor_files_close(files);
}

/* ---- Pickles ---- */

static void put_pickle(const void *bytes, size_t n, bool large) {
  zip_make_t zip;
  zip_make_start(&zip);
  zip_make_add(&zip, "m/data.pkl", bytes, n);
  zip_make_add(&zip, "m/data/0", zeros, 96);
  zip_make_finish(&zip, large);
  write_bytes(zip.bytes, zip.n);
  zip_make_free(&zip);
}

static void refuse_pickle(const void *bytes, size_t n, const char *about) {
  put_pickle(bytes, n, false);
  refuse_file(about);
}

#define REFUSE(text, about) refuse_pickle(text, sizeof(text) - 1, about)

static void accept_pickle(const void *bytes, size_t n, int64_t count) {
  put_pickle(bytes, n, false);
  accept_file(count);
}

#define ACCEPT(text) accept_pickle(text, sizeof(text) - 1, 0)

static void sound_pickles_are_taken(void **state) {
  (void)state;
  ACCEPT("\x80\x02}.");
  ACCEPT("\x80\x02}q\x00X\x01\x00\x00\x00"
         "aK\x07s.");
  ACCEPT("\x80\x02"
         "ccollections\nOrderedDict\n)R.");
  ACCEPT("\x80\x02"
         "ccollections\nOrderedDict\n)R}b.");
  ACCEPT("\x80\x02}(X\x01\x00\x00\x00"
         "aNX\x01\x00\x00\x00"
         "b\x88X\x01\x00\x00\x00"
         "cG\x00\x00\x00\x00\x00\x00\x00\x00K\x01]u.");
}

static void opcodes_beyond_a_state_dict_are_refused(void **state) {
  (void)state;
  const char kept[] = "\x80N\x88\x89KMJ\x8aGX(]})t\x85\x86\x87"
                      "aesuqrhjcRbQ.";
  for (int code = 0; code < 256; code++) {
    const char bytes[] = {(char)0x80, 2, '}', (char)code, '.'};
    char named[32];
    if (memchr(kept, code, sizeof kept - 1) != NULL) continue;
    snprintf(named, sizeof named, "opcode 0x%02x", (unsigned)code);
    refuse_pickle(bytes, sizeof bytes, named);
  }
  REFUSE("\x80\x02}\x8c\x01"
         "a.",
         "SHORT_BINUNICODE");
  REFUSE("\x80\x02(ios\nsystem\n.", "INST");
}

static void names_beyond_a_state_dict_are_refused(void **state) {
  (void)state;
  REFUSE("\x80\x02"
         "cposix\nsystem\nX\x04\x00\x00\x00trueR.",
         "posix.system");
  REFUSE("\x80\x02"
         "cbuiltins\neval\n.",
         "builtins.eval");
  REFUSE("\x80\x02"
         "ctorch._utils\n_rebuild_tensor_v3\n.",
         "torch._utils._rebuild_tensor_v3");
  REFUSE("\x80\x02"
         "ctorch\nQInt8Storage\n.",
         "torch.QInt8Storage");
  REFUSE("\x80\x02"
         "ccollections\nordereddict\n.",
         "collections.ordereddict");
  REFUSE("\x80\x02"
         "ccollections\nOrderedDict",
         "ends in the midst");
  char line[400];
  memset(line, 'x', sizeof line);
  memcpy(line,
         "\x80\x02"
         "c",
         3);
  line[300] = '\n';
  refuse_pickle(line, sizeof line, "more than 127 bytes");
}

static void calls_are_checked(void **state) {
  (void)state;
  REFUSE("\x80\x02"
         "ccollections\nOrderedDict\nK\x01\x85R.",
         "OrderedDict with arguments");
  REFUSE("\x80\x02"
         "ccollections\nOrderedDict\n}R.",
         "tuple of arguments");
  REFUSE("\x80\x02K\x01)R.", "no function");
  REFUSE("\x80\x02"
         "ctorch\nFloatStorage\n)R.",
         "persistent id");
  REFUSE("\x80\x02"
         "ctorch._utils\n_rebuild_tensor_v2\n)R.",
         "_rebuild_tensor_v2 with other arguments");
  REFUSE("\x80\x02"
         "ctorch._utils\n_rebuild_parameter\nK\x01K\x01K\x01\x87R.",
         "_rebuild_parameter with other arguments");
  REFUSE("\x80\x02K\x01Q.", "persistent id other than");
  REFUSE("\x80\x02X\x07\x00\x00\x00storage\x85Q.", "persistent id other than");
  REFUSE("\x80\x02}K\x01"
         "b.",
         "BUILD");
  REFUSE("\x80\x02K\x01}b.", "BUILD");
}

static void broken_stacks_are_refused(void **state) {
  (void)state;
  REFUSE("", "ends in the midst");
  REFUSE("}.", "protocol 2");
  REFUSE("\x80\x03}.", "protocol 3");
  REFUSE("\x80\x02", "ends in the midst");
  REFUSE("\x80\x02.", "lacks a value");
  REFUSE("\x80\x02}.}", "behind the end");
  REFUSE("\x80\x02}K\x01s.", "lacks a value");
  REFUSE("\x80\x02}t.", "lacks a mark");
  REFUSE("\x80\x02(ter.", "lacks a mark"); /* an empty tuple of an empty stack */
  REFUSE("\x80\x02}(K\x01u.", "without a value");
  REFUSE("\x80\x02}(s.", "lacks a value");
  REFUSE("\x80\x02K\x01\x86.", "lacks a value");
  REFUSE("\x80\x02K\x01K\x02"
         "a.",
         "no list");
  REFUSE("\x80\x02]K\x01K\x02s.", "no dict");
  REFUSE("\x80\x02}h\x05.", "memo");
  REFUSE("\x80\x02}q\x02h\x01.", "memo");
  REFUSE("\x80\x02}r\xff\xff\xff\xff.", "memo");
  REFUSE("\x80\x02X\xff\xff\xff\xff"
         "a.",
         "ends in the midst");
  REFUSE("\x80\x02}X\x01\x00\x00\x00\xffK\x01s.", "UTF-8");
  REFUSE("\x80\x02}X\x01\x00\x00\x00\x00K\x01s.", "NUL");
  REFUSE("\x80\x02\x8a\x09\x01\x01\x01\x01\x01\x01\x01\x01\x01.", "64 bits");
  REFUSE("\x80\x02K\x01.", "expected a dict");
  REFUSE("\x80\x02].", "expected a dict");
}

static void what_is_walked_is_bounded(void **state) {
  (void)state;
  /* A dict that holds itself. */
  REFUSE("\x80\x02}q\x00X\x01\x00\x00\x00"
         "ah\x00s.",
         "nested deeper");
  REFUSE("\x80\x02}\x88N"
         "s.",
         "neither text nor whole numbers");
  /* Each list holds the one before it a hundred times; all are values of one dict. */
  static pickle_make_t pickle;
  pickle.n = 0;
  PICKLE_RAW(&pickle, "\x80\x02}(K\x00]q\x00");
  for (int level = 1; level < 8; level++) {
    const char key[] = {'K', (char)level};
    pickle_make_raw(&pickle, key, 2);
    PICKLE_RAW(&pickle, "](");
    for (int i = 0; i < 100; i++)
      PICKLE_RAW(&pickle, "h\x00");
    PICKLE_RAW(&pickle, "eq\x00");
  }
  PICKLE_RAW(&pickle, "u.");
  refuse_pickle(pickle.bytes, pickle.n, "128 MiB");
}

/* ---- Tensors ---- */

static const pickle_make_tensor_t sound = {"FloatStorage", "0", 24, 0, 2, 2, {4, 6}, {6, 1}};

static void put_tensors(int count, const pickle_make_tensor_t *tensors, const char *const *names) {
  static pickle_make_t pickle;
  pickle.n = 0;
  PICKLE_RAW(&pickle, "\x80\x02}(");
  for (int i = 0; i < count; i++) {
    pickle_make_text(&pickle, names[i]);
    pickle_make_tensor(&pickle, &tensors[i]);
  }
  PICKLE_RAW(&pickle, "u.");
  put_pickle(pickle.bytes, pickle.n, false);
}

static void put_tensor(pickle_make_tensor_t tensor) {
  put_tensors(1, &tensor, (const char *const[]){"weight"});
}

static void tensors_stay_in_their_storages(void **state) {
  (void)state;
  pickle_make_tensor_t t = sound;
  put_tensor(t);
  accept_file(1);
  t.offset = 1, put_tensor(t), refuse_file("outside its storage");
  t.offset = -1, put_tensor(t), refuse_file("outside its storage");
  t.offset = INT64_MAX, put_tensor(t), refuse_file("outside its storage");
  t = sound, t.stride[0] = 7, put_tensor(t), refuse_file("outside its storage");
  t = sound, t.stride[1] = -1, put_tensor(t), refuse_file("outside its storage");
  t = sound, t.stride[0] = INT64_MAX, put_tensor(t), refuse_file("outside its storage");
  t = sound, t.stride[0] = INT64_MAX / 3, t.stride[1] = INT64_MAX / 5, put_tensor(t), refuse_file("outside");
  t = sound, t.shape[0] = 5, t.stride[0] = 0, put_tensor(t), refuse_file("elements twice");
  t = sound, t.shape[0] = -4, put_tensor(t), refuse_file("negative");
  t = sound, t.shape[0] = t.shape[1] = INT64_C(1) << 32, put_tensor(t), refuse_file("2^63");
  t = sound, t.shape[0] = INT64_C(1) << 40, t.shape[1] = 0, put_tensor(t), accept_file(1);
  t = sound, t.shape[0] = INT64_C(1) << 62, t.shape[1] = 0, put_tensor(t), refuse_file("2^63");
}

static void storages_are_checked(void **state) {
  (void)state;
  pickle_make_tensor_t t = sound;
  t.key = "1", put_tensor(t), refuse_file("'data/1' is not in the file");
  t.key = "../data/0", put_tensor(t), refuse_file("is not in the file");
  t.key = "", put_tensor(t), refuse_file("is not in the file");
  t = sound, t.elements = 23, put_tensor(t), refuse_file("has 96 bytes");
  t = sound, t.elements = -24, put_tensor(t), refuse_file("has 96 bytes");
  t = sound, t.elements = INT64_MAX / 4 + 25, put_tensor(t), refuse_file("has 96 bytes");
  t = sound, t.storage = "HalfStorage", put_tensor(t), refuse_file("has 96 bytes");
  t = sound, t.strides = 1, put_tensor(t), refuse_file("strides");
  t = (pickle_make_tensor_t){"FloatStorage", "0", 24, 0, 9, 9, {1, 1, 1, 1, 1, 1, 1, 1, 1}, {0}};
  put_tensor(t), refuse_file("more than 8");
}

static void repeated_names_are_refused(void **state) {
  (void)state;
  const pickle_make_tensor_t tensors[2] = {sound, sound};
  put_tensors(2, tensors, (const char *const[]){"a", "b"});
  accept_file(2);
  put_tensors(2, tensors, (const char *const[]){"a", "a"});
  refuse_file("'a' is there twice");
}

/* ---- ZIP ---- */

static zip_make_t make_zip(bool large) {
  static pickle_make_t pickle;
  zip_make_t zip;
  pickle.n = 0;
  PICKLE_RAW(&pickle, "\x80\x02}X\x01\x00\x00\x00w");
  pickle_make_tensor(&pickle, &sound);
  PICKLE_RAW(&pickle, "s.");
  zip_make_start(&zip);
  zip_make_add(&zip, "m/data.pkl", pickle.bytes, pickle.n);
  zip_make_add(&zip, "m/data/0", zeros, 96);
  zip_make_add(&zip, "m/version", "3\n", 2);
  zip_make_finish(&zip, large);
  return zip;
}

/* BYTES more bytes of NUMBER at byte AT, and the file refused. */
static void refuse_change(bool large, size_t (*where)(const zip_make_t *), size_t at, uint64_t number,
                          int bytes, const char *about) {
  zip_make_t zip = make_zip(large);
  for (int i = 0; i < bytes; i++)
    zip.bytes[where(&zip) + at + (size_t)i] = (unsigned char)(number >> (8 * i));
  write_bytes(zip.bytes, zip.n);
  zip_make_free(&zip);
  refuse_file(about);
}

static size_t at_end(const zip_make_t *zip) {
  return zip->end;
}

static size_t at_directory(const zip_make_t *zip) {
  return zip->directory;
}

static size_t at_second(const zip_make_t *zip) {
  return zip->headers[1];
}

static size_t at_pickle(const zip_make_t *zip) {
  return zip->headers[0] + 30 + strlen("m/data.pkl");
}

/* The ZIP64 record and its locator before the end. */
static size_t at_record(const zip_make_t *zip) {
  return zip->end - 76;
}

static size_t at_locator(const zip_make_t *zip) {
  return zip->end - 20;
}

/* The directory's second entry, behind the first with its name. */
static size_t at_second_entry(const zip_make_t *zip) {
  return zip->directory + 46 + strlen("m/data.pkl");
}

static void sound_zips_are_taken(void **state) {
  (void)state;
  for (int large = 0; large < 2; large++) {
    zip_make_t zip = make_zip(large);
    write_bytes(zip.bytes, zip.n);
    accept_file(1);
    zip_make_put(&zip, 'x', 5);
    zip.bytes[zip.end + 20] = 5; /* a comment */
    write_bytes(zip.bytes, zip.n);
    accept_file(1);
    zip_make_free(&zip);
  }
}

static void cut_zips_are_refused(void **state) {
  (void)state;
  for (int large = 0; large < 2; large++) {
    zip_make_t zip = make_zip(large);
    for (size_t n = 0; n < zip.n; n++) {
      write_bytes(zip.bytes, n);
      refuse_file("");
    }
    write_bytes(zip.bytes, zip.n + 1); /* with a byte too many */
    refuse_file("no directory at the end");
    zip_make_free(&zip);
  }
}

static void wrong_ends_are_refused(void **state) {
  (void)state;
  refuse_change(false, at_end, 4, 1, 2, "several parts");
  refuse_change(false, at_end, 8, 2, 2, "several parts");
  refuse_change(false, at_end, 8, 0x00020002, 4, "more than its entries");
  refuse_change(false, at_end, 8, 0xffffffff, 4, "ZIP64 record is missing");
  refuse_change(false, at_end, 12, 0x7fffffff, 4, "outside the file");
  refuse_change(false, at_end, 16, 0x7fffffff, 4, "outside the file");
  refuse_change(false, at_end, 16, 0xffffffff, 4, "ZIP64 record is missing");
  refuse_change(true, at_end, 16, 7, 4, "end records differ");
  refuse_change(true, at_locator, 8, UINT64_MAX, 8, "outside the file");
  refuse_change(true, at_locator, 8, 0, 8, "no ZIP64 record");
  refuse_change(true, at_locator, 16, 2, 4, "several parts");
  refuse_change(true, at_record, 24, UINT64_MAX, 8, "several parts");
  refuse_change(true, at_record, 40, UINT64_MAX, 8, "outside the file");
  refuse_change(true, at_record, 48, UINT64_MAX - 3, 8, "outside the file");
}

static void wrong_entries_are_refused(void **state) {
  (void)state;
  refuse_change(false, at_directory, 0, 0, 4, "directory is broken");
  refuse_change(false, at_directory, 8, 1, 2, "encrypted");
  refuse_change(false, at_directory, 10, 8, 2, "compressed");
  refuse_change(false, at_second_entry, 10, 8, 2, "'m/data/0': compressed");
  refuse_change(false, at_directory, 20, 7, 4, "two sizes differ");
  refuse_change(false, at_second_entry, 20, 0x7fffffff7fffffff, 8, "outside the file");
  refuse_change(false, at_second_entry, 20, 0xffffffffffffffff, 8,
                "ZIP64 field is missing"); /* there is none */
  refuse_change(false, at_directory, 42, 0x7fffffff, 4, "outside the file");
  refuse_change(false, at_directory, 42, 1, 4, "no header");
  refuse_change(false, at_second_entry, 42, 0, 4, "its header differs");
  refuse_change(false, at_directory, 30, 0xffff, 2, "directory's end");
  refuse_change(false, at_directory, 28, 0xffff, 2, "directory's end");
  refuse_change(false, at_second, 8, 8, 2, "its header differs");
  refuse_change(false, at_second, 30, 'x', 1, "another name");
  refuse_change(false, at_second, 28, 0xffff, 2, "outside the file");
  refuse_change(false, at_second, 28, 1, 2, "overlaps");
  refuse_change(false, at_pickle, 3, 'x', 1, "checksum");
}

static void refuse_entries(const char *const *names, const char *about) {
  zip_make_t zip;
  zip_make_start(&zip);
  for (int i = 0; names[i] != NULL; i++)
    zip_make_add(&zip, names[i], "\x80\x02}.", 4);
  zip_make_finish(&zip, false);
  write_bytes(zip.bytes, zip.n);
  zip_make_free(&zip);
  refuse_file(about);
}

static void wrong_names_are_refused(void **state) {
  (void)state;
  refuse_entries((const char *const[]){"m/data.pkl", "m/x", "m/data.pkl", NULL}, "two of this name");
  refuse_entries((const char *const[]){"m/data.pkl", "n/data.pkl", NULL}, "two entries");
  refuse_entries((const char *const[]){"word/document.xml", NULL}, "not made by torch.save");
  refuse_entries((const char *const[]){"data.pkl", NULL}, "not made by torch.save");
  refuse_entries((const char *const[]){"m/data.pkl", "m/byteorder", NULL}, "expected 'little'");
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sound_pickles_are_taken),
      cmocka_unit_test(opcodes_beyond_a_state_dict_are_refused),
      cmocka_unit_test(names_beyond_a_state_dict_are_refused),
      cmocka_unit_test(calls_are_checked),
      cmocka_unit_test(broken_stacks_are_refused),
      cmocka_unit_test(what_is_walked_is_bounded),
      cmocka_unit_test(tensors_stay_in_their_storages),
      cmocka_unit_test(storages_are_checked),
      cmocka_unit_test(repeated_names_are_refused),
      cmocka_unit_test(sound_zips_are_taken),
      cmocka_unit_test(cut_zips_are_refused),
      cmocka_unit_test(wrong_ends_are_refused),
      cmocka_unit_test(wrong_entries_are_refused),
      cmocka_unit_test(wrong_names_are_refused),
  };
  snprintf(folder, sizeof folder, "/tmp/llava_io_XXXXXX");
  if (mkdtemp(folder) == NULL || file_join(path, folder, "w.bin", NULL) != STATUS_OK) return 1;
  int result = mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
  nftw(folder, io_test_remove_one, 16, FTW_DEPTH | FTW_PHYS);
  return result;
}
