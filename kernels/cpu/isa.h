// The instruction sets that the CPU kernels of this process may use.
//
// Kernels are compiled for every level and use the best level of the machine at run time unless the
// process is capped. Use a cap in tests, to compare levels in benchmarks, and to find out whether a
// level causes a fault.
#ifndef WHIPSNAKE_KERNELS_CPU_ISA_H_
#define WHIPSNAKE_KERNELS_CPU_ISA_H_

#include <optional>
#include <string_view>

namespace whipsnake::kernels {

// In ascending order; each level includes the ones before it. kScalar is the baseline that every
// CPU of the architecture has (on x86-64 the compiler and libraries may use SSE there).
enum class Isa { kScalar, kAvx2, kAvx512, kVnni, kAmx };

// Returns "scalar", "avx2", "avx512", "vnni" or "amx". ParseIsa() is the inverse; it returns
// nullopt for other names.
std::string_view Name(Isa isa);
std::optional<Isa> ParseIsa(std::string_view name);

// The best level of this machine, regardless of the cap.
Isa MachineIsa();

// Caps the process to `isa`. Must be called before the first kernel runs and at most once, because
// oneDNN fixes its level when it creates its first primitive. Returns false if oneDNN has already
// fixed it. A cap above MachineIsa() has no effect.
bool CapIsa(Isa isa);

// min(MachineIsa(), cap): the level that the kernels use.
Isa ActiveIsa();

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_CPU_ISA_H_
