#define _GNU_SOURCE
#include "io/file_identity.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINKS_MAX = 40 }; /* as Linux follows */

typedef struct {
  char place[FILE_MAX_PATH]; /* exists, without links */
  char rest[FILE_MAX_PATH];  /* below it, does not */
  char left[FILE_MAX_PATH];  /* still to be walked */
  int links;                 /* followed */
} file_identity_walk_t;

static status_t file_identity_descend(char path[FILE_MAX_PATH], const char *name) {
  char joined[FILE_MAX_PATH];
  if (*path)
    TRY(file_join(joined, strcmp(path, "/") == 0 ? "" : path, name, NULL));
  else
    TRY(file_join(joined, name, NULL, NULL));
  memcpy(path, joined, sizeof joined);
  return STATUS_OK;
}

/* Where nothing exists yet there are no links: a step back takes the last name away. */
static status_t step_beyond(file_identity_walk_t *walk, const char *name) {
  if (strcmp(name, "..") != 0) return file_identity_descend(walk->rest, name);
  char *slash = strrchr(walk->rest, '/');
  *(slash ? slash : walk->rest) = '\0';
  return STATUS_OK;
}

/* LINK is a link: its target is to be walked next. */
static status_t file_identity_follow(file_identity_walk_t *walk, const char *link) {
  char target[FILE_MAX_PATH], left[FILE_MAX_PATH];
  ssize_t n = readlink(link, target, sizeof target - 1);
  if (n < 0 || ++walk->links > LINKS_MAX)
    return error_set(STATUS_INPUT, "%s: the link cannot be followed: %s", link,
                     n < 0 ? strerror(errno) : "links lead round in a circle");
  target[n] = '\0';
  if (*target == '/') strcpy(walk->place, "/");
  TRY(file_join(left, target, walk->left, NULL));
  memcpy(walk->left, left, sizeof left);
  return STATUS_OK;
}

static status_t file_identity_step(file_identity_walk_t *walk, const char *name) {
  char next[FILE_MAX_PATH];
  struct stat info;
  if (*name == '\0' || strcmp(name, ".") == 0) return STATUS_OK;
  if (*walk->rest) return step_beyond(walk, name);
  memcpy(next, walk->place, sizeof next);
  TRY(file_identity_descend(next, name));
  if (lstat(next, &info) != 0) return file_identity_descend(walk->rest, name);
  if (S_ISLNK(info.st_mode)) return file_identity_follow(walk, next);
  memcpy(walk->place, next, sizeof next);
  return STATUS_OK;
}

static status_t file_identity_walk_all(file_identity_walk_t *walk) {
  while (*walk->left) {
    char name[FILE_MAX_PATH];
    size_t n = strcspn(walk->left, "/"), end = n + (walk->left[n] == '/');
    memcpy(name, walk->left, n);
    name[n] = '\0';
    memmove(walk->left, walk->left + end, strlen(walk->left + end) + 1);
    TRY(file_identity_step(walk, name));
  }
  return STATUS_OK;
}

status_t file_identity(const char *path, file_identity_t *out) {
  file_identity_walk_t walk = {.links = 0};
  struct stat info;
  strcpy(walk.place, *path == '/' ? "/" : ".");
  TRY(file_join(walk.left, path, NULL, NULL));
  TRY(file_identity_walk_all(&walk));
  if (stat(walk.place, &info) != 0)
    return error_set(STATUS_INPUT, "%s: %s: %s", path, walk.place, strerror(errno));
  *out = (file_identity_t){.device = (uint64_t)info.st_dev,
                           .inode = (uint64_t)info.st_ino,
                           .folder = S_ISDIR(info.st_mode),
                           .writable = access(walk.place, W_OK) == 0};
  memcpy(out->rest, walk.rest, sizeof out->rest);
  return STATUS_OK;
}

bool file_identical(const file_identity_t *a, const file_identity_t *b) {
  return a->device == b->device && a->inode == b->inode && strcmp(a->rest, b->rest) == 0;
}
