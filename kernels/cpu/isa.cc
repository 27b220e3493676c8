#include "kernels/cpu/isa.h"

#include <algorithm>
#include <atomic>
#include <cstdint>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hwy/targets.h"
#include "oneapi/dnnl/dnnl.h"
#endif

namespace whipsnake::kernels {
namespace {

constexpr Isa kAll[] = {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kVnni, Isa::kAmx};

std::atomic<Isa> cap{Isa::kAmx};

#if defined(__x86_64__)

// Returns whether the operating system lets this process use AMX tiles. Their state is too large to
// be enabled for every thread, so CPU support alone is not enough.
bool KernelSupportsTiles() {
  constexpr int kArchGetXcompSupp = 0x1021;    // ARCH_GET_XCOMP_SUPP, asm/prctl.h since Linux 5.16
  constexpr uint64_t kTileState = 0b11 << 17;  // XTILECFG and XTILEDATA
  uint64_t supported = 0;
  return syscall(SYS_arch_prctl, kArchGetXcompSupp, &supported) == 0 &&
         (supported & kTileState) == kTileState;
}

// Uses Highway's definitions, so that this function and Highway's dispatch agree: AVX2 includes
// FMA, F16C and BMI; AVX-512 includes F, BW, CD, DQ and VL; both require operating system support.
// A target that the kernels were not compiled for does not count: a fuzzing build has the baseline
// alone, and must not take the bf16 or 8-bit form of a higher one.
Isa DetectIsa() {
  const int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  // Better x86 targets have lower bits.
  if ((targets & (HWY_AVX3 | (HWY_AVX3 - 1))) == 0) {
    return (targets & HWY_AVX2) != 0 ? Isa::kAvx2 : Isa::kScalar;
  }
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx);
  const bool vnni = (ecx & (1u << 11)) != 0;
  constexpr unsigned kAmxBf16TileInt8 = (1u << 22) | (1u << 24) | (1u << 25);
  const bool amx = (edx & kAmxBf16TileInt8) == kAmxBf16TileInt8;
  if (!vnni) return Isa::kAvx512;
  return amx && KernelSupportsTiles() ? Isa::kAmx : Isa::kVnni;
}

void CapHighway(Isa isa) {
  constexpr int64_t kAboveAvx2 = HWY_AVX2 - 1;
  if (isa == Isa::kScalar) hwy::DisableTargets(HWY_AVX2 | kAboveAvx2);
  if (isa == Isa::kAvx2) hwy::DisableTargets(kAboveAvx2);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

bool CapOneDnn(Isa isa) {
  switch (isa) {
    case Isa::kScalar:  // oneDNN's lowest level
      return dnnl_set_max_cpu_isa(dnnl_cpu_isa_sse41) == dnnl_success;
    case Isa::kAvx2:
      return dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx2) == dnnl_success;
    case Isa::kAvx512:
      return dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx512_core) == dnnl_success;
    case Isa::kVnni:  // everything below AMX
      return dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx512_core_bf16) == dnnl_success;
    case Isa::kAmx:
      return true;
  }
  return false;
}

#else

Isa DetectIsa() { return Isa::kScalar; }
void CapHighway(Isa) {}
bool CapOneDnn(Isa) { return true; }

#endif

}  // namespace

std::string_view Name(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return "scalar";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kVnni:
      return "vnni";
    case Isa::kAmx:
      return "amx";
  }
  return "?";
}

std::optional<Isa> ParseIsa(std::string_view name) {
  for (const Isa isa : kAll) {
    if (Name(isa) == name) return isa;
  }
  return std::nullopt;
}

Isa MachineIsa() {
  static const Isa isa = DetectIsa();
  return isa;
}

bool CapIsa(Isa isa) {
  MachineIsa();  // detect before Highway hides targets
  if (!CapOneDnn(isa)) return false;
  CapHighway(isa);
  cap = isa;
  return true;
}

Isa ActiveIsa() { return std::min(MachineIsa(), cap.load()); }

}  // namespace whipsnake::kernels
