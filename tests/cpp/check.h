// A small test frame: TEST(name) { … } registers a case; CHECK and check_throws end it on failure.
#pragma once

#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

namespace cnnkern::testing {

struct TestCase {
  const char* name;
  void (*body)();
};

inline std::vector<TestCase>& test_cases() {
  static std::vector<TestCase> cases;
  return cases;
}

struct Registration {
  Registration(const char* name, void (*body)()) { test_cases().push_back({name, body}); }
};

#define TEST(name)                                                                        \
  static void test_##name();                                                              \
  static const ::cnnkern::testing::Registration registration_##name(#name, &test_##name); \
  static void test_##name()

#define CHECK(condition)                                                              \
  do {                                                                                \
    if (!(condition))                                                                 \
      throw std::logic_error(std::string(__FILE__) + ":" + std::to_string(__LINE__) + \
                             ": CHECK(" #condition ") failed");                       \
  } while (false)

/// Runs `body`, which must throw a std::runtime_error whose text contains every one of `phrases`.
inline void check_throws(const std::function<void()>& body,
                         const std::vector<std::string>& phrases) {
  std::string message;
  try {
    body();
  } catch (const std::runtime_error& error) {
    message = error.what();
  }
  if (message.empty()) throw std::logic_error("expected an error, but nothing was thrown");
  for (const std::string& phrase : phrases)
    if (message.find(phrase) == std::string::npos)
      throw std::logic_error("expected '" + phrase + "' in the report:\n" + message);
}

}  // namespace cnnkern::testing
