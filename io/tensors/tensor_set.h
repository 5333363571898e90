/* Inside io/tensors: a set of files whose tensors have been listed. */
#ifndef IO_TENSOR_SET_H
#define IO_TENSOR_SET_H

#include "io/file.h"
#include "io/tensors/tensor_list.h"

struct tensor_files {
  char path[FILE_MAX_PATH];
  tensor_source_t *sources; /* (source_count) */
  int64_t source_count;
  size_t source_capacity;
  tensor_list_t list;
  int64_t *slots; /* (slot_count), a power of two: number of a record by the hash of its name, or -1 */
  size_t slot_count;
};

/* Opens the file PATH, adds its tensors to the list of FILES, and closes it again where that fails. */
status_t tensor_set_add_file(tensor_files_t *files, const char *path);

/* Adds the shards that the index file PATH lists; its names are those of the set. Call tensor_set_arrange
 * before tensor_index_check. */
typedef struct tensor_index tensor_index_t;
status_t tensor_index_read(const char *path, tensor_index_t **out);
status_t tensor_index_add_files(const tensor_index_t *index, tensor_files_t *files);
/* Every name of the index must be in the shard that it says. */
status_t tensor_index_check(const tensor_index_t *index, const tensor_files_t *files);
void tensor_index_free(tensor_index_t *index);

/* Is PATH called like an index? */
bool tensor_index_named(const char *path);

/* Writes to PATH what is to be opened in FOLDER; the log names what else there is. */
status_t tensor_folder_choose(const char *folder, char path[FILE_MAX_PATH]);

#endif
