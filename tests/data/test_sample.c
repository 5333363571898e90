#include "data/sample.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TURNS                                                                                                \
  "\"conversations\": [{\"from\": \"human\", \"value\": \"hello\"}, {\"from\": \"gpt\", \"value\": \"hi\"}]"
#define SEEN                                                                                                 \
  "\"image\": \"a.jpg\", \"conversations\": [{\"from\": \"human\", \"value\": \"<image>\\nWhat?\"}, "        \
  "{\"from\": \"gpt\", \"value\": \"A cat.\"}]"
#define OUTPUTS                                                                                              \
  "\"output_1\": {\"from\": \"gpt\", \"value\": \"one\"}, \"output_2\": {\"from\": \"gpt\", \"value\": "     \
  "\"three\"}"

static status_code_t read_text(sample_reader_t *reader, const char *text, sample_kind_t kind,
                               json_document_t *document) {
  assert_int_equal(json_parse(text, strlen(text), "test", document), STATUS_OK);
  return sample_read(reader, document->root, 5, kind);
}

static void good_samples_are_read(void **state) {
  (void)state;
  sample_reader_t reader = {0};
  json_document_t document;
  const dataset_sample_t *sample = &reader.sample;
  assert_int_equal(read_text(&reader,
                             "{\"id\": \"x1\", " SEEN ", \"caption_type\": 6, \"length_bonus\": 0.5}",
                             SAMPLE_CONVERSATION, &document),
                   STATUS_OK);
  assert_string_equal(sample->id.bytes, "x1");
  assert_string_equal(reader.image, "a.jpg");
  assert_int_equal(sample->conversation.count, 2);
  assert_int_equal(sample->conversation.turns[1].role, TURN_GPT);
  assert_int_equal(sample->caption_type, 6);
  assert_true(sample->length_bonus == 0.5f);
  assert_false(sample->paired);
  json_free(&document);

  assert_int_equal(read_text(&reader,
                             "{\"id\": 12, " TURNS ", " OUTPUTS ", \"preference\": 2, \"image\": null}",
                             SAMPLE_PREFERENCE, &document),
                   STATUS_OK);
  assert_string_equal(sample->id.bytes, "12");
  assert_null(reader.image);
  assert_true(sample->paired);
  assert_int_equal(sample->preference, 2);
  assert_string_equal(sample->outputs[1].bytes, "three");
  assert_int_equal(sample->caption_type, 1);
  assert_true(sample->length_bonus == 1.0f);
  json_free(&document);

  /* Pairs that nobody has judged yet. */
  assert_int_equal(read_text(&reader,
                             "{\"id\": \"x\", " TURNS ", \"output_1\": \"one\", \"output_2\": \"two\"}",
                             SAMPLE_CONVERSATION, &document),
                   STATUS_OK);
  assert_int_equal(sample->preference, 0);
  assert_string_equal(sample->outputs[0].bytes, "one");
  json_free(&document);
  sample_reader_free(&reader);
}

#define USER "{\"role\": \"user\", \"content\": \"Why?\"}"
#define MODEL(text) "{\"role\": \"assistant\", \"content\": \"" text "\"}"

