#include "base/memory.h"
#include "input/namelist.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* A parsed text with its mistakes. */
typedef struct {
  namelist_t list;
  mistakes_t mistakes;
} parsed_t;

static parsed_t parse(const char *text) {
  parsed_t parsed = {.mistakes = {.name = "test"}};
  assert_int_equal(namelist_parse(text, &parsed.mistakes, &parsed.list), STATUS_OK);
  return parsed;
}

static void release(parsed_t *parsed) {
  namelist_free(&parsed->list);
  mistakes_free(&parsed->mistakes);
}

/* Checks that entry I is GROUP.NAME = VALUES (texts separated by '|'). */
static void assert_entry(const parsed_t *parsed, int i, const char *group, const char *name,
                         const char *values) {
  assert_true(i < parsed->list.entry_count);
  const namelist_entry_t *entry = &parsed->list.entries[i];
  assert_string_equal(parsed->list.groups[entry->group].name, group);
  assert_string_equal(entry->name, name);
  char joined[256] = "";
  for (int j = 0; j < entry->count; j++) {
    if (j > 0) strcat(joined, "|");
    strcat(joined, parsed->list.values[entry->first + j].text);
  }
  assert_string_equal(joined, values);
}

static void assert_mistake(const parsed_t *parsed, int i, int line, int column) {
  assert_true(i < parsed->mistakes.count);
  assert_int_equal(parsed->mistakes.items[i].place.line, line);
  assert_int_equal(parsed->mistakes.items[i].place.column, column);
}

static void groups_hold_settings(void **state) {
  (void)state;
  parsed_t p = parse("&job\n task = 'sft'\n seed=3\n/\n&optim lr = 1e-4 /");
  assert_int_equal(p.mistakes.count, 0);
  assert_int_equal(p.list.group_count, 2);
  assert_int_equal(p.list.entry_count, 3);
  assert_entry(&p, 0, "job", "task", "sft");
  assert_entry(&p, 1, "job", "seed", "3");
  assert_entry(&p, 2, "optim", "lr", "1e-4");
  release(&p);
}

static void an_empty_text_has_no_groups(void **state) {
  (void)state;
  const char *const texts[] = {"", "\n\n", "! only a comment", "\xEF\xBB\xBF", " \t\r\n"};
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    parsed_t p = parse(texts[i]);
    assert_int_equal(p.mistakes.count, 0);
    assert_int_equal(p.list.group_count, 0);
    release(&p);
  }
}

static void comments_end_with_their_line(void **state) {
  (void)state;
  parsed_t p = parse("! &no group\n&a ! x = 1 /\n x = 2 ! y = 3\n s = 'a!b' ! c\n/ ! end");
  assert_int_equal(p.mistakes.count, 0);
  assert_int_equal(p.list.entry_count, 2);
  assert_entry(&p, 0, "a", "x", "2");
  assert_entry(&p, 1, "a", "s", "a!b");
  release(&p);
}

static void names_have_no_case(void **state) {
  (void)state;
  parsed_t p = parse("&PPO KL_Coef = T /");
  assert_int_equal(p.mistakes.count, 0);
  assert_entry(&p, 0, "ppo", "kl_coef", "T"); /* values keep theirs */
  release(&p);
}

static void both_quotes_hold_text(void **state) {
  (void)state;
  parsed_t p = parse("&a x = 'it''s', \"a \"\"b\"\"\", 'say \"c\"', '', \"/ & = , !\" /");
  assert_int_equal(p.mistakes.count, 0);
  assert_entry(&p, 0, "a", "x", "it's|a \"b\"|say \"c\"||/ & = , !");
  for (int i = 0; i < p.list.value_count; i++)
    assert_true(p.list.values[i].quoted);
  release(&p);
}

static void lists_need_no_commas(void **state) {
  (void)state;
  parsed_t p = parse("&a x = 1, 2 3\n 4,\n 5\n y = 6 /");
  assert_int_equal(p.mistakes.count, 0);
  assert_entry(&p, 0, "a", "x", "1|2|3|4|5");
  assert_entry(&p, 1, "a", "y", "6");
  release(&p);
}

static void several_settings_share_a_line(void **state) {
  (void)state;
  parsed_t p = parse("&a x=1 y=.true. z='b', w = 2*3/&b/");
  assert_int_equal(p.mistakes.count, 0);
  assert_entry(&p, 0, "a", "x", "1");
  assert_entry(&p, 1, "a", "y", ".true.");
  assert_entry(&p, 2, "a", "z", "b");
  assert_entry(&p, 3, "a", "w", "3|3");
  assert_int_equal(p.list.group_count, 2);
  release(&p);
}

static void repeats_repeat(void **state) {
  (void)state;
  parsed_t p = parse("&a x = 3*0.0, 1, 2*'b' /");
  assert_int_equal(p.mistakes.count, 0);
  assert_entry(&p, 0, "a", "x", "0.0|0.0|0.0|1|b|b");
  release(&p);
}

