#include "engine/base/human.h"

#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <string>

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

TEST(Human, Counts) {
  EXPECT_EQ(HumanCount(0), "0");
  EXPECT_EQ(HumanCount(999), "999");
  EXPECT_EQ(HumanCount(1605), "1,605");
  EXPECT_EQ(HumanCount(-1234567), "-1,234,567");
  EXPECT_EQ(Grouped("12345.6789"), "12,345.6789");
  EXPECT_EQ(Grouped(""), "");
}

TEST(Human, Magnitudes) {
  EXPECT_EQ(HumanMagnitude(0), "0");
  EXPECT_EQ(HumanMagnitude(950), "950");
  EXPECT_EQ(HumanMagnitude(0.254), "0.254");
  EXPECT_EQ(HumanMagnitude(999.7), "1,000");
  EXPECT_EQ(HumanMagnitude(9999.7), "10 k");
  EXPECT_EQ(HumanMagnitude(999'700), "1 M");
  EXPECT_EQ(HumanMagnitude(128'000), "128 k");
  EXPECT_EQ(HumanMagnitude(4'612'352), "4.61 M");
  EXPECT_EQ(HumanMagnitude(2.8e9), "2.8 G");
}

TEST(Human, Numbers) {
  EXPECT_EQ(HumanNumber(0), "0");
  EXPECT_EQ(HumanNumber(0.71423), "0.7142");
  EXPECT_EQ(HumanNumber(0.0123456, 3), "0.0123");
  EXPECT_EQ(HumanNumber(999.7, 3), "1,000");
  EXPECT_EQ(HumanNumber(-3.5), "−3.5");
  EXPECT_EQ(HumanNumber(5e-5), "5×10⁻⁵");
  EXPECT_EQ(HumanNumber(9.99996e-5), "1×10⁻⁴");
  EXPECT_EQ(HumanNumber(12345.6), "12,346");
  EXPECT_EQ(HumanNumber(1e30), "1×10³⁰");
  EXPECT_EQ(HumanNumber(-std::numeric_limits<double>::infinity()), "−∞");
  EXPECT_EQ(HumanNumber(std::numeric_limits<double>::quiet_NaN()), "NaN");
}

TEST(Human, BytesAndTimes) {
  EXPECT_EQ(HumanBytes(1023), "1023 B");
  EXPECT_EQ(HumanBytes(int64_t{5} << 28), "1.2 GiB");
  EXPECT_EQ(HumanDuration(0), "0 us");
  EXPECT_EQ(HumanDuration(0.00084), "840 us");
  EXPECT_EQ(HumanDuration(0.0009996), "1 ms");
  EXPECT_EQ(HumanDuration(0.0853), "85.3 ms");
  EXPECT_EQ(HumanDuration(0.9996), "1 s");
  EXPECT_EQ(HumanDuration(59.97), "1 min 0 s");
  EXPECT_EQ(HumanDuration(252), "4 min 12 s");
  EXPECT_EQ(HumanDuration(3 * 3600 + 300), "3 h 5 min");
  EXPECT_EQ(HumanDuration(1e6), "11 d 13 h");
  EXPECT_EQ(HumanTime(0), "1 January 1970, 00:00 UTC");
  EXPECT_EQ(TimeStamp(951782399), "2000-02-28T23:59:59Z");
}

TEST(Human, ReadsBytes) {
  constexpr int64_t kKiB = 1024, kMiB = kKiB * kKiB, kGiB = kKiB * kMiB;
  for (const auto& [text, bytes] : std::map<std::string, int64_t>{{"2GB", 2'000'000'000},
                                                                  {"2 gb", 2'000'000'000},
                                                                  {"1.5GiB", 3 * kGiB / 2},
                                                                  {"800MB", 800'000'000},
                                                                  {"800mib", 800 * kMiB},
                                                                  {"3TB", 3'000'000'000'000},
                                                                  {"3TiB", 3 * kGiB * kKiB},
                                                                  {"64kib", 64 * kKiB},
                                                                  {"64KB", 64'000},
                                                                  {"12B", 12},
                                                                  {"1e9", 1'000'000'000},
                                                                  {"1000000", 1'000'000}}) {
    const auto parsed = ParseBytes("size", text);
    ASSERT_TRUE(parsed.ok()) << text;
    EXPECT_EQ(*parsed, bytes) << text;
  }
  for (const char* text : {"", "GB", "2XB", "2GBB", "-1GB", "0", "0GB", "2 G B", "1e30", "nan",
                           "inf", "2,5GB", "12Bi", "1.2.3GB", "800m"}) {
    const absl::Status status = ParseBytes("size", text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_EQ(FieldOf(status), "size") << text;
  }
}

}  // namespace
}  // namespace whipsnake::engine