/* The turns of chat files and of ShareGPT: other names, parts, a system message in front. */
static void chat_messages_are_read(void **state) {
  static const struct {
    const char *text, *id, *image, *question, *answer;
  } cases[] = {
      {"{\"messages\": [" USER ", " MODEL("So.") "]}", "5", NULL, "Why?", "So."},
      {"{\"id\": \"a\", \"conversations\": [{\"from\": \"system\", \"value\": \"Be kind.\"}, {\"from\": "
       "\"user\", "
       "\"value\": \"Why?\"}, {\"from\": \"assistant\", \"value\": \"So.\"}]}",
       "a", NULL, "Why?", "So."},
      {"{\"images\": [\"b.jpg\"], \"messages\": [" USER ", " MODEL("So.") "]}", "5", "b.jpg", "<image>\nWhy?",
       "So."},
      {"{\"images\": {\"path\": \"c.jpg\"}, \"messages\": [{\"role\": \"system\", \"content\": \"Be "
       "kind.\"}, "
       "{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"Look: \"}, {\"type\": "
       "\"image\"}, "
       "{\"type\": \"text\", \"text\": \"why?\"}]}, " MODEL("So.") "]}",
       "5", "c.jpg", "Look: <image>\nwhy?", "So."},
  };
  sample_reader_t reader = {0};
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    json_document_t document;
    assert_int_equal(read_text(&reader, cases[i].text, SAMPLE_CONVERSATION, &document), STATUS_OK);
    const conversation_t *conversation = &reader.sample.conversation;
    assert_string_equal(reader.sample.id.bytes, cases[i].id);
    assert_int_equal(conversation->count, 2);
    assert_int_equal(conversation->turns[0].role, TURN_HUMAN);
    assert_int_equal(conversation->turns[1].role, TURN_GPT);
    assert_string_equal(conversation->turns[0].text.bytes, cases[i].question);
    assert_int_equal(conversation->turns[0].text.n, strlen(cases[i].question));
    assert_string_equal(conversation->turns[1].text.bytes, cases[i].answer);
    if (cases[i].image)
      assert_string_equal(reader.image, cases[i].image);
    else
      assert_null(reader.image);
    assert_false(reader.sample.paired);
    json_free(&document);
  }
  assert_int_equal(reader.messages.systems, 2);
  sample_reader_free(&reader);
}

/* Pairs as TRL has them: with a prompt that is a text or messages, and without one. */
static void chosen_and_rejected_are_a_pair(void **state) {
  static const char *const cases[] = {
      "{\"image\": \"a.jpg\", \"prompt\": \"Why?\", \"chosen\": \"good\", \"rejected\": \"bad\"}",
      "{\"images\": [\"a.jpg\"], \"prompt\": [" USER
      "], \"chosen\": [" MODEL("good") "], \"rejected\": [" MODEL("bad") "]}",
      "{\"images\": [\"a.jpg\"], \"chosen\": [" USER ", " MODEL("good") "], \"rejected\": [" USER
                                                                        ", " MODEL("bad") "]}",
      "{\"images\": [\"a.jpg\"], \"prompt\": [{\"role\": \"user\", \"content\": [{\"type\": \"image\"}, "
      "{\"type\": "
      "\"text\", \"text\": \"Why?\"}]}], \"chosen\": [{\"role\": \"assistant\", \"content\": [{\"type\": "
      "\"text\", "
      "\"text\": \"good\"}]}], \"rejected\": [" MODEL("bad") "]}",
      "{\"image\": \"a.jpg\", \"prompt\": \"Why?\", \"chosen\": [" USER
      ", " MODEL("good") "], \"rejected\": [" USER ", " MODEL("bad") "]}",
      "{\"image\": \"a.jpg\", \"chosen\": [{\"content\": \"Why?\", \"name\": null, \"role\": "
      "\"user\"}, " MODEL("good") "], \"rejected\": [" USER ", " MODEL("bad") "]}",
      "{\"image\": \"a.jpg\", \"chosen\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": "
      "\"Why?\"}]}, " MODEL("good") "], \"rejected\": [{\"role\": \"user\", \"name\": \"x\", \"content\": "
                                    "[{\"text\": \"Why?\", \"image\": null, \"type\": \"text\"}]}, " MODEL(
                                        "bad") "]}",
  };
  sample_reader_t reader = {0};
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    json_document_t document;
    assert_int_equal(read_text(&reader, cases[i], SAMPLE_PREFERENCE, &document), STATUS_OK);
    const dataset_sample_t *sample = &reader.sample;
    assert_string_equal(reader.image, "a.jpg");
    assert_int_equal(sample->conversation.count, 1);
    assert_string_equal(sample->conversation.turns[0].text.bytes, "<image>\nWhy?");
    assert_true(sample->paired);
    assert_int_equal(sample->preference, 1);
    assert_string_equal(sample->outputs[0].bytes, "good");
    assert_int_equal(sample->outputs[0].n, 4);
    assert_string_equal(sample->outputs[1].bytes, "bad");
    json_free(&document);
  }
  sample_reader_free(&reader);
}

