// The main function of every kernel benchmark: Google Benchmark's, plus `--threads N` for the size
// of the team that runs the kernels (default: the number of hardware threads) and `--isa NAME` to
// cap the process to an instruction set.
#include <charconv>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "benchmark/benchmark.h"
#include "kernels/benchmark_context.h"
#include "kernels/cpu/cpu_context.h"
#include "kernels/cpu/isa.h"

namespace {

whipsnake::kernels::Context context;

using whipsnake::kernels::ActiveIsa;
using whipsnake::kernels::CapIsa;
using whipsnake::kernels::CpuContext;
using whipsnake::kernels::Isa;
using whipsnake::kernels::ParseIsa;

bool ParseThreads(const char* text, int& threads) {
  const char* end = text + std::strlen(text);
  const auto [parsed, error] = std::from_chars(text, end, threads);
  return error == std::errc() && parsed == end && threads >= 1;
}

bool Cap(const char* name) {
  const std::optional<Isa> isa = ParseIsa(name);
  return isa && CapIsa(*isa) && ActiveIsa() == *isa;
}

}  // namespace

const whipsnake::kernels::Context& whipsnake::kernels::BenchmarkContext() { return context; }

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  int threads = static_cast<int>(std::thread::hardware_concurrency());
  for (int i = 1; i < argc; i += 2) {
    const std::string_view flag = argv[i];
    const bool understood =
        i + 1 < argc && ((flag == "--threads" && ParseThreads(argv[i + 1], threads)) ||
                         (flag == "--isa" && Cap(argv[i + 1])));
    if (understood) continue;
    std::fprintf(
        stderr,
        "%s: expected [--threads N] [--isa scalar|avx2|avx512|vnni|amx, as the machine has] "
        "[Google Benchmark flags]\n",
        argv[i]);
    return 2;
  }
  const CpuContext cpu(threads);
  context = cpu.context();
  benchmark::AddCustomContext("threads", std::to_string(cpu.threads()));
  benchmark::AddCustomContext("isa", std::string(Name(ActiveIsa())));
  benchmark::RunSpecifiedBenchmarks();
}
