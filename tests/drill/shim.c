/* Stands between a process and the files below one folder: counts what it does to them, lets one
   call fail, and keeps a journal from which a loss of power is simulated (tests/drill/faults.py).

   gcc -O1 -shared -fPIC -o shim.so shim.c -ldl; LD_PRELOAD=shim.so python ... */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE, SYNC, RENAME, OPEN, KINDS };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char prefix[4096];
static size_t prefix_length = 0;
static long counts[KINDS];
static int armed_kind = -1, armed_errno = 0, armed_stays = 0, journal = -1;
static long armed_place = -1;

/* Watches the files below `folder`; call `place` (from 1) of a kind fails with `number`, and if
   `stays` all later ones of that kind. Counts begin anew. Place 0: nothing fails. */
void shim_arm(const char *folder, int kind, long place, int number, int stays) {
  pthread_mutex_lock(&lock);
  strncpy(prefix, folder, sizeof prefix - 1);
  prefix_length = strlen(prefix);
  memset(counts, 0, sizeof counts);
  armed_kind = kind, armed_place = place, armed_errno = number, armed_stays = stays;
  pthread_mutex_unlock(&lock);
}

long shim_count(int kind) { return counts[kind]; }

/* Writes a journal of all that succeeds to a file; empty: no journal. */
void shim_journal(const char *path) {
  pthread_mutex_lock(&lock);
  if (journal >= 0) syscall(SYS_close, journal);
  journal = *path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, 0600) : -1;
  pthread_mutex_unlock(&lock);
}

static int is_ours(const char *path) {
  return prefix_length && strncmp(path, prefix, prefix_length) == 0 &&
         (path[prefix_length] == '/' || !path[prefix_length]);
}

static int path_of(int fd, char *out) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, out, 4095);
  out[length < 0 ? 0 : length] = 0;
  return length > 0 && is_ours(out);
}

static int path_at(int directory, const char *path, char *out) {
  if (*path == '/') {
    strncpy(out, path, 4095);
    out[4095] = 0;
    return is_ours(out);
  }
  char base[4096];
  if (directory == AT_FDCWD) {
    if (!getcwd(base, sizeof base)) return 0;
  } else {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
    ssize_t length = readlink(link, base, 4095);
    if (length <= 0) return 0;
    base[length] = 0;
  }
  snprintf(out, 4096, "%.2000s/%.2000s", base, path);
  return is_ours(out);
}

static int fails(int kind) {
  long place = ++counts[kind];
  if (kind != armed_kind || armed_place <= 0) return 0;
  if (place != armed_place && !(armed_stays && place > armed_place)) return 0;
  errno = armed_errno;
  return 1;
}

static void put(const void *data, size_t size) {
  for (size_t done = 0; done < size;) {
    ssize_t now = syscall(SYS_write, journal, (const char *)data + done, size - done);
    if (now <= 0) abort();
    done += now;
  }
}

static void note(char what, const char *one, const char *two, int64_t at, const void *data, int64_t size) {
  if (journal < 0) return;
  int kept = errno;
  int64_t numbers[4] = {(int64_t)strlen(one), (int64_t)strlen(two), at, size};
  put(&what, 1);
  put(numbers, sizeof numbers);
  put(one, numbers[0]);
  put(two, numbers[1]);
  if (data) put(data, size);
  errno = kept;
}

#define REAL(name, type) static type real; if (!real) real = (type)dlsym(RTLD_NEXT, #name)
#define LOCKED(type, body) type result; pthread_mutex_lock(&lock); body; pthread_mutex_unlock(&lock); return result

static int open_at(int directory, const char *path, int flags, mode_t mode) {
  char full[4096];
  int writes = (flags & O_ACCMODE) != O_RDONLY && !(flags & (O_PATH | O_DIRECTORY));
  if (!writes || !path_at(directory, path, full))
    return (int)syscall(SYS_openat, directory, path, flags, mode);
  LOCKED(int, {
    if (fails(OPEN)) result = -1;
    else {
      struct stat status;
      int was = fstatat(directory, path, &status, 0) == 0;
      result = (int)syscall(SYS_openat, directory, path, flags, mode);
      if (result >= 0 && (!was || (flags & O_TRUNC))) note(was ? 'T' : 'C', full, "", 0, NULL, 0);
    }
  });
}

