#define _GNU_SOURCE
#include "cli/cli.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

enum { CLI_PATH = 4096 };

struct cli_child {
  pid_t pid;
  int out, err; /* files that it writes to */
  int status;   /* of waitpid, once it has ended */
  bool ended;
  double deadline;
};

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void pause_briefly(void) {
  nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
}

/* ---- The folder ---- */

static char folder[] = "/tmp/llava_rlhf_cli_XXXXXX";

int cli_enter(void **state) {
  (void)state;
  return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *what, int type, struct FTW *place) {
  (void)what;
  (void)type;
  (void)place;
  return remove(path);
}

static int remove_all(const char *path) {
  return nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void cli_remove(const char *path) {
  assert_int_equal(remove_all(path), 0);
}

int cli_leave(void **state) {
  (void)state;
  if (chdir("/") != 0) return -1;
  return remove_all(folder);
}

static const char world_input[] = "&job task = 'world' run_dir = 'world' /\n"
                                  "&world pretrain_images = 40 sft_images = 16 pair_images = 12 "
                                  "policy_init_images = 2 ppo_images = 2 eval_images = 2 "
                                  "turns = 2 vocab = 400 /\n";

static const char train_input[] =
    "&job task = 'pretrain' run_dir = 'run' /\n"
    "&model from_scratch = .true. tokenizer = 'world/tokenizer.model' train = 'all' template = 'v1'\n"
    "  hidden = 32 layers = 2 heads = 4 mlp = 64 vision_image_size = 48 vision_patch = 16\n"
    "  vision_hidden = 32 vision_layers = 1 vision_heads = 4 vision_mlp = 64 vision_feature_layer = -1 /\n"
    "&data dataset = 'world/pretrain.h5' max_len = 128 /\n"
    "&optim lr = 1e-3 batch = 8 grad_clip = 1.0 steps = 1 /\n"
    "&log tensorboard = .false. /\n";

/* ---- Folders that several tests start from ---- */

/* PATH of the folder NAME that is kept; false where nothing is. */
static bool kept_path(const char *name, const char *ending, char path[CLI_PATH]) {
  const char *place = getenv("LLAVA_RLHF_TEST_WORLDS");
  if (place == NULL || place[0] == '\0') return false;
  snprintf(path, CLI_PATH, "%s/%s%s", place, name, ending);
  return true;
}

/* Copies what is in folder FROM to folder TO, which is there. */
static void copy_folder(const char *from, const char *to) {
  char contents[CLI_PATH + 4];
  int status = -1;
  snprintf(contents, sizeof contents, "%s/.", from);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    execlp("cp", "cp", "-a", contents, to, (char *)NULL);
    _exit(127);
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
}

bool cli_take(const char *name) {
  char path[CLI_PATH];
  if (!kept_path(name, "", path) || !cli_exists(path)) return false;
  copy_folder(path, ".");
  return true;
}

void cli_keep(const char *name) {
  char path[CLI_PATH], partial[CLI_PATH];
  assert_true(kept_path(name, "", path) && kept_path(name, ".partial", partial));
  remove_all(path);
  remove_all(partial);
  assert_int_equal(mkdir(partial, 0777), 0);
  copy_folder(".", partial);
  assert_int_equal(rename(partial, path), 0);
}

void cli_make_world(void) {
  cli_result_t result;
  cli_write("world.nml", world_input, sizeof world_input - 1);
  cli_write("train.nml", train_input, sizeof train_input - 1);
  CLI_RUN(1, &result, CLI_ON_CPU, "world.nml");
  cli_expect(&result, 0);
  CLI_RUN(1, &result, CLI_ON_CPU, "--set", "job.run_dir=base", "train.nml");
  cli_expect(&result, 0);
  assert_int_equal(rename("base/model.h5", "model.h5"), 0);
}

int cli_enter_world(void **state) {
  if (cli_enter(state) != 0) return -1;
  if (!cli_take("world")) cli_make_world();
  return 0;
}

/* ---- Runs ---- */

static int output_file(void) {
  FILE *file = tmpfile();
  assert_non_null(file);
  int descriptor = dup(fileno(file));
  fclose(file);
  return descriptor;
}

static const char *used; /* NULL: the program */

void cli_use(const char *program) {
  used = program;
}

static _Noreturn void become(int ranks, const char *const *arguments, int out, int err) {
  const char *line[CLI_ARGUMENTS_MAX + 8];
  char count[16];
  int n = 0;
  if (ranks > 0) {
    snprintf(count, sizeof count, "%d", ranks);
    const char *const launcher[] = {MPIRUN, "--bind-to", "none", "-np", count};
    for (size_t i = 0; i < sizeof launcher / sizeof *launcher; i++)
      line[n++] = launcher[i];
  }
  line[n++] = used ? used : getenv("LLAVA_RLHF_BINARY");
  for (int i = 0; arguments[i] && i < CLI_ARGUMENTS_MAX; i++)
    line[n++] = arguments[i];
  line[n] = NULL;
  setpgid(0, 0);
  dup2(out, STDOUT_FILENO);
  dup2(err, STDERR_FILENO);
  execvp(line[0], (char *const *)(uintptr_t)line);
  _exit(127);
}

long cli_looks(void) {
  char text[64];
  cli_read("looks", text, sizeof text);
  return atol(text);
}

static double patience = CLI_SECONDS;

void cli_set_patience(double seconds) {
  patience = seconds;
}

cli_child_t *cli_start(int ranks, const char *const *arguments) {
  assert_non_null(getenv("LLAVA_RLHF_BINARY"));
  cli_child_t *child = calloc(1, sizeof *child);
  assert_non_null(child);
  child->out = output_file();
  child->err = output_file();
  child->deadline = now() + patience;
  child->pid = fork();
  assert_true(child->pid >= 0);
  if (child->pid == 0) become(ranks, arguments, child->out, child->err);
  setpgid(child->pid, child->pid);
  return child;
}

void cli_signal(cli_child_t *child, int signal_number) {
  assert_int_equal(kill(child->pid, signal_number), 0);
}

int cli_process(const cli_child_t *child) {
  return child->pid;
}

/* Reads /proc/PROCESS/NAME; false if there is no such process. */
static bool read_process(int process, const char *name, char *text, size_t size) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/%s", process, name);
  FILE *file = fopen(path, "rb");
  if (!file) return false;
  text[fread(text, 1, size - 1, file)] = '\0';
  fclose(file);
  return true;
}

