/* Image files below a folder. Names come from data files: one that is absolute or has a step ".." is refused.
 * Symbolic links are followed wherever they lead. */
#ifndef DATA_IMAGE_FILES_H
#define DATA_IMAGE_FILES_H

#include "base/status.h"

#include <stdint.h>

/* Takes out of NAME what leads nowhere: steps "." and empty ones, so that one file has one name. A '/' in
 * front and steps ".." stay, for they are refused later on. Local. */
void image_file_tidy(char *name);
/* What tells whether two names stand for one image: the file's name without its folder, and without what COCO
 * has put in front of the number in some years. A part of NAME. Local. */
const char *image_file_key(const char *name);

enum { IMAGE_FILE_MAX_BYTES = 256 << 20 };

typedef struct {
  char *root; /* resolved, without '/' at the end */
} image_folder_t;

/* Errors: STATUS_DATA where PATH is no folder. Free with image_folder_close. Local. */
status_t image_folder_open(const char *path, image_folder_t *folder);
void image_folder_close(image_folder_t *folder);

/* Bytes of the file NAME, a path below the folder. Errors: STATUS_DATA: missing, empty, larger than
 * IMAGE_FILE_MAX_BYTES, not a regular file, a name that leads out of the folder. Local, thread-safe. */
status_t image_file_size(const image_folder_t *folder, const char *name, int64_t *size);
/* Reads the file NAME of SIZE bytes to BYTES. Errors: as before, and where its size is another. Local,
 * thread-safe. */
status_t image_file_read(const image_folder_t *folder, const char *name, uint8_t *bytes, int64_t size);

#endif
