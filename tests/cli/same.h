/* Runs that must have come to the same, to the bit: one in FOLDER and one in WHOLE. */
#ifndef TESTS_CLI_SAME_H
#define TESTS_CLI_SAME_H

/* Fails unless metrics.jsonl has the same lines but for the times. */
void same_metrics(const char *folder, const char *whole);

/* Fails unless file NAME holds the same adapters, heads and optimiser's state; returns how many datasets. */
int same_weights(const char *folder, const char *whole, const char *name);

/* Fails unless file NAME is the same text. */
void same_text(const char *folder, const char *whole, const char *name);

/* Fails unless folder NAME ("." for the run directory) holds files of the same names. */
void same_names(const char *folder, const char *whole, const char *name);

#endif
