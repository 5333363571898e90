/* Runs of the same on different layouts, which come to the same but for rounding. */
#ifndef TESTS_CLI_LAYOUTS_H
#define TESTS_CLI_LAYOUTS_H

/* dp is RANKS / TP. */
typedef struct {
  int ranks;
  const char *tp;
} layout_t;

/* The largest share of a dataset's weights that are apart in FOLDER's and ALONE's model.h5, after UPDATES of
 * AdamW with learning rates up to LEARNING_RATE, and the dataset's name.
 *
 * AdamW divides each gradient by its own size, so a weight whose gradient is next to zero moves by up to the
 * learning rate (times 1.006 in the first four updates, by Cauchy-Schwarz) in a direction that is rounding
 * error. Such weights are few, and no further apart than two moves to opposite sides in each update: where
 * one is, the share is 1. */
enum { LAYOUTS_NAME = 256 };
static const double layouts_share = 0.01;
double layouts_weights_apart(const char *folder, const char *alone, int updates, double learning_rate,
                             char name[LAYOUTS_NAME]);

/* Fails unless that is at most layouts_share. */
void layouts_compare_weights(const char *folder, const char *alone, int updates, double learning_rate);

#endif
