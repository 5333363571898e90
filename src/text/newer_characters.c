#include "text/newer_characters.h"

#include "text/utf8.h"

#include <string.h>

typedef enum {
  CATEGORY_LL,
  CATEGORY_LM,
  CATEGORY_LO,
  CATEGORY_LU,
  CATEGORY_MC,
  CATEGORY_MN,
  CATEGORY_ND,
  CATEGORY_NO,
  CATEGORY_PD,
  CATEGORY_PO,
  CATEGORY_SM,
  CATEGORY_SO
} category_t;

/* Ascending. */
static const struct {
  uint32_t first, last;
  category_t category;
} newer[] = {
    {0x897, 0x897, CATEGORY_MN},     {0xCF3, 0xCF3, CATEGORY_MC},     {0xECE, 0xECE, CATEGORY_MN},
    {0x1B4E, 0x1B4F, CATEGORY_PO},   {0x1B7F, 0x1B7F, CATEGORY_PO},   {0x1C89, 0x1C89, CATEGORY_LU},
    {0x1C8A, 0x1C8A, CATEGORY_LL},   {0x2427, 0x2429, CATEGORY_SO},   {0x2FFC, 0x2FFF, CATEGORY_SO},
    {0x31E4, 0x31E5, CATEGORY_SO},   {0x31EF, 0x31EF, CATEGORY_SO},   {0xA7CB, 0xA7CC, CATEGORY_LU},
    {0xA7CD, 0xA7CD, CATEGORY_LL},   {0xA7DA, 0xA7DA, CATEGORY_LU},   {0xA7DB, 0xA7DB, CATEGORY_LL},
    {0xA7DC, 0xA7DC, CATEGORY_LU},   {0x105C0, 0x105F3, CATEGORY_LO}, {0x10D40, 0x10D49, CATEGORY_ND},
    {0x10D4A, 0x10D4D, CATEGORY_LO}, {0x10D4E, 0x10D4E, CATEGORY_LM}, {0x10D4F, 0x10D4F, CATEGORY_LO},
    {0x10D50, 0x10D65, CATEGORY_LU}, {0x10D69, 0x10D6D, CATEGORY_MN}, {0x10D6E, 0x10D6E, CATEGORY_PD},
    {0x10D6F, 0x10D6F, CATEGORY_LM}, {0x10D70, 0x10D85, CATEGORY_LL}, {0x10D8E, 0x10D8F, CATEGORY_SM},
    {0x10EC2, 0x10EC4, CATEGORY_LO}, {0x10EFC, 0x10EFF, CATEGORY_MN}, {0x1123F, 0x11240, CATEGORY_LO},
    {0x11241, 0x11241, CATEGORY_MN}, {0x11380, 0x11389, CATEGORY_LO}, {0x1138B, 0x1138B, CATEGORY_LO},
    {0x1138E, 0x1138E, CATEGORY_LO}, {0x11390, 0x113B5, CATEGORY_LO}, {0x113B7, 0x113B7, CATEGORY_LO},
    {0x113B8, 0x113BA, CATEGORY_MC}, {0x113BB, 0x113C0, CATEGORY_MN}, {0x113C2, 0x113C2, CATEGORY_MC},
    {0x113C5, 0x113C5, CATEGORY_MC}, {0x113C7, 0x113CA, CATEGORY_MC}, {0x113CC, 0x113CD, CATEGORY_MC},
    {0x113CE, 0x113CE, CATEGORY_MN}, {0x113CF, 0x113CF, CATEGORY_MC}, {0x113D0, 0x113D0, CATEGORY_MN},
    {0x113D1, 0x113D1, CATEGORY_LO}, {0x113D2, 0x113D2, CATEGORY_MN}, {0x113D3, 0x113D3, CATEGORY_LO},
    {0x113D4, 0x113D5, CATEGORY_PO}, {0x113D7, 0x113D8, CATEGORY_PO}, {0x113E1, 0x113E2, CATEGORY_MN},
    {0x116D0, 0x116E3, CATEGORY_ND}, {0x11B00, 0x11B09, CATEGORY_PO}, {0x11BC0, 0x11BE0, CATEGORY_LO},
    {0x11BE1, 0x11BE1, CATEGORY_PO}, {0x11BF0, 0x11BF9, CATEGORY_ND}, {0x11F00, 0x11F01, CATEGORY_MN},
    {0x11F02, 0x11F02, CATEGORY_LO}, {0x11F03, 0x11F03, CATEGORY_MC}, {0x11F04, 0x11F10, CATEGORY_LO},
    {0x11F12, 0x11F33, CATEGORY_LO}, {0x11F34, 0x11F35, CATEGORY_MC}, {0x11F36, 0x11F3A, CATEGORY_MN},
    {0x11F3E, 0x11F3F, CATEGORY_MC}, {0x11F40, 0x11F40, CATEGORY_MN}, {0x11F41, 0x11F41, CATEGORY_MC},
    {0x11F42, 0x11F42, CATEGORY_MN}, {0x11F43, 0x11F4F, CATEGORY_PO}, {0x11F50, 0x11F59, CATEGORY_ND},
    {0x11F5A, 0x11F5A, CATEGORY_MN}, {0x1342F, 0x1342F, CATEGORY_LO}, {0x13440, 0x13440, CATEGORY_MN},
    {0x13441, 0x13446, CATEGORY_LO}, {0x13447, 0x13455, CATEGORY_MN}, {0x13460, 0x143FA, CATEGORY_LO},
    {0x16100, 0x1611D, CATEGORY_LO}, {0x1611E, 0x16129, CATEGORY_MN}, {0x1612A, 0x1612C, CATEGORY_MC},
    {0x1612D, 0x1612F, CATEGORY_MN}, {0x16130, 0x16139, CATEGORY_ND}, {0x16D40, 0x16D42, CATEGORY_LM},
    {0x16D43, 0x16D6A, CATEGORY_LO}, {0x16D6B, 0x16D6C, CATEGORY_LM}, {0x16D6D, 0x16D6F, CATEGORY_PO},
    {0x16D70, 0x16D79, CATEGORY_ND}, {0x18CFF, 0x18CFF, CATEGORY_LO}, {0x1B132, 0x1B132, CATEGORY_LO},
    {0x1B155, 0x1B155, CATEGORY_LO}, {0x1CC00, 0x1CCEF, CATEGORY_SO}, {0x1CCF0, 0x1CCF9, CATEGORY_ND},
    {0x1CD00, 0x1CEB3, CATEGORY_SO}, {0x1D2C0, 0x1D2D3, CATEGORY_NO}, {0x1DF25, 0x1DF2A, CATEGORY_LL},
    {0x1E030, 0x1E06D, CATEGORY_LM}, {0x1E08F, 0x1E08F, CATEGORY_MN}, {0x1E4D0, 0x1E4EA, CATEGORY_LO},
    {0x1E4EB, 0x1E4EB, CATEGORY_LM}, {0x1E4EC, 0x1E4EF, CATEGORY_MN}, {0x1E4F0, 0x1E4F9, CATEGORY_ND},
    {0x1E5D0, 0x1E5ED, CATEGORY_LO}, {0x1E5EE, 0x1E5EF, CATEGORY_MN}, {0x1E5F0, 0x1E5F0, CATEGORY_LO},
    {0x1E5F1, 0x1E5FA, CATEGORY_ND}, {0x1E5FF, 0x1E5FF, CATEGORY_PO}, {0x1F6DC, 0x1F6DC, CATEGORY_SO},
    {0x1F774, 0x1F776, CATEGORY_SO}, {0x1F77B, 0x1F77F, CATEGORY_SO}, {0x1F7D9, 0x1F7D9, CATEGORY_SO},
    {0x1F8B2, 0x1F8BB, CATEGORY_SO}, {0x1F8C0, 0x1F8C1, CATEGORY_SO}, {0x1FA75, 0x1FA77, CATEGORY_SO},
    {0x1FA87, 0x1FA89, CATEGORY_SO}, {0x1FA8F, 0x1FA8F, CATEGORY_SO}, {0x1FAAD, 0x1FAAF, CATEGORY_SO},
    {0x1FABB, 0x1FABF, CATEGORY_SO}, {0x1FAC6, 0x1FAC6, CATEGORY_SO}, {0x1FACE, 0x1FACF, CATEGORY_SO},
    {0x1FADA, 0x1FADC, CATEGORY_SO}, {0x1FADF, 0x1FADF, CATEGORY_SO}, {0x1FAE8, 0x1FAE9, CATEGORY_SO},
    {0x1FAF7, 0x1FAF8, CATEGORY_SO}, {0x1FBCB, 0x1FBEF, CATEGORY_SO}, {0x2B739, 0x2B739, CATEGORY_LO},
    {0x2EBF0, 0x2EE5D, CATEGORY_LO}, {0x31350, 0x323AF, CATEGORY_LO},
};
enum { NEWER = sizeof newer / sizeof *newer };

