// The temporary directory of a test program.
#ifndef WHIPSNAKE_TESTS_TEMPORARY_DIRECTORY_H_
#define WHIPSNAKE_TESTS_TEMPORARY_DIRECTORY_H_

#include <stdlib.h>

#include <cstdio>
#include <filesystem>
#include <string>
#include <system_error>

namespace whipsnake {

// While the object lives, testing::TempDir() and std::filesystem::temp_directory_path() name a
// directory private to this process. The destructor removes it, so a test may leave files in it.
// Create it in main(), before any test runs.
class ProcessTemporaryDirectory {
 public:
  ProcessTemporaryDirectory() {
    std::string path = (std::filesystem::temp_directory_path() / "whipsnake-test-XXXXXX").string();
    if (mkdtemp(path.data()) == nullptr) {
      std::fprintf(stderr, "cannot make %s; TMPDIR names another place\n", path.c_str());
      std::exit(1);
    }
    path_ = path;
    for (const char* variable : {"TMPDIR", "TEST_TMPDIR"}) setenv(variable, path.c_str(), 1);
  }
  ~ProcessTemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ProcessTemporaryDirectory(const ProcessTemporaryDirectory&) = delete;
  ProcessTemporaryDirectory& operator=(const ProcessTemporaryDirectory&) = delete;

 private:
  std::filesystem::path path_;
};

}  // namespace whipsnake

#endif  // WHIPSNAKE_TESTS_TEMPORARY_DIRECTORY_H_
