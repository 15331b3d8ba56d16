// test_emulator [name…]: runs the named cases, or all; prints a line for each.
#include <cstdio>
#include <cstring>

#include "check.h"

int main(int argc, char** argv) {
  int failed = 0, ran = 0;
  for (const auto& test : cnnkern::testing::test_cases()) {
    bool wanted = argc == 1;
    for (int i = 1; i < argc; ++i) wanted = wanted || std::strcmp(argv[i], test.name) == 0;
    if (!wanted) continue;
    ++ran;
    try {
      test.body();
      std::printf("ok %s\n", test.name);
    } catch (const std::exception& error) {
      ++failed;
      std::printf("FAILED %s\n%s\n", test.name, error.what());
    }
    std::fflush(stdout);
  }
  std::printf("%d ran, %d failed\n", ran, failed);
  return failed != 0 || ran == 0;
}
