#include "input/options.h"

#include "base/memory.h"
#include "input/mistakes.h"

#include <stdbool.h>
#include <string.h>

typedef struct {
  int argc;
  char *const *argv;
  int next;
  const char *command_option; /* the option that chose the command, NULL for none */
  options_t *options;
} command_line_t;

static const struct {
  const char *option;
  command_t command;
} commands[] = {
    {"--check", COMMAND_CHECK},
    {"--dry-run", COMMAND_DRY_RUN},
    {"--self-test", COMMAND_SELF_TEST},
    {"--help", COMMAND_HELP},
    {"-h", COMMAND_HELP},
    {"--version", COMMAND_VERSION},
    {"--print-defaults", COMMAND_PRINT_DEFAULTS},
    {"--report", COMMAND_REPORT},
    {"--merge-trace", COMMAND_MERGE_TRACE},
    {"--print-manual", COMMAND_PRINT_MANUAL},
    {"--print-metrics", COMMAND_PRINT_METRICS},
    {"--print-metrics=markdown", COMMAND_PRINT_METRICS},
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static bool needs_input(command_t command) {
  return command == COMMAND_RUN || command == COMMAND_CHECK || command == COMMAND_DRY_RUN;
}

static bool takes_settings(command_t command) {
  return needs_input(command) || command == COMMAND_SELF_TEST;
}

static status_t set_command(command_line_t *line, const char *option, command_t command) {
  if (line->command_option)
    return error_set(STATUS_INPUT, "%s and %s exclude each other", line->command_option, option);
  line->command_option = option;
  line->options->command = command;
  line->options->markdown = strchr(option, '=') != NULL;
  bool has_task =
      command == COMMAND_PRINT_DEFAULTS && line->next < line->argc && line->argv[line->next][0] != '-';
  if (has_task) line->options->task = line->argv[line->next++];
  return STATUS_OK;
}

static status_t options_add_override(command_line_t *line, const char *text) {
  if (!text || strncmp(text, "--", 2) == 0)
    return error_set(STATUS_INPUT, "--set expects group.name=value, found %s", text ? text : "nothing");
  line->options->overrides[line->options->override_count++] = text;
  return STATUS_OK;
}

static status_t set_output(command_line_t *line, const char *path) {
  if (!path || !*path) return error_set(STATUS_INPUT, "--output expects a path");
  line->options->output = path;
  return STATUS_OK;
}

static status_t options_reject_option(const char *option) {
  nearest_t nearest = nearest_to(option);
  for (int i = 0; i < COMMANDS; i++)
    nearest_offer(&nearest, commands[i].option);
  nearest_offer(&nearest, "--set");
  nearest_offer(&nearest, "--output");
  if (nearest.found)
    return error_set(STATUS_INPUT, "unknown option %s; did you mean %s?", option, nearest.found);
  return error_set(STATUS_INPUT, "unknown option %s; --help lists the options", option);
}

static status_t options_read_option(command_line_t *line, const char *option) {
  for (int i = 0; i < COMMANDS; i++)
    if (strcmp(option, commands[i].option) == 0) return set_command(line, option, commands[i].command);
  if (strcmp(option, "--set") == 0)
    return options_add_override(line, line->next < line->argc ? line->argv[line->next++] : NULL);
  if (strncmp(option, "--set=", 6) == 0) return options_add_override(line, option + 6);
  if (strcmp(option, "--output") == 0)
    return set_output(line, line->next < line->argc ? line->argv[line->next++] : NULL);
  if (strncmp(option, "--output=", 9) == 0) return set_output(line, option + 9);
  return options_reject_option(option);
}

static bool takes_run_dirs(command_t command) {
  return command == COMMAND_REPORT || command == COMMAND_MERGE_TRACE;
}

static status_t options_take_run_dirs(command_line_t *line, int count) {
  options_t *options = line->options;
  options->run_dir_count = count;
  if (count == 0)
    return error_set(STATUS_INPUT, "%s expects run directories, found none", line->command_option);
  if (count > 1 && options->command == COMMAND_MERGE_TRACE)
    return error_set(STATUS_INPUT, "%s expects one run directory, found %d", line->command_option, count);
  return options->override_count == 0 ? STATUS_OK
                                      : error_set(STATUS_INPUT, "%s takes no --set", line->command_option);
}

/* Whether words and options fit the command. WORDS (count): what is no option. */
static status_t options_take_words(command_line_t *line, const char *const *words, int count) {
  options_t *options = line->options;
  if (takes_run_dirs(options->command)) return options_take_run_dirs(line, count);
  if (options->output) return error_set(STATUS_INPUT, "--output belongs to --report and --merge-trace");
  if (count > 1)
    return error_set(STATUS_INPUT,
                     "expected one input file, found '%s' and '%s' (settings are changed by --set)", words[0],
                     words[1]);
  options->input = count > 0 ? words[0] : NULL;
  if (needs_input(options->command) && !options->input)
    return error_set(STATUS_INPUT,
                     "no input file; usage: mpirun -np N llava_rlhf INPUT.nml (--help says more)");
  if (!needs_input(options->command) && options->input)
    return error_set(STATUS_INPUT, "%s takes no input file", line->command_option);
  if (!takes_settings(options->command) && options->override_count > 0)
    return error_set(STATUS_INPUT, "%s takes no --set", line->command_option);
  return STATUS_OK;
}

static status_t options_read_line(command_line_t *line) {
  int count = 0;
  while (line->next < line->argc) {
    const char *word = line->argv[line->next++];
    if (word[0] == '-' && word[1] != '\0')
      TRY(options_read_option(line, word));
    else
      line->options->run_dirs[count++] = word;
  }
  return options_take_words(line, line->options->run_dirs, count);
}

status_t options_parse(int argc, char *const *argv, options_t *options) {
  *options = (options_t){.command = COMMAND_RUN};
  command_line_t line = {.argc = argc, .argv = argv, .next = 1, .options = options};
  size_t words = (size_t)argc + 1;
  status_code_t status = memory_alloc(&options->overrides, ARENA_OTHER, words, sizeof *options->overrides);
  if (status == STATUS_OK)
    status = memory_alloc(&options->run_dirs, ARENA_OTHER, words, sizeof *options->run_dirs);
  if (status == STATUS_OK) status = options_read_line(&line);
  if (status != STATUS_OK) options_free(options);
  return status;
}

void options_free(options_t *options) {
  memory_free(options->overrides);
  memory_free(options->run_dirs);
  *options = (options_t){0};
}
