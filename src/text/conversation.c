#include "text/conversation.h"

#include "text/script.h"

#include <string.h>

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
  conversation_t rest = conversation_started(conversation);
  return !rest.imageless && rest.count > 0 && text_contains(rest.turns[0].text, IMAGE_MARK);
}

bool conversation_asks_for_image(const conversation_t *conversation) {
  conversation_t rest = conversation_started(conversation);
  if (rest.count == 0) return false;
  text_view_t text = text_strip(rest.turns[0].text);
  size_t mark = sizeof IMAGE_MARK - 1;
  return text.n >= mark && (text_starts_with(text, IMAGE_MARK) ||
                            text_equal(text_slice(text, text.n - mark, text.n), IMAGE_MARK));
}

/* What a script is made of: the questions and answers 0..LAST of a checked conversation. */
typedef struct {
  const template_row_t *row;
  const char *end;                /* of an answer */
  conversation_t turns;           /* starts with the human */
  int32_t last;                   /* number of the last question */
  bool answered;                  /* the last question has an answer */
  bool closed;                    /* that answer is closed by END */
  const text_view_t *replacement; /* of the last answer; NULL for its own text */
} conversation_plan_t;

static status_t conversation_append_turn(const conversation_plan_t *plan, script_t *script,
                                         text_view_t text) {
  return text_buffer_append(&script->text, plan->row->stripped ? text_strip(text) : text);
}

/* The image, a line end, and TEXT without marks, stripped: what is left of the two strips that the method
 * does. */
static status_t conversation_append_image_question(script_t *script, text_view_t text) {
  text_buffer_t plain = {0};
  TRY(script_append_image(script));
  status_code_t status = text_buffer_append_without(&plain, text, IMAGE_MARK);
  text_view_t rest = text_strip(text_buffer_view(&plain));
  if (status == STATUS_OK && rest.n > 0) status = text_buffer_append_string(&script->text, "\n");
  if (status == STATUS_OK) status = text_buffer_append(&script->text, rest);
  text_buffer_free(&plain);
  return status;
}

static status_t conversation_write_question(const conversation_plan_t *plan, int32_t i, script_t *script) {
  text_view_t text = plan->turns.turns[2 * i].text;
  if (i > 0) TRY(text_buffer_append_string(&script->text, plan->row->between));
  TRY(text_buffer_append_string(&script->text, plan->row->before_question));
  TRY(i == 0 && conversation_images(&plan->turns) > 0 ? conversation_append_image_question(script, text)
                                                      : conversation_append_turn(plan, script, text));
  return text_buffer_append_string(&script->text, plan->row->after_question);
}

static text_view_t answer_text(const conversation_plan_t *plan, int32_t i) {
  return i == plan->last && plan->replacement ? *plan->replacement : plan->turns.turns[2 * i + 1].text;
}

static status_t conversation_write_answer(const conversation_plan_t *plan, int32_t i, const char *before,
                                          script_t *script) {
  bool closed = i < plan->last || plan->closed;
  TRY(script_begin_answer(script));
  TRY(text_buffer_append_string(&script->text, before));
  TRY(conversation_append_turn(plan, script, answer_text(plan, i)));
  if (closed) TRY(text_buffer_append_string(&script->text, plan->end));
  script_end_answer(script);
  return STATUS_OK;
}

static status_t conversation_write_chat(const conversation_plan_t *plan, script_t *script) {
  TRY(text_buffer_append_string(&script->text, plan->row->system));
  for (int32_t i = 0; i <= plan->last; i++) {
    TRY(conversation_write_question(plan, i, script));
    if (i < plan->last || plan->answered)
      TRY(conversation_write_answer(plan, i, plan->row->before_answer, script));
  }
  return STATUS_OK;
}

static status_t conversation_write_plain(const conversation_plan_t *plan, script_t *script) {
  if (plan->last != 0)
    return error_set(
        STATUS_DATA,
        "a conversation of %d turns under the template 'plain'; expected one question and its caption",
        plan->turns.count);
  TRY(script_append_image(script));
  return plan->answered ? conversation_write_answer(plan, 0, "", script) : STATUS_OK;
}

static status_t conversation_write_script(const conversation_plan_t *plan, script_t *script) {
  return plan->row == template_row(TEMPLATE_PLAIN) ? conversation_write_plain(plan, script)
                                                   : conversation_write_chat(plan, script);
}

/* A plan for TURNS under TEMPLATE, with what ends answers: TOKENIZER's EOS ("</s>" without one) if nothing
 * else. */
static conversation_plan_t plan_of(template_t template, const conversation_t *conversation,
                                   const tokenizer_t *tokenizer) {
  conversation_plan_t plan = {.row = template_row(template), .turns = conversation_started(conversation)};
  plan.end = plan.row->end;
  if (!plan.end) plan.end = tokenizer ? tokenizer_piece(tokenizer, tokenizer_eos(tokenizer)) : END_MARK;
  return plan;
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
                           const tokenizer_t *tokenizer, conversation_plan_t *plan) {
  TRY(conversation_check(conversation));
  *plan = plan_of(template, conversation, tokenizer);
  plan->last = conversation_answers(conversation) - 1;
  plan->answered = plan->closed = true;
  if (plan->last >= 0) return STATUS_OK;
  return error_set(STATUS_DATA,
                   "a conversation of %d turns has no answer; expected a gpt turn after the human's",
                   conversation->count);
}

status_t conversation_text(template_t template, const conversation_t *conversation, text_buffer_t *text) {
  conversation_plan_t plan;
  TRY(plan_whole(template, conversation, NULL, &plan));
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
  TRY(plan_whole(template, conversation, tokenizer, &plan));
  TRY(plan_tokenise(&plan, tokenizer, sequence));
  sequence_cut(sequence, max_len);
  return STATUS_OK;
}

status_t conversation_answered(const tokenizer_t *tokenizer, template_t template,
                               const conversation_t *conversation, text_view_t answer, bool closed,
                               sequence_t *sequence) {
  *sequence = (sequence_t){0};
  TRY(conversation_check(conversation));
  conversation_plan_t plan = plan_of(template, conversation, tokenizer);
  plan.last = conversation_last_question(conversation);
  plan.answered = true;
  plan.closed = closed;
  plan.replacement = &answer;
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
  conversation_plan_t plan = plan_of(template, conversation, tokenizer);
  plan.last = answer;
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