/* State and parent of a process; the name before them stands in brackets and may hold anything. */
static bool read_state(int process, char *state, int *parent) {
  char text[1024];
  if (!read_process(process, "stat", text, sizeof text)) return false;
  const char *place = strrchr(text, ')');
  return place && sscanf(place + 1, " %c %d", state, parent) == 2;
}

static bool is_rank(int process, int rank) {
  static char text[1 << 16];
  char wanted[64];
  int length = snprintf(wanted, sizeof wanted, "OMPI_COMM_WORLD_RANK=%d", rank) + 1;
  memset(text, 0, sizeof text);
  return read_process(process, "environ", text, sizeof text) &&
         memmem(text, sizeof text, wanted, (size_t)length) != NULL;
}

/* By however many processes in between: mpirun starts those on another host by way of others. */
static bool descends_from(int process, int ancestor) {
  char state;
  int parent = 0;
  while (process > 1 && process != ancestor && read_state(process, &state, &parent))
    process = parent;
  return process == ancestor;
}

int cli_find_rank(const cli_child_t *child, int rank) {
  int found = 0;
  DIR *folder_of_processes = opendir("/proc");
  assert_non_null(folder_of_processes);
  for (struct dirent *entry; !found && (entry = readdir(folder_of_processes)) != NULL;) {
    int process = atoi(entry->d_name);
    if (process > 0 && is_rank(process, rank) && descends_from(process, child->pid)) found = process;
  }
  closedir(folder_of_processes);
  return found;
}

