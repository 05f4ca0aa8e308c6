// One piece of work in several threads that end with it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "thread.h"

namespace fastload {

// 0 .. count in stretches, each handed out once. Thread-safe.
class Stretches {
 public:
  Stretches(uint64_t count, uint64_t stretch) : count_(count), stretch_(std::max<uint64_t>(1, stretch)) {}

  uint64_t number() const { return count_ / stretch_ + (count_ % stretch_ != 0); }
  bool next(uint64_t* begin, uint64_t* end) {
    *begin = next_.fetch_add(stretch_);
    *end = *begin < count_ ? *begin + std::min(stretch_, count_ - *begin) : *begin;
    return *begin < count_;
  }

 private:
  const uint64_t count_, stretch_;
  std::atomic<uint64_t> next_{0};
};

// Runs work() in the caller's thread and in up to threads - 1 others, fewer where no more are to be had. Returns when
// all have ended, and throws what one of them has thrown.
template <class Work>
void in_threads(uint64_t threads, Work&& work) {
  std::mutex mutex;
  std::exception_ptr error;
  const auto guarded_work = [&] {
    try {
      work();
    } catch (...) {
      std::lock_guard<std::mutex> lock(mutex);
      error = std::current_exception();
    }
  };
  std::vector<std::thread> others;
  try {
    others.reserve(threads);
    for (uint64_t i = 1; i < threads; ++i) others.push_back(start_thread("fastload", guarded_work));
  } catch (...) {
  }
  guarded_work();
  for (std::thread& thread : others) thread.join();
  if (error) std::rethrow_exception(error);
}

}  // namespace fastload
