#include "kernels/device_memory.h"

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/kernels/test_context.h"

namespace whipsnake::kernels {
namespace {

using Bytes = std::array<std::byte, 100>;

DeviceMemory Allocate(int64_t bytes) {
  auto memory = DeviceMemory::Allocate(TestContext().device, bytes);
  EXPECT_TRUE(memory.ok()) << memory.status();
  return memory.ok() ? *std::move(memory) : DeviceMemory();
}

Bytes Counting() {
  Bytes bytes;
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i + 1);
  return bytes;
}

TEST(DeviceMemoryTest, IsZeroedAndAligned) {
  for (const int64_t bytes : {1, 63, 64, 65, 4097}) {
    const DeviceMemory memory = Allocate(bytes);
    EXPECT_EQ(memory.device(), TestContext().device);
    EXPECT_EQ(memory.bytes(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory.data()) % DeviceMemory::kAlignment, 0u);
    std::vector<std::byte> contents(bytes, std::byte{7});
    ASSERT_TRUE(memory.CopyToHost(contents).ok());
    EXPECT_EQ(contents, std::vector<std::byte>(bytes));
  }
}

TEST(DeviceMemoryTest, CopiesBetweenHostAndDevice) {
  DeviceMemory first = Allocate(100), second = Allocate(100);
  Bytes seen{};
  ASSERT_TRUE(first.CopyFromHost(Counting()).ok());
  ASSERT_TRUE(second.CopyFrom(first).ok());
  ASSERT_TRUE(second.CopyToHost(seen).ok());
  EXPECT_EQ(seen, Counting());
}

TEST(DeviceMemoryTest, AMoveKeepsTheAddress) {
  DeviceMemory first = Allocate(100);
  const std::byte* address = first.data();
  DeviceMemory second(std::move(first));
  EXPECT_EQ(second.data(), address);
  EXPECT_EQ(second.bytes(), 100);
}

TEST(DeviceMemoryTest, NothingNeedsNoMemory) {
  DeviceMemory memory = Allocate(0);
  EXPECT_EQ(memory.data(), nullptr);
  EXPECT_TRUE(memory.CopyFromHost({}).ok());
  EXPECT_TRUE(memory.CopyToHost({}).ok());
}

TEST(DeviceMemoryTest, RefusesANegativeSize) {
  EXPECT_TRUE(absl::IsInvalidArgument(DeviceMemory::Allocate(TestContext().device, -1).status()));
}

TEST(DeviceMemoryTest, WhatTheDeviceDoesNotHaveIsAnError) {
  const auto memory = DeviceMemory::Allocate(TestContext().device, int64_t{1} << 60);
  EXPECT_TRUE(absl::IsResourceExhausted(memory.status())) << memory.status();
}

}  // namespace
}  // namespace whipsnake::kernels
