// The main function of every kernel test. `--isa NAME` caps the process to one instruction set, so
// that ctest runs the same assertions on each. Tests run with a team of two threads. Exit status 77
// means that the machine lacks the instruction set.
#include <cstdio>
#include <string_view>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/cpu/cpu_context.h"
#include "kernels/cpu/isa.h"
#include "tests/kernels/test_context.h"
#include "tests/temporary_directory.h"

namespace {

using whipsnake::kernels::ActiveIsa;
using whipsnake::kernels::CapIsa;
using whipsnake::kernels::Isa;
using whipsnake::kernels::MachineIsa;
using whipsnake::kernels::ParseIsa;

whipsnake::kernels::Context context;

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

}  // namespace

const whipsnake::kernels::Context& whipsnake::kernels::TestContext() { return context; }

int main(int argc, char** argv) {
  testing::InitGoogleMock(&argc, argv);
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) != "--isa" || i + 1 == argc) {
      std::fprintf(stderr, "%s: unexpected; usage: [--isa NAME] [GoogleTest flags]\n", argv[i]);
      return kUsage;
    }
    if (const int status = CapProcess(argv[++i]); status != 0) return status;
  }
  const whipsnake::ProcessTemporaryDirectory temporary;
  const whipsnake::kernels::CpuContext cpu(2);
  context = cpu.context();
  return RUN_ALL_TESTS();
}