static void questions_are_read(void **state) {
  (void)state;
  sample_reader_t reader = {0};
  json_document_t document;
  assert_int_equal(
      read_text(&reader,
                "{\"question_id\": 3, \"image\": \"b.jpg\", \"text\": \"Is it?\", \"label\": \"yes\"}",
                SAMPLE_CONVERSATION, &document),
      STATUS_OK);
  assert_string_equal(reader.sample.id.bytes, "3");
  assert_int_equal(reader.sample.conversation.count, 1);
  assert_string_equal(reader.sample.conversation.turns[0].text.bytes, "<image>\nIs it?");
  json_free(&document);
  assert_int_equal(
      read_text(&reader, "{\"question_id\": \"q\", \"text\": \"Why?\"}", SAMPLE_CONVERSATION, &document),
      STATUS_OK);
  assert_string_equal(reader.sample.conversation.turns[0].text.bytes, "Why?");
  json_free(&document);
  sample_reader_free(&reader);
}

static void bad_samples_are_refused(void **state) {
  (void)state;
  static const struct {
    const char *text, *hint;
  } cases[] = {
      {"[]", "an array"},
      {"3", "id"},
      {"{" TURNS "}", "'id'"},
      {"{\"version\": 1, \"data\": [{\"id\": 1, " TURNS "}, {\"id\": 2, " TURNS "}]}",
       "'data', an array of 2 objects; expected an array of samples"},
      {"{\"data\": [{\"id\": 1}], \"more\": [{\"id\": 2}]}", "'id'"},
      {"{\"id\": [1], " TURNS "}", "'id'"},
      {"{\"id\": \"x\"}", "conversations"},
      {"{\"id\": \"x\", \"conversations\": {}}", "an array"},
      {"{\"id\": \"x\", \"conversations\": []}", "no human turn"},
      {"{\"id\": \"x\", \"conversations\": [3]}", "turn 1"},
      {"{\"id\": \"x\", \"conversations\": [{\"from\": \"human\"}]}", "'value'"},
      {"{\"id\": \"x\", \"conversations\": [{\"from\": \"human\", \"value\": 4}]}", "a string"},
      {"{\"id\": \"x\", \"conversations\": [{\"from\": \"gpt\", \"value\": \"hi\"}]}", "no human turn"},
      {"{\"id\": \"x\", \"conversations\": [{\"from\": \"system\", \"value\": \"hi\"}]}", "no human turn"},
      {"{\"id\": \"x\", \"conversations\": [{\"from\": \"human\", \"value\": \"a\"}, {\"from\": \"system\", "
       "\"value\": \"b\"}]}",
       "in front"},
      {"{\"id\": \"x\", \"messages\": [{\"role\": \"tool\", \"content\": \"a\"}]}", "'tool'"},
      {"{\"id\": \"x\", \"messages\": [{\"role\": \"user\", \"content\": 4}]}", "an array of parts"},
      {"{\"id\": \"x\", \"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"audio\"}]}]}",
       "'audio'"},
      {"{\"id\": \"x\", \"images\": [\"a.jpg\", \"b.jpg\"], \"messages\": [" USER "]}", "2 images"},
      {"{\"id\": \"x\", \"images\": [{\"bytes\": \"...\"}], \"messages\": [" USER "]}", "without a path"},
      {"{\"id\": \"x\", \"prompt\": \"Why?\", \"chosen\": \"a\"}", "'rejected'"},
      {"{\"id\": \"x\", \"prompt\": [" USER "], \"chosen\": [" USER "], \"rejected\": [" MODEL("b") "]}",
       "not the model's"},
      {"{\"id\": \"x\", \"chosen\": [" USER
       ", " MODEL("a") "], \"rejected\": [" MODEL("a") ", " MODEL("b") "]}",
       "differ in message 1"},
      {"{\"id\": \"x\", \"chosen\": [{\"role\": \"user\", \"content\": [{\"type\": \"image\"}]}, " MODEL(
           "a") "], \"rejected\": [{\"role\": \"user\", \"content\": [{\"type\": \"image\", \"text\": "
                "\"b\"}]}, " MODEL("b") "]}",
       "differ in message 1"},
      {"{\"id\": \"x\", \"prompt\": [" USER
       ", " MODEL("Sure,") "], \"chosen\": [" MODEL("a") "], \"rejected\": [" MODEL("b") "]}",
       "is the model's"},
      {"{\"id\": \"x\", \"chosen\": [" USER
       ", " MODEL("Sure,") ", " MODEL("a") "], \"rejected\": [" USER ", " MODEL("Sure,") ", " MODEL("b") "]}",
       "is the model's"},
      {"{\"id\": \"x\", \"prompt\": \"What?\", \"chosen\": [" USER ", " MODEL("a") "], \"rejected\": [" USER
                                                                                   ", " MODEL("b") "]}",
       "not their first question"},
      {"{\"id\": \"x\", \"chosen\": [" USER ", " MODEL("a") "], \"rejected\": [" USER "]}", "expected 2"},
      {"{\"id\": \"x\", \"conversations\": [{\"from\": \"human\", \"value\": \"a\"}, {\"from\": \"human\", "
       "\"value\": \"b\"}]}",
       "human"},
      {"{\"id\": \"x\", \"conversations\": [{\"from\": \"human\", \"value\": \"<image>\\nWhat?\"}]}",
       "no 'image'"},
      {"{\"id\": \"x\", \"conversations\": [{\"from\": \"human\", \"value\": \"What?\\n<image>\"}]}",
       "no 'image'"},
      {"{\"id\": \"x\", \"image\": \"a.jpg\", \"conversations\": [{\"from\": \"human\", \"value\": \"a\"}, "
       "{\"from\": "
       "\"gpt\", \"value\": \"<image>\"}, {\"from\": \"human\", \"value\": \"<image>\"}]}",
       "its first human turn has no <image>"},
      {"{\"id\": \"x\", \"images\": [\"a.jpg\"], \"messages\": [" USER
       ", " MODEL("a") ", {\"role\": \"user\", \"content\": [{\"type\": \"image\"}]}]}",
       "in the first question"},
      {"{\"id\": \"x\", \"image\": \"a.jpg\", " TURNS "}", "a.jpg"},
      {"{\"id\": \"x\", \"image\": 7, " TURNS "}", "'image'"},
      {"{\"id\": \"x\", " TURNS ", \"output_1\": \"one\"}", "output_2"},
      {"{\"id\": \"x\", " TURNS ", \"output_1\": \"one\", \"output_2\": {\"from\": \"gpt\"}}", "'value'"},
      {"{\"id\": \"x\", " TURNS ", " OUTPUTS ", \"preference\": 3}", "expected 1 or 2"},
      {"{\"id\": \"x\", " TURNS ", " OUTPUTS ", \"preference\": \"1\"}", "an integer"},
      {"{\"id\": \"x\", " TURNS ", \"caption_type\": 8}", "1 to 7"},
      {"{\"id\": \"x\", " TURNS ", \"caption_type\": 1.5}", "an integer"},
      {"{\"id\": \"x\", " TURNS ", \"length_bonus\": 1e300}", "finite"},
      {"{\"id\": \"x\", " TURNS ", \"length_bonus\": \"2\"}", "a number"},
  };
  sample_reader_t reader = {0};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    json_document_t document;
    assert_int_equal(read_text(&reader, cases[i].text, SAMPLE_CONVERSATION, &document), STATUS_DATA);
    if (strstr(error_message(), cases[i].hint) == NULL) fail_msg("case %zu: %s", i, error_message());
    if (strstr(cases[i].text, "\"x\"") != NULL) assert_non_null(strstr(error_message(), "sample 'x'"));
    json_free(&document);
  }
  json_document_t document;
  assert_int_equal(read_text(&reader, "{\"id\": \"x\", " TURNS "}", SAMPLE_PREFERENCE, &document),
                   STATUS_DATA);
  json_free(&document);
  assert_int_equal(read_text(&reader, "{\"id\": \"x\", " TURNS ", " OUTPUTS ", \"preference\": 0}",
                             SAMPLE_PREFERENCE, &document),
                   STATUS_DATA);
  json_free(&document);
  sample_reader_free(&reader);
}

