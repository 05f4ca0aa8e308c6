/* For LD_PRELOAD: the n-th system call of a kind that writing depends on fails, as on a full or broken disk.

   fail_call(n, error, short_writes) arms it and returns how many calls were seen since it was armed last: below n
   there was nothing left to fail. n = 0 only counts. The calls: open (for writing, or of a folder), write, fsync, close
   (of a file written), rename, mkdir. short_writes: every write takes at most that many bytes; 0 for all of them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_int seen, failing, error_number, at_most;

int fail_call(int n, int error, int short_writes) {
  failing = n;
  error_number = error;
  at_most = short_writes;
  return atomic_exchange(&seen, 0);
}

static int fails(void) {
  if (atomic_fetch_add(&seen, 1) + 1 != failing) return 0;
  errno = error_number;
  return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define OPEN(name)                                               \
  int name(const char* path, int flags, ...) {                   \
    va_list rest;                                                \
    va_start(rest, flags);                                       \
    const int mode = flags & O_CREAT ? va_arg(rest, int) : 0;    \
    va_end(rest);                                                \
    if (flags & (O_WRONLY | O_RDWR | O_DIRECTORY) && fails()) return -1; \
    return REAL(name)(path, flags, mode);                        \
  }
OPEN(open)
OPEN(open64)

ssize_t write(int descriptor, const void* data, size_t bytes) {
  if (descriptor > 2 && fails()) return -1;
  if (descriptor > 2 && at_most && bytes > (size_t)at_most) bytes = (size_t)at_most;
  return REAL(write)(descriptor, data, bytes);
}

int fsync(int descriptor) { return fails() ? -1 : REAL(fsync)(descriptor); }

int close(int descriptor) {
  const int flags = fcntl(descriptor, F_GETFL);
  const int result = REAL(close)(descriptor);
  return descriptor > 2 && flags >= 0 && (flags & O_ACCMODE) != O_RDONLY && fails() ? -1 : result;
}

int rename(const char* from, const char* to) { return fails() ? -1 : REAL(rename)(from, to); }

int mkdir(const char* path, mode_t mode) { return fails() ? -1 : REAL(mkdir)(path, mode); }
