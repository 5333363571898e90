#include "text/conversation.h"

#include "text/script.h"

#include <string.h>

/* Wire constants: published weights were trained with exactly these. */
static const char system_v1[] =
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions.";
static const char system_llava_v1[] =
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions.";
static const char human_role[] = "USER: ";
static const char gpt_role[] = " ASSISTANT:";

static const char *const template_names[] = {
    [TEMPLATE_V1] = "v1", [TEMPLATE_LLAVA_V1] = "llava_v1", [TEMPLATE_PLAIN] = "plain"};
enum { TEMPLATE_COUNT = sizeof template_names / sizeof *template_names };

status_t template_from_name(const char *name, template_t *out) {
  for (int i = 0; i < TEMPLATE_COUNT; i++) {
    if (strcmp(name, template_names[i]) != 0) continue;
    *out = (template_t)i;
    return STATUS_OK;
  }
  return error_set(STATUS_INPUT, "unknown template '%s'; expected 'v1', 'llava_v1' or 'plain'", name);
}

static const char *role_name(turn_role_t role) {
  return role == TURN_HUMAN ? "human" : "gpt";
}

/* CONVERSATION without a first turn that is not the human's. */
static conversation_t conversation_started(const conversation_t *conversation) {
  conversation_t rest = *conversation;
  if (rest.count > 0 && rest.turns[0].role != TURN_HUMAN) {
    rest.turns++;
    rest.count--;
  }
  return rest;
}

status_t conversation_check(const conversation_t *conversation) {
  conversation_t rest = conversation_started(conversation);
  if (rest.count == 0)
    return error_set(STATUS_DATA, "a conversation of %d turns has no human turn; expected a question first",
                     conversation->count);
  for (int32_t i = 0; i < rest.count; i++) {
    turn_role_t expected = i % 2 == 0 ? TURN_HUMAN : TURN_GPT;
    if (rest.turns[i].role != expected)
      return error_set(STATUS_DATA, "turn %d of %d is from '%s'; expected '%s', for the two sides take turns",
                       i + 1 + conversation->count - rest.count, conversation->count,
                       role_name(rest.turns[i].role), role_name(expected));
  }
  return STATUS_OK;
}

int32_t conversation_answers(const conversation_t *conversation) {
  return conversation_started(conversation).count / 2;
}

int32_t conversation_last_question(const conversation_t *conversation) {
  return (conversation_started(conversation).count + 1) / 2 - 1;
}

int32_t conversation_images(const conversation_t *conversation) {
  int32_t count = 0;
  for (int32_t i = 0; i < conversation->count; i++)
    count +=
        conversation->turns[i].role == TURN_HUMAN && text_contains(conversation->turns[i].text, IMAGE_MARK);
  return count;
}

/* Appends TEXT without its image marks, stripped if it had any. */
static status_t conversation_append_unmarked(text_buffer_t *out, text_view_t text) {
  if (!text_contains(text, IMAGE_MARK)) return text_buffer_append(out, text);
  text_buffer_t plain = {0};
  status_code_t status = text_buffer_append_without(&plain, text, IMAGE_MARK);
  if (status == STATUS_OK) status = text_buffer_append(out, text_strip(text_buffer_view(&plain)));
  text_buffer_free(&plain);
  return status;
}

static status_t conversation_append_question(text_buffer_t *out, text_view_t text) {
  if (!text_contains(text, IMAGE_MARK)) return text_buffer_append(out, text);
  TRY(text_buffer_append_string(out, IMAGE_MARK "\n"));
  size_t before = out->n;
  TRY(conversation_append_unmarked(out, text));
  if (out->n == before)
    out->bytes[--out->n] = '\0'; /* the second strip takes the line end after a lone image */
  return STATUS_OK;
}

/* What a script is made of: the questions and answers 0..LAST of a checked conversation. */
typedef struct {
  template_t template;
  conversation_t turns;           /* starts with the human */
  int32_t last;                   /* number of the last question */
  bool answered;                  /* the last question has an answer */
  bool closed;                    /* that answer is closed by "</s>" */
  const text_view_t *replacement; /* of the last answer; NULL for its own text */
} conversation_plan_t;

static text_view_t answer_text(const conversation_plan_t *plan, int32_t i) {
  return i == plan->last && plan->replacement ? *plan->replacement : plan->turns.turns[2 * i + 1].text;
}

static status_t conversation_write_answer(const conversation_plan_t *plan, int32_t i, const char *before,
                                          const char *end, script_t *script) {
  bool closed = i < plan->last || plan->closed;
  TRY(script_begin_answer(script));
  TRY(text_buffer_append_string(&script->text, before));
  TRY(conversation_append_unmarked(&script->text, answer_text(plan, i)));
  if (closed) TRY(text_buffer_append_string(&script->text, end));
  script_end_answer(script);
  return STATUS_OK;
}