static void impossible_repeats_are_mistakes(void **state) {
  (void)state;
  parsed_t p = parse("&a x = 0*1\n y = 99999999999999999999*1\n z = 3*\n/");
  assert_int_equal(p.mistakes.count, 3);
  assert_mistake(&p, 0, 1, 8);
  assert_mistake(&p, 1, 2, 6);
  assert_mistake(&p, 2, 3, 6);
  release(&p);
}

static void values_may_follow_on_later_lines(void **state) {
  (void)state;
  parsed_t p = parse("&a\n x =\n   1 2\n flag = F\n   T\n y\n = 3\n/");
  assert_int_equal(p.mistakes.count, 0);
  assert_entry(&p, 0, "a", "x", "1|2");
  assert_entry(&p, 1, "a", "flag", "F|T");
  assert_entry(&p, 2, "a", "y", "3");
  release(&p);
}

static void dos_line_ends_are_space(void **state) {
  (void)state;
  parsed_t p = parse("&a\r\n x = 1\r\n s = 'b'\r\n/\r\n");
  assert_int_equal(p.mistakes.count, 0);
  assert_entry(&p, 0, "a", "x", "1");
  assert_entry(&p, 1, "a", "s", "b");
  release(&p);
}

static void places_are_lines_and_columns(void **state) {
  (void)state;
  parsed_t p = parse("&a\n  x = 1,\n\ty = 'b' z = 2\n/");
  assert_int_equal(p.list.groups[0].place.line, 1);
  assert_int_equal(p.list.groups[0].place.column, 1);
  assert_int_equal(p.list.entries[0].place.line, 2);
  assert_int_equal(p.list.entries[0].place.column, 3);
  assert_int_equal(p.list.entries[1].place.column, 2);
  assert_int_equal(p.list.entries[2].place.line, 3);
  assert_int_equal(p.list.entries[2].place.column, 10);
  assert_int_equal(p.list.values[2].place.column, 14);
  release(&p);
}

/* A character of several bytes is one column. */
static void columns_count_characters(void **state) {
  (void)state;
  parsed_t p = parse("&a s = 'gr\xC3\xBC\xC3\x9F\x65' x = 1 /");
  assert_int_equal(p.list.entries[1].place.column, 16);
  release(&p);
}

static void text_outside_groups_is_reported_once(void **state) {
  (void)state;
  parsed_t p = parse("hello\nworld\n&a x = 1 /\nbye\n");
  assert_int_equal(p.mistakes.count, 2);
  assert_mistake(&p, 0, 1, 1);
  assert_mistake(&p, 1, 4, 1);
  assert_entry(&p, 0, "a", "x", "1");
  release(&p);
}

static void a_group_without_end_is_reported_at_its_start(void **state) {
  (void)state;
  parsed_t p = parse("&a x = 1\n&b y = 2 /\n &c z = 3");
  assert_int_equal(p.mistakes.count, 2);
  assert_mistake(&p, 0, 1, 1);
  assert_mistake(&p, 1, 3, 2);
  assert_entry(&p, 1, "b", "y", "2");
  assert_entry(&p, 2, "c", "z", "3");
  release(&p);
}

static void a_quote_without_end_costs_its_line_only(void **state) {
  (void)state;
  parsed_t p = parse("&a\n s = 'abc\n x = 1\n t = \"d\n/");
  assert_int_equal(p.mistakes.count, 2);
  assert_mistake(&p, 0, 2, 6);
  assert_mistake(&p, 1, 4, 6);
  assert_entry(&p, 1, "a", "x", "1");
  assert_int_equal(p.list.group_count, 1);
  release(&p);
}

static void a_missing_equals_costs_one_setting_only(void **state) {
  (void)state;
  parsed_t p = parse("&a\n x 1\n y = 2\n z\n w = 3\n/");
  assert_int_equal(p.mistakes.count, 2);
  assert_mistake(&p, 0, 2, 4);
  assert_mistake(&p, 1, 5, 2);
  assert_entry(&p, 1, "a", "y", "2");
  release(&p);
}

static void empty_values_are_mistakes(void **state) {
  (void)state;
  parsed_t p = parse("&a x = 1,,2\n y = ,3\n z =\n w = 4\n/");
  assert_int_equal(p.mistakes.count, 2);
  assert_mistake(&p, 0, 1, 10);
  assert_mistake(&p, 1, 2, 6);
  assert_int_equal(p.list.entries[2].count, 0); /* z: whether that is wrong is its type's matter */
  assert_entry(&p, 3, "a", "w", "4");
  release(&p);
}

