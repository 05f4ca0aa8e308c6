// Where the time of the threads goes. Two clocks are read per chunk and one per batch: tens of nanoseconds each.
#pragma once

#include <ctime>

namespace fastload {

// Seconds of all threads together.
struct StageTimes {
  double read_s = 0;    // stood still at the first touch of stored bytes: the disk, or a processor that others had
  double verify_s = 0;  // checksums
  double decode_s = 0;
  double gather_s = 0;

  StageTimes& operator+=(const StageTimes& other) {
    read_s += other.read_s;
    verify_s += other.verify_s;
    decode_s += other.decode_s;
    gather_s += other.gather_s;
    return *this;
  }
};

inline double seconds_of(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}
inline double wall_s() { return seconds_of(CLOCK_MONOTONIC); }
inline double thread_cpu_s() { return seconds_of(CLOCK_THREAD_CPUTIME_ID); }

}  // namespace fastload
