#include "mapped_file.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>

#include "errors.h"

namespace fastload {
namespace {

// initial-exec: the first look at a thread's own variable must not allocate, not inside a signal handler.
#define FASTLOAD_HANDLER_LOCAL thread_local __attribute__((tls_model("initial-exec")))
FASTLOAD_HANDLER_LOCAL sigjmp_buf* active_guard = nullptr;
FASTLOAD_HANDLER_LOCAL bool passing_on = false;
struct sigaction previous_action;

// Our handler blocks no signal, so a long jump out of it need not restore the mask, which would cost a system call each
// time a guard is set. ThreadSanitizer's runtime wraps handlers and blocks all signals around them.
#if defined(__SANITIZE_THREAD__)
constexpr int kSaveSignalMask = 1;
#else
constexpr int kSaveSignalMask = 0;
#endif

void on_bus_error(int signal, siginfo_t* info, void* context) {
  if (active_guard) siglongjmp(*active_guard, 1);
  // A handler installed after ours may call ours in turn, as faulthandler's does: that ends here.
  const bool is_default = !(previous_action.sa_flags & SA_SIGINFO) &&
                          (previous_action.sa_handler == SIG_DFL || previous_action.sa_handler == SIG_IGN);
  if (passing_on || is_default) {
    ::signal(signal, SIG_DFL);  // returning repeats the fault, now with the default action
    return;
  }
  passing_on = true;
  if (previous_action.sa_flags & SA_SIGINFO)
    previous_action.sa_sigaction(signal, info, context);
  else
    previous_action.sa_handler(signal);
  passing_on = false;
}

void install_guard() {
  static std::mutex mutex;
  std::lock_guard<std::mutex> lock(mutex);
  struct sigaction current;
  sigaction(SIGBUS, nullptr, &current);
  if ((current.sa_flags & SA_SIGINFO) && current.sa_sigaction == on_bus_error) return;
  struct sigaction ours;
  std::memset(&ours, 0, sizeof ours);
  ours.sa_sigaction = on_bus_error;
  ours.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;  // no-defer: a long jump leaves no signal blocked
  sigemptyset(&ours.sa_mask);
  previous_action = current;
  sigaction(SIGBUS, &ours, nullptr);
}

}  // namespace

bool run_guarded(void (*body)(void*), void* argument) {
  sigjmp_buf here;
  sigjmp_buf* const outer = active_guard;
  if (sigsetjmp(here, kSaveSignalMask) != 0) {
    active_guard = outer;
    return false;
  }
  active_guard = &here;
  body(argument);
  active_guard = outer;
  return true;
}

MappedFile::MappedFile(const std::string& path) : path_(path) {
  descriptor_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a pipe must be refused, not waited for
  if (descriptor_ < 0) fail(Cause::file_io, "cannot open '" + path + "': " + std::strerror(errno));
  struct stat status;
  const bool is_file = fstat(descriptor_, &status) == 0 && S_ISREG(status.st_mode);
  if (!is_file) {
    close(descriptor_);
    fail(Cause::file_io, "cannot map '" + path + "': not a regular file");
  }
  size_bytes_ = static_cast<uint64_t>(status.st_size);
  if (size_bytes_ == 0) return;  // nothing to map; the layout check says what is wrong
  void* address = mmap(nullptr, size_bytes_, PROT_READ, MAP_SHARED, descriptor_, 0);
  if (address == MAP_FAILED) {
    const int reason = errno;
    close(descriptor_);
    fail(Cause::file_io, "cannot map '" + path + "': " + std::strerror(reason));
  }
  data_ = static_cast<const uint8_t*>(address);
#ifdef MADV_HUGEPAGE
  madvise(address, size_bytes_, MADV_HUGEPAGE);  // a wish: read from the disk into 2 MiB pages where the system can
#endif
  install_guard();
}

MappedFile::~MappedFile() {
  if (data_) munmap(const_cast<uint8_t*>(data_), size_bytes_);
  if (descriptor_ >= 0) close(descriptor_);
}

void MappedFile::will_need(uint64_t offset, uint64_t size_bytes) const {
  const uint64_t page = 4096;
  const uint64_t from = offset / page * page;
  if (from < size_bytes_) {
    const uint64_t length = std::min(size_bytes_, offset + size_bytes) - from;
    madvise(const_cast<uint8_t*>(data_) + from, length, MADV_WILLNEED);
  }
}

bool MappedFile::is_whole() const {
  struct stat status;
  return fstat(descriptor_, &status) == 0 && static_cast<uint64_t>(status.st_size) == size_bytes_;
}

}  // namespace fastload