static void indices_are_mistakes(void **state) {
  (void)state;
  parsed_t p = parse("&a x(1) = 2\n y = 3 /");
  assert_int_equal(p.mistakes.count, 1);
  assert_mistake(&p, 0, 1, 5);
  assert_entry(&p, 1, "a", "y", "3");
  release(&p);
}

static void a_path_without_quotes_is_one_word(void **state) {
  (void)state;
  parsed_t p = parse("&a x = runs/ppo/x.h5\n y = /data/b\n z = 1/\n&b w = 2 /");
  assert_int_equal(p.mistakes.count, 0); /* that it lacks quotes is its type's matter */
  assert_entry(&p, 0, "a", "x", "runs/ppo/x.h5");
  assert_entry(&p, 1, "a", "y", "/data/b");
  assert_entry(&p, 2, "a", "z", "1");
  assert_entry(&p, 3, "b", "w", "2");
  release(&p);
}

static void stray_characters_are_stepped_over(void **state) {
  (void)state;
  parsed_t p = parse("&a 'x' = 1\n ? y = = 2\n = 3\n/\n& z = 1 /\n/");
  assert_true(p.mistakes.count >= 5);
  assert_int_equal(p.list.group_count, 2);
  release(&p);
}

static void the_old_end_is_named(void **state) {
  (void)state;
  parsed_t p = parse("&a x = 1 &END\n&b y = 2 /");
  assert_int_equal(p.mistakes.count, 1);
  assert_mistake(&p, 0, 1, 10);
  assert_int_equal(p.list.group_count, 2);
  release(&p);
}

static void values_alone_can_be_read(void **state) {
  (void)state;
  parsed_t p = {.mistakes = {.name = "test"}};
  place_t place = {.override = 2};
  assert_int_equal(namelist_parse_values(" 2*0.5, 'a' b/c", place, &p.mistakes, &p.list), STATUS_OK);
  assert_int_equal(p.mistakes.count, 0);
  assert_int_equal(p.list.value_count, 4);
  assert_string_equal(p.list.values[1].text, "0.5");
  assert_string_equal(p.list.values[3].text, "b/c");
  assert_int_equal(p.list.values[3].place.override, 2);
  release(&p);
  const char *const wrong[] = {"1 /", "&", "1 = 2", "/", "1,,2", "'a"};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    assert_int_equal(namelist_parse_values(wrong[i], place, &p.mistakes, &p.list), STATUS_OK);
    assert_true(p.mistakes.count > 0);
    release(&p);
  }
}

/* Whatever the bytes, reading ends, without touching memory it should not (address sanitizer). */
static void any_text_is_survived(void **state) {
  (void)state;
  static const char alphabet[] = "&/ab=,'\"!*3.( )\n\t\\-\xC3\xA4";
  unsigned seed = 12345;
  char text[64];
  for (int i = 0; i < 20000; i++) {
    size_t length = 0;
    for (; length < sizeof text - 1; length++) {
      seed = seed * 1664525u + 1013904223u;
      unsigned letter = (seed >> 16) % (sizeof alphabet + 1);
      if (letter >= sizeof alphabet - 1) break;
      text[length] = alphabet[letter];
    }
    text[length] = '\0';
    parsed_t p = parse(text);
    release(&p);
    p = (parsed_t){.mistakes = {.name = "test"}};
    assert_int_equal(namelist_parse_values(text, (place_t){0}, &p.mistakes, &p.list), STATUS_OK);
    release(&p);
  }
  assert_int_equal(memory_usage(ARENA_OTHER).current, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(groups_hold_settings),
      cmocka_unit_test(an_empty_text_has_no_groups),
      cmocka_unit_test(comments_end_with_their_line),
      cmocka_unit_test(names_have_no_case),
      cmocka_unit_test(both_quotes_hold_text),
      cmocka_unit_test(lists_need_no_commas),
      cmocka_unit_test(several_settings_share_a_line),
      cmocka_unit_test(repeats_repeat),
      cmocka_unit_test(impossible_repeats_are_mistakes),
      cmocka_unit_test(values_may_follow_on_later_lines),
      cmocka_unit_test(dos_line_ends_are_space),
      cmocka_unit_test(places_are_lines_and_columns),
      cmocka_unit_test(columns_count_characters),
      cmocka_unit_test(text_outside_groups_is_reported_once),
      cmocka_unit_test(a_group_without_end_is_reported_at_its_start),
      cmocka_unit_test(a_quote_without_end_costs_its_line_only),
      cmocka_unit_test(a_missing_equals_costs_one_setting_only),
      cmocka_unit_test(empty_values_are_mistakes),
      cmocka_unit_test(indices_are_mistakes),
      cmocka_unit_test(a_path_without_quotes_is_one_word),
      cmocka_unit_test(stray_characters_are_stepped_over),
      cmocka_unit_test(the_old_end_is_named),
      cmocka_unit_test(values_alone_can_be_read),
      cmocka_unit_test(any_text_is_survived),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
