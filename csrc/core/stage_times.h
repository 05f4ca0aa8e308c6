// Where the time of the threads goes, at tens of nanoseconds a stage (python -m benchmarks counters).
#pragma once

#include <algorithm>
#include <cstdint>
#include <ctime>

namespace fastload {

// Seconds of all threads together.
struct StageTimes {
  double read_s = 0;    // stood still at the first touch of stored bytes: the disk, or a processor that others had
  double verify_s = 0;  // checksums
  double decode_s = 0;
  double gather_s = 0;
  double kernels_s = 0;  // of transforms; not in gather_s

  double loading_s() const { return read_s + verify_s + decode_s; }
  StageTimes& operator+=(const StageTimes& other) {
    read_s += other.read_s;
    verify_s += other.verify_s;
    decode_s += other.decode_s;
    gather_s += other.gather_s;
    kernels_s += other.kernels_s;
    return *this;
  }
};

// What reading has cost so far.
struct ReadCosts {
  StageTimes times;
  uint64_t blocks_loaded = 0, stored_bytes = 0;
  uint64_t bytes_delivered = 0;
  uint64_t elements = 0, places = 0;  // see Batch

  ReadCosts& operator+=(const ReadCosts& other) {
    times += other.times;
    blocks_loaded += other.blocks_loaded;
    stored_bytes += other.stored_bytes;
    bytes_delivered += other.bytes_delivered;
    elements += other.elements;
    places += other.places;
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

// The stages of chunks, one after the other. What a thread stands still is what its processor time lacks; to ask for
// that costs ten times as much as the time of day, so only some blocks are asked, and those after them are taken to be
// alike.
class LoadClock {
 public:
  void begin_block() {
    if (blocks_++ % kEvery == 0) {
      is_asked_ = true;
      asked_s_ = stood_s_ = 0;
    } else if (asked_s_ > 0) {
      is_asked_ = false;
    }
  }
  void begin_chunk() {
    began_s_ = wall_s();
    if (is_asked_) began_cpu_s_ = thread_cpu_s();
  }
  void is_verified(StageTimes& times) {
    const double cpu_s = is_asked_ ? thread_cpu_s() - began_cpu_s_ : 0;
    verified_s_ = wall_s();
    const double took_s = verified_s_ - began_s_;
    const double stood_s = is_asked_ ? std::max(0.0, took_s - cpu_s) : took_s * stood_s_ / asked_s_;
    if (is_asked_) {
      asked_s_ += took_s;
      stood_s_ += stood_s;
    }
    times.read_s += stood_s;
    times.verify_s += took_s - stood_s;
  }
  void is_decoded(StageTimes& times) const { times.decode_s += wall_s() - verified_s_; }

 private:
  static constexpr uint64_t kEvery = 8;
  uint64_t blocks_ = 0;
  bool is_asked_ = true;
  double asked_s_ = 0, stood_s_ = 0;  // of the verification of the last block asked
  double began_s_ = 0, began_cpu_s_ = 0, verified_s_ = 0;
};

}  // namespace fastload