static status_t conversation_write_chat(const conversation_plan_t *plan, script_t *script) {
  text_buffer_t *text = &script->text;
  TRY(text_buffer_append_string(text, plan->template == TEMPLATE_V1 ? system_v1 : system_llava_v1));
  TRY(text_buffer_append_string(text, " "));
  for (int32_t i = 0; i <= plan->last; i++) {
    TRY(text_buffer_append_string(text, human_role));
    TRY(conversation_append_question(text, plan->turns.turns[2 * i].text));
    TRY(text_buffer_append_string(text, gpt_role));
    if (i < plan->last || plan->answered) TRY(conversation_write_answer(plan, i, " ", END_MARK, script));
  }
  return STATUS_OK;
}

static status_t conversation_write_plain(const conversation_plan_t *plan, script_t *script) {
  if (plan->last != 0)
    return error_set(
        STATUS_DATA,
        "a conversation of %d turns under the template 'plain'; expected one question and its caption",
        plan->turns.count);
  TRY(text_buffer_append_string(&script->text, IMAGE_MARK));
  return plan->answered ? conversation_write_answer(plan, 0, "", "\n", script) : STATUS_OK;
}

static status_t conversation_write_script(const conversation_plan_t *plan, script_t *script) {
  return plan->template == TEMPLATE_PLAIN ? conversation_write_plain(plan, script)
                                          : conversation_write_chat(plan, script);
}

static status_t plan_tokenise(const conversation_plan_t *plan, const tokenizer_t *tokenizer,
                              sequence_t *sequence) {
  script_t script = {0};
  status_code_t status = conversation_write_script(plan, &script);
  if (status == STATUS_OK) status = script_tokenise(tokenizer, &script, sequence);
  script_free(&script);
  if (status != STATUS_OK) sequence_free(sequence);
  return status;
}

/* Plan of a whole conversation with its own answers. */
static status_t plan_whole(template_t template, const conversation_t *conversation,
                           conversation_plan_t *plan) {
  TRY(conversation_check(conversation));
  *plan = (conversation_plan_t){.template = template,
                                .turns = conversation_started(conversation),
                                .last = conversation_answers(conversation) - 1,
                                .answered = true,
                                .closed = true};
  if (plan->last >= 0) return STATUS_OK;
  return error_set(STATUS_DATA,
                   "a conversation of %d turns has no answer; expected a gpt turn after the human's",
                   conversation->count);
}

status_t conversation_text(template_t template, const conversation_t *conversation, text_buffer_t *text) {
  conversation_plan_t plan;
  TRY(plan_whole(template, conversation, &plan));
  script_t script = {0};
  status_code_t status = conversation_write_script(&plan, &script);
  if (status == STATUS_OK) status = text_buffer_append(text, text_buffer_view(&script.text));
  script_free(&script);
  return status;
}

status_t conversation_sequence(const tokenizer_t *tokenizer, template_t template,
                               const conversation_t *conversation, int32_t max_len, sequence_t *sequence) {
  conversation_plan_t plan;
  *sequence = (sequence_t){0};
  TRY(plan_whole(template, conversation, &plan));
  TRY(plan_tokenise(&plan, tokenizer, sequence));
  sequence_cut(sequence, max_len);
  return STATUS_OK;
}

status_t conversation_answered(const tokenizer_t *tokenizer, template_t template,
                               const conversation_t *conversation, text_view_t answer, bool closed,
                               sequence_t *sequence) {
  *sequence = (sequence_t){0};
  TRY(conversation_check(conversation));
  conversation_plan_t plan = {.template = template,
                              .turns = conversation_started(conversation),
                              .last = conversation_last_question(conversation),
                              .answered = true,
                              .closed = closed,
                              .replacement = &answer};
  return plan_tokenise(&plan, tokenizer, sequence);
}

status_t conversation_query(const tokenizer_t *tokenizer, template_t template,
                            const conversation_t *conversation, int32_t answer, int32_t query_len,
                            sequence_t *query, bool *fits) {
  *query = (sequence_t){0};
  *fits = false;
  TRY(conversation_check(conversation));
  if (answer < 0 || answer > conversation_last_question(conversation))
    return error_set(STATUS_DATA, "a query for question %d of a conversation that has %d", answer + 1,
                     conversation_last_question(conversation) + 1);
  conversation_plan_t plan = {
      .template = template, .turns = conversation_started(conversation), .last = answer};
  TRY(plan_tokenise(&plan, tokenizer, query));
  memset(query->learnt, 0, (size_t)query->n); /* earlier answers are context here */
  *fits = query_len <= 0 || query->n <= query_len;
  if (!*fits) sequence_free(query);
  return STATUS_OK;
}

status_t sequence_respond(const sequence_t *query, const int32_t *response, int32_t n, sequence_t *sequence) {
  TRY(sequence_copy(query, sequence));
  status_code_t status = sequence_append(sequence, response, n, true);
  if (status != STATUS_OK) sequence_free(sequence);
  return status;
}
