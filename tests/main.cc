// The main function of test programs: gives each run a temporary directory of its own, and removes
// it.
//
// testing::TempDir() and std::filesystem::temp_directory_path() name that directory, so a test may
// leave files in it.
#include <gmock/gmock.h>
#include <stdlib.h>

#include <filesystem>
#include <iostream>
#include <string>

int main(int argc, char** argv) {
  std::string directory =
      (std::filesystem::temp_directory_path() / "whipsnake-test-XXXXXX").string();
  if (mkdtemp(directory.data()) == nullptr) {
    std::cerr << "cannot make a directory such as " << directory
              << "; TMPDIR names another place\n";
    return 1;
  }
  for (const char* variable : {"TMPDIR", "TEST_TMPDIR"}) setenv(variable, directory.c_str(), 1);
  testing::InitGoogleMock(&argc, argv);
  const int status = RUN_ALL_TESTS();
  std::error_code ignored;
  std::filesystem::remove_all(directory, ignored);
  return status;
}
