#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>

#include "check.h"

namespace fastload::test {

std::vector<Test>& tests() {
  static std::vector<Test> all;  // filled before main() by the files' registrations
  return all;
}

namespace {

constexpr unsigned kTestLimit_s = 300;  // then the process is ended: the last name printed is the test that hung

const char* base_name(const char* path) {
  const char* slash = std::strrchr(path, '/');
  return slash ? slash + 1 : path;
}

bool is_wanted(const Test& test, int words, char** word) {
  bool wanted = words == 0;
  for (int i = 0; i < words; ++i)
    wanted |= std::strstr(base_name(test.file), word[i]) || std::strstr(test.name, word[i]);
  return wanted;
}

int run(int words, char** word) {
  int ran = 0, failed = 0;
  for (const Test& test : tests()) {
    if (!is_wanted(test, words, word)) continue;
    std::printf("%-24s %s ", base_name(test.file), test.name);
    std::fflush(stdout);
    alarm(kTestLimit_s);
    const auto start = std::chrono::steady_clock::now();
    std::string failure;
    try {
      test.body();
    } catch (const std::exception& error) {
      failure = error.what();
    }
    const double took_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::printf("%s (%.2f s)\n%s%s", failure.empty() ? "ok" : "FAILED", took_s, failure.c_str(),
                failure.empty() ? "" : "\n");
    ++ran;
    failed += !failure.empty();
  }
  std::printf("%d tests, %d failed\n", ran, failed);
  return failed > 0 || ran == 0;
}

}  // namespace
}  // namespace fastload::test

int main(int arguments, char** argument) { return fastload::test::run(arguments - 1, argument + 1); }
