// What the clocks of stage_times.h cost: nanoseconds a chunk and a part of a batch, one line a round.
#include <cstdio>

#include "stage_times.h"

template <class Body>
double ns_each(Body&& body) {
  constexpr int kTimes = 200000;
  const double began_s = fastload::wall_s();
  for (int i = 0; i < kTimes; ++i) body();
  return 1e9 * (fastload::wall_s() - began_s) / kTimes;
}

int main() {
  for (int round = 0; round < 7; ++round) {
    fastload::StageTimes times;
    fastload::LoadClock clock;
    const double chunk_ns = ns_each([&] {
      clock.begin_block();
      clock.begin_chunk();
      clock.is_verified(times);
      clock.is_decoded(times);
    });
    const double part_ns = ns_each([&] {
      const double began_s = fastload::wall_s();
      times.gather_s += fastload::wall_s() - began_s;
    });
    std::printf("%.1f %.1f %g\n", chunk_ns, part_ns, times.loading_s() + times.gather_s);
  }
}
