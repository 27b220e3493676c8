// A build without CUDA answers every function of kernels/cuda.
#include <string>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "kernels/cuda/built.h"
#include "kernels/cuda/device.h"
#include "kernels/rms_norm/rms_norm_cuda.h"

namespace whipsnake::kernels::cuda {
namespace {

void ExpectNoCuda(const absl::Status& status) {
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_EQ(std::string(status.message()), "this build has no CUDA");
}

TEST(NoCudaTest, EveryFunctionAnswersUnavailable) {
  constexpr Context kContext{.device = Device::kCuda};
  EXPECT_FALSE(Built());
  ExpectNoCuda(UsableDevice().status());
  ExpectNoCuda(ToStatus(1, "launching"));
  EXPECT_TRUE(ToStatus(0, "launching").ok());
  ExpectNoCuda(Synchronize(kContext));
  ExpectNoCuda(DeviceBuffer::Allocate(16).status());
  ExpectNoCuda(ResidualRmsNorm(kContext, {}, {}, nullptr, 1e-5f, {}));
}

}  // namespace
}  // namespace whipsnake::kernels::cuda
