// Runs tests/fuzz/request_fuzz.cc over its corpus with every value of the first byte, which chooses
// what a request is resolved against. Every build thus tests what the fuzzer once found.
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

TEST(RequestCorpus, IsRefusedOrOfRequestsThatTheEngineMayBeGiven) {
  int inputs = 0;
  for (const auto& entry : std::filesystem::directory_iterator("tests/fuzz/corpus/request_fuzz")) {
    SCOPED_TRACE(entry.path());
    std::ifstream file(entry.path(), std::ios::binary);
    std::string bytes{std::istreambuf_iterator<char>(file), {}};
    ASSERT_FALSE(bytes.empty());
    for (int choice = 0; choice < 256; ++choice) {
      bytes[0] = static_cast<char>(choice);
      EXPECT_EQ(
          LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()), 0);
    }
    ++inputs;
  }
  EXPECT_GE(inputs, 7);
}