/* Without an image "<image>" within a sentence is a word; with one, it is one outside the first question. */
static void test_image_marks_in_prose(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int32_t images;
  } cases[] = {
      {"{\"conversations\": [{\"from\": \"human\", \"value\": \"What is <image> in HTML?\"}], \"id\": 1}", 0},
      {"{\"conversations\": [{\"from\": \"human\", \"value\": \"Why?\"}, {\"from\": \"gpt\", \"value\": "
       "\"<image>\"}], \"id\": 1}",
       0},
      {"{\"image\": \"a.jpg\", \"conversations\": [{\"from\": \"human\", \"value\": \"<image>\\nWhy?\"}, "
       "{\"from\": \"gpt\", \"value\": \"The tag <image>\"}], \"id\": 1}",
       1}};
  sample_reader_t reader = {0};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    json_document_t document;
    assert_int_equal(read_text(&reader, cases[i].text, SAMPLE_CONVERSATION, &document), STATUS_OK);
    assert_int_equal(conversation_images(&reader.sample.conversation), cases[i].images);
    json_free(&document);
  }
  sample_reader_free(&reader);
}

static int64_t count_questions(const char *folder, const char *name) {
  char path[4096];
  json_reader_t *file;
  json_element_t element;
  sample_reader_t reader = {0};
  int64_t count = 0;
  snprintf(path, sizeof path, "%s/%s", folder, name);
  assert_int_equal(json_reader_open(path, JSON_ELEMENTS, &file), STATUS_OK);
  for (;;) {
    assert_int_equal(json_reader_next(file, &element), STATUS_OK);
    if (element.value == NULL) break;
    if (sample_read(&reader, element.value, element.index, SAMPLE_CONVERSATION) != STATUS_OK)
      fail_msg("%s", error_message());
    assert_non_null(reader.image);
    count++;
  }
  json_reader_close(file);
  sample_reader_free(&reader);
  return count;
}

/* The published files themselves, where they are at hand. */
static void published_questions_are_read(void **state) {
  (void)state;
  const char *folder = getenv("LLAVA_RLHF_TEST_DATA");
  if (folder == NULL) skip();
  assert_int_equal(count_questions(folder, "qa90_questions.jsonl"), 90);
  assert_int_equal(count_questions(folder, "pope/coco_pope_random.jsonl"), 2910);
  assert_int_equal(count_questions(folder, "pope/coco_pope_popular.jsonl"), 3000);
  assert_int_equal(count_questions(folder, "pope/coco_pope_adversarial.jsonl"), 3000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_image_marks_in_prose),    cmocka_unit_test(good_samples_are_read),
      cmocka_unit_test(chat_messages_are_read),       cmocka_unit_test(chosen_and_rejected_are_a_pair),
      cmocka_unit_test(questions_are_read),           cmocka_unit_test(bad_samples_are_refused),
      cmocka_unit_test(published_questions_are_read),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