#define MODE(flags) mode_t mode = 0; if ((flags) & (O_CREAT | O_TMPFILE)) { va_list list; va_start(list, flags); mode = va_arg(list, mode_t); va_end(list); }
int open(const char *path, int flags, ...) { MODE(flags) return open_at(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return open_at(AT_FDCWD, path, flags, mode); }
int openat(int directory, const char *path, int flags, ...) { MODE(flags) return open_at(directory, path, flags, mode); }
int openat64(int directory, const char *path, int flags, ...) { MODE(flags) return open_at(directory, path, flags, mode); }
int creat(const char *path, mode_t mode) { return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

static int64_t place_of(int fd) {
  struct stat status;
  int flags = fcntl(fd, F_GETFL);
  if (flags >= 0 && (flags & O_APPEND) && fstat(fd, &status) == 0) return status.st_size;
  return lseek(fd, 0, SEEK_CUR);
}

static ssize_t write_at(int fd, const void *data, size_t size, int64_t at) {
  char path[4096];
  int is_placed = at >= 0;
  if (!prefix_length || !path_of(fd, path))
    return is_placed ? syscall(SYS_pwrite64, fd, data, size, at) : syscall(SYS_write, fd, data, size);
  LOCKED(ssize_t, {
    if (fails(WRITE)) result = -1;
    else {
      int64_t place = is_placed ? at : place_of(fd);
      result = is_placed ? syscall(SYS_pwrite64, fd, data, size, at) : syscall(SYS_write, fd, data, size);
      if (result > 0) note('W', path, "", place, data, result);
    }
  });
}

ssize_t write(int fd, const void *data, size_t size) { return write_at(fd, data, size, -1); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return write_at(fd, data, size, at); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { return write_at(fd, data, size, at); }

static ssize_t write_all(int fd, const struct iovec *parts, int count, int64_t at) {
  ssize_t total = 0;
  for (int i = 0; i < count; i++) {
    ssize_t now = write_at(fd, parts[i].iov_base, parts[i].iov_len, at < 0 ? -1 : at + total);
    if (now < 0) return total ? total : -1;
    total += now;
    if ((size_t)now < parts[i].iov_len) break;
  }
  return total;
}

ssize_t writev(int fd, const struct iovec *parts, int count) { return write_all(fd, parts, count, -1); }
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) { return write_all(fd, parts, count, at); }
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) { return write_all(fd, parts, count, at); }

static int cut(int fd, int64_t size) {
  char path[4096];
  int is_watched = prefix_length && path_of(fd, path);
  pthread_mutex_lock(&lock);
  int result = (int)syscall(SYS_ftruncate, fd, size);
  if (is_watched && result == 0) note('L', path, "", size, NULL, 0);
  pthread_mutex_unlock(&lock);
  return result;
}

int ftruncate(int fd, off_t size) { return cut(fd, size); }
int ftruncate64(int fd, off64_t size) { return cut(fd, size); }

static int sync_file(int fd, long call) {
  char path[4096];
  if (!prefix_length || !path_of(fd, path)) return (int)syscall(call, fd);
  LOCKED(int, {
    if (fails(SYNC)) result = -1;
    else {
      result = 0; /* the real one costs time, and changes nothing here */
      note('S', path, "", 0, NULL, 0);
    }
  });
}

int fsync(int fd) { return sync_file(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_file(fd, SYS_fdatasync); }

static int rename_at(int from, const char *old, int to, const char *new, unsigned flags) {
  char one[4096], two[4096];
  int is_watched = path_at(from, old, one) & path_at(to, new, two);
  if (!is_watched) return (int)syscall(SYS_renameat2, from, old, to, new, flags);
  LOCKED(int, {
    if (fails(RENAME)) result = -1;
    else {
      result = (int)syscall(SYS_renameat2, from, old, to, new, flags);
      if (result == 0) note('R', one, two, 0, NULL, 0);
    }
  });
}

int rename(const char *old, const char *new) { return rename_at(AT_FDCWD, old, AT_FDCWD, new, 0); }
int renameat(int from, const char *old, int to, const char *new) { return rename_at(from, old, to, new, 0); }
int renameat2(int from, const char *old, int to, const char *new, unsigned flags) { return rename_at(from, old, to, new, flags); }

static int change(char what, long call, int directory, const char *path, long more) {
  char full[4096];
  int is_watched = path_at(directory, path, full);
  pthread_mutex_lock(&lock);
  int result = (int)syscall(call, directory, path, more);
  if (is_watched && result == 0) note(what, full, "", 0, NULL, 0);
  pthread_mutex_unlock(&lock);
  return result;
}

int unlink(const char *path) { return change('U', SYS_unlinkat, AT_FDCWD, path, 0); }
int rmdir(const char *path) { return change('U', SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR); }
int unlinkat(int directory, const char *path, int flags) { return change('U', SYS_unlinkat, directory, path, flags); }
int remove(const char *path) { int done = unlink(path); return done && errno == EISDIR ? rmdir(path) : done; }
int mkdir(const char *path, mode_t mode) { return change('M', SYS_mkdirat, AT_FDCWD, path, mode); }
int mkdirat(int directory, const char *path, mode_t mode) { return change('M', SYS_mkdirat, directory, path, mode); }
