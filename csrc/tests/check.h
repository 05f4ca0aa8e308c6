// What a test needs: a name, checks that say what they found, and an end to hangs.
//
//   TEST(a_shuffle_is_a_bijection) { CHECK_EQ(images.size(), rows); }
//   CHECK_ERROR(Cause::format, ({"a.flb", "block 3"}), reader.decode(3, 0, raw, scratch));
//
// `fastload_tests [words]` runs the tests whose file or name contains one of the words, or all of them. A check that
// fails ends its test by an exception, so checks belong in the test's own thread.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "errors.h"

namespace fastload::test {

struct Test {
  const char* file;
  const char* name;
  void (*body)();
};

std::vector<Test>& tests();

struct Registration {
  Registration(const char* file, const char* name, void (*body)()) { tests().push_back({file, name, body}); }
};

class CheckFailed : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

[[noreturn]] inline void fail_check(const char* file, int line, const std::string& found) {
  throw CheckFailed(std::string(file) + ":" + std::to_string(line) + ": " + found);
}

template <class A, class B>
void check_equal(const A& a, const B& b, const char* file, int line, const char* what) {
  if (a == b) return;
  std::ostringstream found;
  found << what << ": " << a << " against " << b;
  fail_check(file, line, found.str());
}

// Runs `body`, which must throw an Error of this cause whose message holds all of the words.
template <class Body>
void check_error(Cause cause, const std::vector<std::string>& words, Body&& body, const char* file, int line) {
  try {
    body();
  } catch (const Error& error) {
    const std::string message = error.what();
    if (error.cause() != cause)
      fail_check(file, line, "another cause (" + std::to_string(static_cast<int>(error.cause())) + "): " + message);
    for (const std::string& word : words)
      if (message.find(word) == std::string::npos) fail_check(file, line, "no '" + word + "' in: " + message);
    return;
  }
  fail_check(file, line, "nothing was thrown");
}

}  // namespace fastload::test

#define TEST(name)                                                                         \
  static void name();                                                                      \
  static const ::fastload::test::Registration name##_registration(__FILE__, #name, &name); \
  static void name()
#define CHECK(condition)                                                                       \
  do {                                                                                         \
    if (!(condition)) ::fastload::test::fail_check(__FILE__, __LINE__, "not so: " #condition); \
  } while (false)
#define CHECK_EQ(a, b) ::fastload::test::check_equal((a), (b), __FILE__, __LINE__, #a " == " #b)
#define CHECK_ERROR(cause, words, ...) \
  ::fastload::test::check_error(cause, std::vector<std::string> words, [&] { __VA_ARGS__; }, __FILE__, __LINE__)