int cli_rank_process(const cli_child_t *child, int rank) {
  int found = cli_find_rank(child, rank);
  assert_true(found > 0);
  return found;
}

static bool process_lives(int process) {
  char state;
  int parent;
  return read_state(process, &state, &parent) && state != 'Z' && state != 'X';
}

void cli_wait_process(int process) {
  double deadline = now() + CLI_SECONDS;
  while (process_lives(process)) {
    assert_true(now() < deadline);
    pause_briefly();
  }
}

bool cli_has_ended(cli_child_t *child) {
  if (!child->ended) child->ended = waitpid(child->pid, &child->status, WNOHANG) == child->pid;
  return child->ended;
}

static void read_back(int descriptor, char *text, size_t size) {
  ssize_t n = pread(descriptor, text, size - 1, 0);
  text[n > 0 ? n : 0] = '\0';
  close(descriptor);
}

void cli_wait(cli_child_t *child, cli_result_t *result) {
  while (!cli_has_ended(child) && now() < child->deadline)
    pause_briefly();
  bool late = !child->ended;
  if (late) {
    kill(-child->pid, SIGKILL);
    waitpid(child->pid, &child->status, 0);
  }
  result->status = !late && WIFEXITED(child->status) ? WEXITSTATUS(child->status) : -1;
  read_back(child->out, result->out, sizeof result->out);
  read_back(child->err, result->err, sizeof result->err);
  free(child);
}

void cli_run(int ranks, const char *const *arguments, cli_result_t *result) {
  cli_wait(cli_start(ranks, arguments), result);
}

/* ---- Expectations ---- */

void cli_expect(const cli_result_t *result, int status) {
  if (result->status == status) return;
  fail_msg("exit status %d, expected %d; it said:\n%s%s", result->status, status, result->out, result->err);
}

static int count_of(const char *text, const char *what) {
  int count = 0;
  for (const char *place = text; (place = strstr(place, what)) != NULL; place += strlen(what))
    count++;
  return count;
}

void cli_expect_one_message(const cli_result_t *result, int status) {
  cli_expect(result, status);
  int count = count_of(result->err, "error: ");
  if (count != 1) fail_msg("%d messages, expected one; it said:\n%s%s", count, result->out, result->err);
}

/* ---- Files ---- */

void cli_write(const char *path, const void *text, size_t n) {
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(text, 1, n, file), n);
  assert_int_equal(fclose(file), 0);
}

size_t cli_read(const char *path, char *text, size_t size) {
  FILE *file = fopen(path, "rb");
  if (!file) fail_msg("%s: %s", path, strerror(errno));
  size_t n = fread(text, 1, size - 1, file);
  text[n] = '\0';
  fclose(file);
  return n;
}

void cli_copy(const char *from, const char *to, size_t n) {
  static char bytes[1 << 20];
  FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
  assert_non_null(in);
  assert_non_null(out);
  for (size_t done = 0, got = 1; done < n && got > 0; done += got) {
    size_t want = n - done < sizeof bytes ? n - done : sizeof bytes;
    got = fread(bytes, 1, want, in);
    assert_int_equal(fwrite(bytes, 1, got, out), got);
  }
  fclose(in);
  assert_int_equal(fclose(out), 0);
}

bool cli_exists(const char *path) {
  return access(path, F_OK) == 0;
}

static int lines_of(const char *path) {
  FILE *file = fopen(path, "rb");
  int lines = 0;
  if (!file) return 0;
  for (int c; (c = fgetc(file)) != EOF;)
    lines += c == '\n';
  fclose(file);
  return lines;
}

bool cli_wait_lines(cli_child_t *child, const char *file, int lines) {
  while (lines_of(file) < lines) {
    if (cli_has_ended(child) || now() > child->deadline) return false;
    pause_briefly();
  }
  return true;
}
