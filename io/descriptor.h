/* System calls on files as every writer and reader here makes them: called again where a signal interrupts
 * them, continued where they did a part. Each gives 0 or the error's number (errno), so that a message can
 * tell what happened. Local, thread-safe. */
#ifndef IO_DESCRIPTOR_H
#define IO_DESCRIPTOR_H

#include <stddef.h>
#include <stdint.h>

/* Opens PATH with FLAGS (open's; O_CLOEXEC is added); what is made may be read and written as the user's
 * umask says. *DESCRIPTOR is -1 after an error. */
int descriptor_open(const char *path, int flags, int *descriptor);

/* Writes all N bytes where the descriptor stands, or at byte PLACE of the file. */
int descriptor_write(int descriptor, const void *bytes, size_t n);
int descriptor_write_at(int descriptor, const void *bytes, size_t n, int64_t place);

/* Reads N bytes from byte PLACE on. *FOUND is less than N where the file ends before. */
int descriptor_read_at(int descriptor, void *bytes, size_t n, int64_t place, size_t *found);

/* Asks the system to begin bringing the N bytes at PLACE to storage, where it can be asked: descriptor_sync,
 * which is called all the same and meets what fails, has less to wait for then. */
void descriptor_begin_sync(int descriptor, size_t n, int64_t place);
int descriptor_sync(int descriptor);
int descriptor_truncate(int descriptor, int64_t bytes);
/* Closes it in any case. */
int descriptor_close(int descriptor);

/* For a descriptor that is declared SCOPED (base/memory.h); -1: none is open. */
void descriptor_close_at(const int *descriptor);

int descriptor_rename(const char *from, const char *to);

#endif
