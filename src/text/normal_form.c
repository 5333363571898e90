#include "text/normal_form.h"

#include "text/utf8.h"

#include <stdint.h>
#include <stdlib.h>
#include <utf8proc.h>

/* The tokenizers library knows the combining classes of Unicode 9. Marks that came later, up to Unicode 15,
 * neither move nor join there, and models were trained on texts made so. Ascending. */
static const struct {
  uint32_t first, last;
} newer_marks[] = {
    {0x7FD, 0x7FD},     {0x898, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},     {0xC3C, 0xC3C},
    {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0x1715, 0x1715},   {0x1ABF, 0x1ACE},   {0x1DF6, 0x1DFA},
    {0xA82C, 0xA82C},   {0x10D24, 0x10D27}, {0x10EAB, 0x10EAC}, {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50},
    {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x1145E, 0x1145E}, {0x11839, 0x1183A},
    {0x11930, 0x11930}, {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0}, {0x11A34, 0x11A34},
    {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D42}, {0x11D44, 0x11D45}, {0x11D97, 0x11D97},
    {0x11F41, 0x11F42}, {0x16FF0, 0x16FF1}, {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE},
    {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF}};
enum { NEWER_MARKS = sizeof newer_marks / sizeof *newer_marks };

static bool is_newer_mark(uint32_t character) {
  int low = 0, high = NEWER_MARKS;
  while (low < high) {
    int middle = (low + high) / 2;
    if (newer_marks[middle].last < character)
      low = middle + 1;
    else
      high = middle;
  }
  return low < NEWER_MARKS && newer_marks[low].first <= character;
}

/* Below U+0300 every character is in the normal form and nothing joins. */
bool normal_form_may_change(text_view_t text) {
  for (size_t i = 0; i < text.n; i++)
    if ((unsigned char)text.bytes[i] >= 0xCC) return true;
  return false;
}

static status_t normal_form_append_part(text_view_t text, text_buffer_t *out) {
  utf8proc_uint8_t *normal = NULL;
  if (text.n == 0) return STATUS_OK;
  utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text.bytes, (utf8proc_ssize_t)text.n, &normal,
                                    UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  if (n < 0) return error_set(STATUS_DATA, "normalising %zu bytes: %s", text.n, utf8proc_errmsg(n));
  status_code_t status = text_buffer_append(out, (text_view_t){(const char *)normal, (size_t)n});
  free(normal);
  return status;
}

status_t normal_form_append(text_view_t text, text_buffer_t *out) {
  if (text.n > PTRDIFF_MAX / 8)
    return error_set(STATUS_DATA, "a text of %zu bytes is too long to be normalised", text.n);
  size_t done = 0;
  for (size_t at = 0, length; at < text.n; at += length) {
    uint32_t character;
    length = utf8_decode((const unsigned char *)text.bytes + at, text.n - at, &character);
    if (length == 0) return error_set(STATUS_INTERNAL, "a text to be normalised is not UTF-8");
    if (!is_newer_mark(character)) continue;
    TRY(normal_form_append_part(text_slice(text, done, at), out));
    TRY(text_buffer_append(out, text_slice(text, at, at + length)));
    done = at + length;
  }
  return normal_form_append_part(text_slice(text, done, text.n), out);
}
