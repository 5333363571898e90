/* Inside io: reading a damaged file must not take the program with it. HDF5 trusts much of what it reads;
 * where it crashes, aborts or loops on a file, the call gives STATUS_DATA with the file's name instead. The
 * library is not to be used again then: all later calls fail at once, and if the program's end, which may
 * come by it once more, crashes or hangs, the process ends with that status all the same. */
#ifndef IO_H5_GUARD_H
#define IO_H5_GUARD_H

#include "base/status.h"

#include <setjmp.h>
#include <stdbool.h>

/* The status of CALL, an expression of type status_t that reads the file PATH by HDF5. Guarded calls do not
 * contain others. Main thread only. */
#define H5_GUARDED(path, call)                                                                               \
  (h5_guard_enter() && sigsetjmp(h5_guard_place, 1) == 0 ? h5_guard_leave(call) : h5_guard_failed(path))

/* True if the library has failed and must not be called. */
bool h5_guard_is_broken(void);

/* Seconds of processor time that one guarded call may take. The preset suits any file: this is for tests. */
void h5_guard_set_limit(double seconds);

/* Parts of the macro. */
extern sigjmp_buf h5_guard_place;
bool h5_guard_enter(void);
status_t h5_guard_leave(status_code_t status);
status_t h5_guard_failed(const char *path);

#endif
