/* An input file and, after zero bytes, texts of --set: read, checked, written out and read back. */
#include "fuzz.h"

#include "base/memory.h"
#include "input/settings.h"

#include <string.h>

enum { OVERRIDES_MOST = 3 };

void fuzz_start(void) {}

/* What is written of SETTINGS is read back as the same. */
static void echo(const settings_t *settings) {
  char *first, *second;
  settings_t again;
  FUZZ_EXPECT(settings_text(settings, &first) == STATUS_OK);
  FUZZ_EXPECT(settings_read_text("echo.nml", first, 0, NULL, &again, NULL) == STATUS_OK);
  FUZZ_EXPECT(settings_text(&again, &second) == STATUS_OK);
  FUZZ_EXPECT(strcmp(first, second) == 0);
  memory_free(first);
  memory_free(second);
  settings_free(&again);
}

void fuzz_one(const uint8_t *bytes, size_t n) {
  const char *overrides[OVERRIDES_MOST];
  char *text, *warnings = NULL;
  int count = 0;
  settings_t settings;
  FUZZ_EXPECT(memory_copy_text(&text, ARENA_OTHER, (const char *)bytes, n) == STATUS_OK);
  for (size_t at = strlen(text) + 1; at < n && count < OVERRIDES_MOST; at += strlen(text + at) + 1)
    overrides[count++] = text + at;
  status_code_t status = settings_read_text("fuzz.nml", text, count, overrides, &settings, &warnings);
  FUZZ_EXPECT(status == STATUS_OK || status == STATUS_INPUT);
  if (status == STATUS_OK) {
    echo(&settings);
    settings_free(&settings);
  }
  memory_free(warnings);
  memory_free(text);
  error_clear();
}
