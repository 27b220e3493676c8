// The main function of the tests that do not run once per instruction set.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/temporary_directory.h"

int main(int argc, char** argv) {
  testing::InitGoogleMock(&argc, argv);
  const whipsnake::ProcessTemporaryDirectory temporary;
  return RUN_ALL_TESTS();
}