/* Older characters of three and of four bytes. */
static const uint32_t stand_ins[][2] = {
    [CATEGORY_LL] = {0x1D00, 0x10428}, [CATEGORY_LM] = {0x1D2C, 0x10780}, [CATEGORY_LO] = {0x904, 0x10000},
    [CATEGORY_LU] = {0x10A0, 0x10400}, [CATEGORY_MC] = {0x903, 0x11000},  [CATEGORY_MN] = {0x900, 0x101FD},
    [CATEGORY_ND] = {0x966, 0x104A0},  [CATEGORY_NO] = {0x2070, 0x10107}, [CATEGORY_PD] = {0x2010, 0x10EAD},
    [CATEGORY_PO] = {0x964, 0x10100},  [CATEGORY_SM] = {0x2044, 0x1D6C1}, [CATEGORY_SO] = {0x2100, 0x10137},
};

/* Number of the range that CHARACTER is in, -1 if none. */
static int newer_characters_find_newer(uint32_t character) {
  int low = 0, high = NEWER;
  while (low < high) {
    int middle = (low + high) / 2;
    if (newer[middle].last < character)
      low = middle + 1;
    else
      high = middle;
  }
  return low < NEWER && newer[low].first <= character ? low : -1;
}

/* Place of the first newer character at or after FROM, with its length and range; the text's end if none. */
static size_t next_newer(text_view_t text, size_t from, size_t *length, int *range) {
  for (size_t at = from; at < text.n; at += *length) {
    uint32_t character;
    *length = 1;
    if ((unsigned char)text.bytes[at] < 0xE0) continue; /* all of them have three or four bytes */
    *length = utf8_decode((const unsigned char *)text.bytes + at, text.n - at, &character);
    if (*length == 0) break;
    *range = newer_characters_find_newer(character);
    if (*range >= 0) return at;
  }
  return text.n;
}

bool newer_characters_in(text_view_t text) {
  size_t length;
  int range;
  return next_newer(text, 0, &length, &range) < text.n;
}

status_t newer_characters_hide(text_view_t text, text_buffer_t *out) {
  size_t begin = out->n, length;
  int range;
  TRY(text_buffer_append(out, text));
  for (size_t at = 0; (at = next_newer(text, at, &length, &range)) < text.n; at += length)
    utf8_encode(stand_ins[newer[range].category][length == 4], out->bytes + begin + at);
  return STATUS_OK;
}
