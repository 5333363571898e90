/* Inside io/tensors: a file of torch.save, a ZIP of NAME/data.pkl, a pickle that says which tensors there
 * are, and NAME/data/KEY with the elements of each storage. */
#ifndef IO_TORCH_FILE_H
#define IO_TORCH_FILE_H

#include "io/tensors/tensor_list.h"

/* Do these first N bytes of a file look like a ZIP? Like a file of PyTorch before 1.6, which is none? */
bool torch_file_begins(const unsigned char *bytes, size_t n);
bool torch_file_old(const unsigned char *bytes, size_t n);
/* STATUS_DATA, with advice for such an old one. */
status_t torch_file_refuse_old(const char *path);

/* Adds the tensors of SOURCE, number NUMBER of its set, to LIST. Nothing of the file is run. Errors:
 * STATUS_DATA for a ZIP or pickle that is refused (zip.h, pickle.h), a storage that is missing or has another
 * size, a tensor that reaches outside its storage or shows an element twice; STATUS_MEMORY. Local. */
status_t torch_file_list(const tensor_source_t *source, int64_t number, tensor_list_t *list);

#endif
