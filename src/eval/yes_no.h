/* Yes or no, read from an answer. Several rules are in circulation, and they differ: an evaluation says which
 * one it went by. */
#ifndef EVAL_YES_NO_H
#define EVAL_YES_NO_H

#include "text/view.h"

typedef enum { SAYS_NEITHER, SAYS_YES, SAYS_NO } says_t;

typedef enum {
  YES_NO_SENTENCE, /* no if the first sentence has one of the words No, not, no, else yes: POPE's script, and
                      LLaVA's (text/answers.h) */
  YES_NO_WORDS,    /* that of the words yes and no which occurs, in any case; neither if both or none do:
                      VLMEvalKit's */
  YES_NO_EXACT,    /* the whole answer, in any case: lmms-eval's */
  YES_NO_CAPITAL   /* the whole answer, written Yes or No: AMBER's script */
} yes_no_rule_t;

/* The rule that eval.yes_no names; PUBLISHED is what the authors of a benchmark go by. Local. */
yes_no_rule_t yes_no_choose(const char *name, yes_no_rule_t published);

/* In words. */
const char *yes_no_describe(yes_no_rule_t rule);

/* TEXT, an answer, stripped. Local. */
says_t yes_no_read(yes_no_rule_t rule, text_view_t text);

/* "yes", "no", "neither". */
const char *says_name(says_t says);

#endif
