/* Tokenises texts with any tokenizer, for compare_tokenizers.py and tests/convert/check_export.py (which say
 * how its ids must be) and for timing.
 *
 *   tokenise_texts TOKENIZER ids < texts      a line of ids for each text; texts are ended by '\0'
 *   tokenise_texts TOKENIZER texts < ids      the text of each line of ids, ended by '\0'
 *   tokenise_texts TOKENIZER speed FILE       tokens and MB/s of the file's lines, one thread
 *   tokenise_texts TOKENIZER chat TEMPLATE < conversations
 *                                             a line of ids for each line, an array of turns in JSON: the
 *                                             training sequence or, where a question is last, the query
 */
#include "base/memory.h"
#include "io/file.h"
#include "io/formats/tokenizer_file.h"
#include "io/json.h"
#include "text/conversation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void print_line(const int32_t *ids, int32_t count) {
  for (int32_t i = 0; i < count; i++)
    printf(i > 0 ? " %d" : "%d", ids[i]);
  putchar('\n');
}

static status_t print_ids(const tokenizer_t *tokenizer, const char *text, size_t n) {
  int32_t *ids, count;
  TRY(tokenizer_encode(tokenizer, text, n, &ids, &count));
  print_line(ids, count);
  memory_free(ids);
  return STATUS_OK;
}

static status_t all_ids(const tokenizer_t *tokenizer) {
  char *text = NULL;
  size_t room = 0;
  ssize_t n;
  while ((n = getdelim(&text, &room, '\0', stdin)) > 0)
    TRY(print_ids(tokenizer, text, (size_t)n - 1));
  free(text);
  return STATUS_OK;
}

static status_t print_text(const tokenizer_t *tokenizer, const char *line, int32_t *ids) {
  int32_t count = 0;
  char *text, *end;
  size_t n;
  for (const char *at = line; *at != '\n' && *at != '\0'; at = end) {
    ids[count++] = (int32_t)strtol(at, &end, 10);
    if (end == at) break;
  }
  TRY(tokenizer_decode(tokenizer, ids, count, &text, &n));
  fwrite(text, 1, n + 1, stdout);
  memory_free(text);
  return STATUS_OK;
}

static status_t all_texts(const tokenizer_t *tokenizer) {
  char *line = NULL;
  size_t room = 0;
  ssize_t n;
  while ((n = getline(&line, &room, stdin)) > 0) {
    int32_t *ids;
    TRY(memory_alloc(&ids, ARENA_OTHER, (size_t)n, sizeof *ids));
    TRY(print_text(tokenizer, line, ids));
    memory_free(ids);
  }
  free(line);
  return STATUS_OK;
}

static status_t tokenise_lines(const tokenizer_t *tokenizer, const char *text, size_t n, int64_t *tokens) {
  for (size_t at = 0; at < n;) {
    const char *end = memchr(text + at, '\n', n - at);
    size_t length = end ? (size_t)(end - text) - at : n - at;
    int32_t *ids, count;
    TRY(tokenizer_encode(tokenizer, text + at, length, &ids, &count));
    memory_free(ids);
    *tokens += count;
    at += length + 1;
  }
  return STATUS_OK;
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static status_t speed(const tokenizer_t *tokenizer, const char *path) {
  char *text;
  size_t n;
  int64_t tokens = 0;
  TRY(file_read(path, (size_t)1 << 32, &text, &n));
  double begin = seconds();
  TRY(tokenise_lines(tokenizer, text, n, &tokens));
  double used = seconds() - begin;
  printf("%zu bytes, %lld tokens, %.3f s of one core, %.1f MB/s\n", n, (long long)tokens, used,
         1e-6 * (double)n / used);
  memory_free(text);
  return STATUS_OK;
}

static status_t print_conversation(const tokenizer_t *tokenizer, template_t template, const json_t *list) {
  SCOPED_MEMORY turn_t *turns = NULL;
  conversation_t conversation = {0};
  sequence_t sequence;
  bool fits;
  TRY(memory_alloc(&turns, ARENA_OTHER, (size_t)list->count, sizeof *turns));
  for (const json_t *item = list->u.first; item; item = item->next, conversation.count++)
    turns[conversation.count] =
        (turn_t){conversation.count % 2 == 0 ? TURN_HUMAN : TURN_GPT, {item->u.string, (size_t)item->count}};
  conversation.turns = turns;
  if (conversation.count % 2 == 0)
    TRY(conversation_sequence(tokenizer, template, &conversation, 0, &sequence));
  else
    TRY(conversation_query(tokenizer, template, &conversation, conversation.count / 2, 0, &sequence, &fits));
  print_line(sequence.tokens, sequence.n);
  sequence_free(&sequence);
  return STATUS_OK;
}

static status_t all_conversations(const tokenizer_t *tokenizer, const char *name) {
  template_t template;
  char *line = NULL;
  size_t room = 0;
  ssize_t n;
  TRY(template_from_name(name, &template));
  while ((n = getline(&line, &room, stdin)) > 0) {
    SCOPED(json_free) json_document_t document = {0};
    TRY(json_parse(line, (size_t)n, "a conversation", &document));
    TRY(print_conversation(tokenizer, template, document.root));
  }
  free(line);
  return STATUS_OK;
}

static status_t run(int argc, char **argv) {
  tokenizer_t *tokenizer;
  if (argc < 3)
    return error_set(STATUS_INPUT, "usage: tokenise_texts TOKENIZER ids|texts|speed|chat [FILE|TEMPLATE]");
  double begin = seconds();
  TRY(tokenizer_load(argv[1], &tokenizer));
  double loaded = seconds() - begin;
  fprintf(stderr, "%s: %d ids, read in %.2f s\n", argv[1], tokenizer_size(tokenizer), loaded);
  status_code_t status = strcmp(argv[2], "ids") == 0     ? all_ids(tokenizer)
                         : strcmp(argv[2], "texts") == 0 ? all_texts(tokenizer)
                         : argc < 4 ? error_set(STATUS_INPUT, "speed of which FILE, chat of which TEMPLATE?")
                         : strcmp(argv[2], "chat") == 0 ? all_conversations(tokenizer, argv[3])
                                                        : speed(tokenizer, argv[3]);
  tokenizer_free(tokenizer);
  return status;
}

int main(int argc, char **argv) {
  status_code_t status = run(argc, argv);
  if (status != STATUS_OK) fprintf(stderr, "%s\n", error_message());
  return status_exit(status);
}
