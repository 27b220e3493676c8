// The main function of every kernel test. The device and the instruction set are parameters of the
// process, so that ctest runs the same assertions on each:
//
//   --device cpu|cuda   the device of TestContext(); cpu unless given
//   --isa NAME          caps the process to one instruction set
//
// Exit status 77 means that the machine lacks the device or the instruction set.
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/cpu/cpu_context.h"
#include "kernels/cpu/isa.h"
#include "kernels/cuda/device.h"
#include "tests/kernels/test_context.h"
#include "tests/temporary_directory.h"

namespace {

using whipsnake::kernels::ActiveIsa;
using whipsnake::kernels::CapIsa;
using whipsnake::kernels::Context;
using whipsnake::kernels::CpuContext;
using whipsnake::kernels::Device;
using whipsnake::kernels::Isa;
using whipsnake::kernels::MachineIsa;
using whipsnake::kernels::ParseIsa;

Context context;

constexpr int kSkipped = 77;
constexpr int kUsage = 2;

// Returns 0, or the status to exit with if the process cannot be capped.
int CapProcess(const char* name) {
  const std::optional<Isa> isa = ParseIsa(name);
  if (!isa) {
    std::fprintf(stderr, "--isa %s: expected scalar, avx2, avx512, vnni or amx\n", name);
    return kUsage;
  }
  if (MachineIsa() < *isa) {
    std::printf("skipped: this machine lacks %s\n", name);
    return kSkipped;
  }
  if (!CapIsa(*isa) || ActiveIsa() != *isa) {
    std::fprintf(stderr, "--isa %s: the process could not be capped\n", name);
    return 1;
  }
  return 0;
}

// Returns 0, or the status to exit with if the device cannot be used.
int UseDevice(std::string_view name) {
  if (name == "cpu") return 0;
  if (name != "cuda") {
    std::fprintf(stderr, "--device %s: expected cpu or cuda\n", std::string(name).c_str());
    return kUsage;
  }
  const auto usable = whipsnake::kernels::cuda::UsableDevice();
  if (!usable.ok()) {
    std::printf("skipped: %s\n", std::string(usable.status().message()).c_str());
    return kSkipped;
  }
  context = {.device = Device::kCuda};
  return 0;
}

}  // namespace

const Context& whipsnake::kernels::TestContext() { return context; }

int main(int argc, char** argv) {
  testing::InitGoogleMock(&argc, argv);
  const CpuContext cpu(2);
  context = cpu.context();
  for (int i = 1; i < argc; i += 2) {
    const std::string_view flag = argv[i];
    if ((flag != "--isa" && flag != "--device") || i + 1 == argc) {
      std::fprintf(stderr,
                   "%s: unexpected; usage: [--device NAME] [--isa NAME] [GoogleTest flags]\n",
                   argv[i]);
      return kUsage;
    }
    const int status = flag == "--isa" ? CapProcess(argv[i + 1]) : UseDevice(argv[i + 1]);
    if (status != 0) return status;
  }
  const whipsnake::ProcessTemporaryDirectory temporary;
  return RUN_ALL_TESTS();
}
