// Which instructions the CPU kernels of this process may use.
//
// Kernels are compiled for every level and choose at run time: the best that the machine has,
// unless the process was capped. A cap is for tests, for benchmarks of one level against another
// and for finding out whether a level is at fault.
#ifndef WHIPSNAKE_KERNELS_CPU_ISA_H_
#define WHIPSNAKE_KERNELS_CPU_ISA_H_

#include <optional>
#include <string_view>

namespace whipsnake::kernels {

// In rising order; each includes the ones before it. kScalar is the baseline that every CPU of the
// architecture has (on x86-64 the compiler and libraries may use SSE there).
enum class Isa { kScalar, kAvx2, kAvx512, kVnni, kAmx };

// "scalar", "avx2", "avx512", "vnni", "amx".
std::string_view Name(Isa isa);
std::optional<Isa> ParseIsa(std::string_view name);

// The best level that this machine has, whatever the cap.
Isa MachineIsa();

// Caps the process. Must be called before the first kernel runs and at most once (oneDNN decides
// for good at its first primitive); false if oneDNN had already decided. A cap above MachineIsa()
// is harmless.
bool CapIsa(Isa isa);

// min(MachineIsa(), cap): what the kernels use.
Isa ActiveIsa();

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_CPU_ISA_H_
